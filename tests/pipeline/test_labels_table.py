"""What DVC sees of a table of labels and of the images beside it."""

import csv
import json
from pathlib import Path

import pytest

from tests.images.trees import class_folders, picture, write_folder, write_zip
from tests.pipeline.project import Project, clone_project

pytestmark = [pytest.mark.pipeline, pytest.mark.slow]


def labels_of(project: Project) -> dict[str, str]:
    """Return the class of every prepared image."""
    with (project.root / "data/prepared/index.csv").open(encoding="utf-8", newline="") as file:
        return {row["path"]: row["label"] for row in csv.DictReader(file) if row["status"] == "used"}


def test_a_changed_image_and_a_changed_table_prepare_again(tmp_path: Path) -> None:
    """The table stands in the source, so one dependency covers both: neither changes unseen."""
    project = clone_project(tmp_path / "project", num_epochs=1)
    images = {f"photos/{path.replace('/', '-')}": data for path, data in class_folders(num_images=9).items()}
    lines = "path,label\n" + "".join(f"{path},{path[7:10]}\n" for path in images)
    source = write_folder(project.root / "data/raw", {**images, "labels.csv": lines.encode()})
    project.set("source: data/digits.zip", "source: data/raw")
    project.set("labels: folders", "labels: labels.csv")
    project.run("dvc repro prepare-dataset")
    assert labels_of(project) == {path: path[7:10] for path in images}
    status = "dvc status --json ingest"
    assert json.loads(project.run(status)) == {}

    (source / "photos/cat-0.png").write_bytes(picture(99))
    assert set(json.loads(project.run(status))) == {"ingest"}
    project.run("dvc repro prepare-dataset")

    (source / "labels.csv").write_text(lines.replace("cat-1.png,cat", "cat-1.png,dog"), encoding="utf-8")
    assert set(json.loads(project.run(status))) == {"ingest"}
    project.run("dvc repro prepare-dataset")
    assert labels_of(project)["photos/cat-1.png"] == "dog"

    write_zip(project.root / "data/raw.zip", {**images, "labels.csv": lines.encode()})
    project.set("source: data/raw", "source: data/raw.zip")
    project.run("dvc repro prepare-dataset")
    assert labels_of(project) == {path: path[7:10] for path in images}
