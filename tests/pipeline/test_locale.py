"""Names beyond ASCII, under the real DVC in the locales that servers and containers have."""

from pathlib import Path

import pytest

from tests.images.trees import class_folders, write_folder
from tests.pipeline.project import clone_project

pytestmark = pytest.mark.pipeline


def test_a_class_is_called_as_its_folder(tmp_path: Path) -> None:
    """In the C and POSIX locales too; the doctor names what makes DVC stop at such a name."""
    project = clone_project(tmp_path / "project", num_epochs=1)
    write_folder(project.root / "data/raw", class_folders(("naïve", "日本")))
    project.set("data/digits.zip", "data/raw")
    for setting in ("LC_ALL=C", "LC_ALL=POSIX"):
        project.run(f"{setting} dvc repro --force prepare-dataset")
        index = (project.root / "data/prepared/index.csv").read_text(encoding="utf-8")
        assert "naïve/0.png" in index
        assert "日本/0.png" in index
    assert "export PYTHONUTF8=1" in project.run("LC_ALL=C PYTHONUTF8=0 python -m tools.doctor", status=1)
