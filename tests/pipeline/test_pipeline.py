"""End to end: the commands of the README, with the real DVC, on the sample data."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.images.trees import encode
from tests.pipeline.project import Project, clone_project
from tests.pipeline.s3_server import BUCKET, put_object, run_s3_server

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A clone in which `dvc repro` ran once and its result is committed."""
    project = clone_project(tmp_path_factory.mktemp("pipeline") / "a project", num_epochs=2)
    project.run("dvc repro")
    project.run("git add -A && git commit -qm first")
    return project


@pytest.fixture
def project(reproduced: Project) -> Iterator[Project]:
    """The reproduced clone, put back as it was after the test."""
    yield reproduced
    reproduced.run("git reset -q --hard && git clean -fdq && dvc checkout -q")


@pytest.fixture(scope="module")
def s3_server() -> Iterator[None]:
    """An S3 server with a bucket, which every command finds."""
    with run_s3_server():
        yield


def changed_stages(project: Project) -> set[str]:
    """Return the stages that `dvc repro` would run."""
    return set(json.loads(project.run("dvc status --json")))


def test_everything_a_stage_promises_is_there(project: Project) -> None:
    """One command leaves the packed data, the model, the report and the metrics."""
    hashes = project.hashes()
    assert {
        "data/images/manifest.json",
        "data/images/table.safetensors",
        "data/prepared/manifest.json",
        "data/prepared/index.csv",
        "data/audit/findings.csv",
        "data/model/best.safetensors",
        "data/model/last.safetensors",
        "data/model/history.json",
        "data/report/report.html",
        "data/report/predictions.csv",
        "data/counts/ingest.json",
        "data/counts/prepare.json",
        "data/metrics/train.json",
        "data/metrics/test.json",
        "data/export/manifest.json",
        "data/metrics/export.json",
    } <= set(hashes)
    assert json.loads((project.root / "data/metrics/test.json").read_text())["accuracy"] > 0.8


def test_a_second_run_has_nothing_to_do(project: Project) -> None:
    """`dvc repro` says that all is up to date, and a clean clone of the commit says so too."""
    assert "Data and pipelines are up to date" in project.run("dvc repro")


def test_two_clean_runs_give_the_same_bytes(project: Project, tmp_path: Path) -> None:
    """Every file under data/ has the same hash in another folder with an empty cache."""
    other = clone_project(tmp_path / "elsewhere", num_epochs=2)
    other.run("dvc repro")
    assert other.hashes() == project.hashes()


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("params.yaml", "dataset:", "# A comment.\ndataset:", set()),
        ("params.yaml", "lr: 0.004", "lr: 0.001", {"train"}),
        ("params.yaml", "top_k: 3", "top_k: 2", {"evaluate"}),
        ("params.yaml", "min_agreement: 0.999", "min_agreement: 0.9", {"export"}),
        ("params.yaml", "resize: squish", "resize: pad", {"ingest"}),
        ("params.yaml", "val_fraction: 0.1", "val_fraction: 0.2", {"prepare-dataset"}),
        ("params.yaml", "blank: warn", "blank: exclude", {"prepare-dataset"}),
        ("stages/evaluate/report/render.py", '"""', '"""Changed. ', {"evaluate"}),
        ("stages/export/parity.py", '"""', '"""Changed. ', {"export"}),
        ("stages/ingest/listing.py", '"""', '"""Changed. ', {"ingest"}),
        ("stages/prepare_dataset/split.py", '"""', '"""Changed. ', {"prepare-dataset"}),
        ("stages/train/loop.py", '"""', '"""Changed. ', {"train"}),
        ("schemas/params.py", '"""', '"""Changed. ', set()),
        ("stages/params/messages.py", '"""', '"""Changed. ', set()),
        ("tools/show.py", '"""', '"""Changed. ', set()),
        ("data/weights/none", "Stands", "Still stands", {"train"}),  # network.weights_file
    ],
)
def test_only_what_changed_runs_again(
    project: Project, file: str, old: str, new: str, expected: set[str]
) -> None:
    """A changed parameter or code file reaches its own stage and, through outputs, those after it."""
    project.set(old, new, file=file)
    assert changed_stages(project) == expected


def test_the_run_cache_answers_when_a_parameter_is_put_back(project: Project) -> None:
    """Going back to parameters that ran before trains nothing."""
    project.set("top_k: 3", "top_k: 2")
    assert "Running stage 'evaluate'" in project.run("dvc repro")
    project.set("top_k: 2", "top_k: 3")
    printed = project.run("dvc repro")
    assert "Stage 'evaluate' is cached" in printed
    assert "Running stage" not in printed


def test_an_experiment_is_run_and_compared(project: Project) -> None:
    """One -S switches the optimizer; exp show, metrics diff and plots diff all say something readable."""
    project.run("dvc exp run --name with-sgd -S optimizer.name=sgd -S optimizer.lr=0.05")
    assert "accuracy" in project.run("dvc metrics diff")
    shown = project.run("dvc exp show --csv")
    assert "with-sgd" in shown
    assert {"accuracy", "val.accuracy", "optimizer.name", "optimizer.lr"} <= set(
        shown.splitlines()[0].split(",")
    )
    assert "optimizer.lr" in project.run("dvc params diff")
    project.run("dvc plots diff HEAD with-sgd -o plots-diff")
    page = (project.root / "plots-diff/index.html").read_text()
    curves = ("Loss", "Accuracy", "Learning rate", "Reliability", "Precision and recall", "ROC")
    for title in (*curves, "Confusion matrix"):
        assert title in page
    project.run("git checkout -q .")


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("lr: 0.004", "lr: fast", "params.yaml:"),
        ("color: grayscale", "color: gray", "dataset.color"),
        ("source: data/digits.zip", "source: data/corrupt.zip", "data/corrupt.zip"),
        ("source: data/digits.zip", "source: data/empty", "data/empty"),
        ("source: data/digits.zip", "source: data/nowhere", "data/nowhere"),
        (
            "name: adamw # sgd | adam | adamw | rmsprop | muon\n  lr: 0.004",
            "name: sgd\n  lr: 1000.0",
            "the loss became",
        ),
    ],
)
def test_bad_input_is_one_clear_line_and_loses_nothing(
    project: Project, old: str, new: str, line: str
) -> None:
    """A failed run leaves no traceback, and dvc checkout brings back all that was there."""
    before = project.hashes()
    (project.root / "data/corrupt.zip").write_bytes(b"PK\3\4 no archive")
    (project.root / "data/empty").mkdir()
    project.set(old, new)
    assert line in project.run("dvc repro", status=None)
    project.run("git checkout -q params.yaml && dvc checkout")
    (project.root / "data/corrupt.zip").unlink()
    assert project.hashes() == before


def test_a_clone_with_the_cache_has_nothing_to_do(project: Project) -> None:
    """In a clean clone of the commit no stage has changed: code hashes alike everywhere."""
    project.run("git clone -q . ../clone")
    clone = Project(project.root.parent / "clone")
    clone.run(f"dvc cache dir --local '{project.root}/.dvc/cache' && dvc checkout -q")
    clone.run("python -m schemas")
    assert changed_stages(clone) == set()
    assert clone.hashes() == project.hashes()


@pytest.mark.slow
@pytest.mark.usefixtures("s3_server")
def test_a_clone_elsewhere_pulls_everything(project: Project, tmp_path: Path) -> None:
    """From a remote in S3 come images, model and report; nothing is left to do, and all of it agrees."""
    project.run(f"dvc remote add -d storage s3://{BUCKET}/results && dvc push")
    project.run(f"git commit -qam remote && git clone -q . '{tmp_path}/clone'")
    clone = Project(tmp_path / "clone")
    clone.run("dvc pull")
    assert "Data and pipelines are up to date" in clone.run("dvc repro")
    assert "agree" in clone.run("python -m tools.verify")
    assert clone.hashes() == project.hashes()


@pytest.mark.slow
@pytest.mark.usefixtures("s3_server")
def test_images_in_s3_are_imported(project: Project) -> None:
    """A URL as source is refused with the command that brings it here; `dvc update` brings what is new."""

    def put(name: str) -> None:
        put_object(f"photos/{name}.png", encode(np.full((12, 12), len(name), dtype=np.uint8)))

    for number in range(3):
        put(f"cat/{number}")
        put(f"some dog/{number}")
    project.set("source: data/digits.zip", f"source: s3://{BUCKET}/photos")
    [told] = project.run("python -m tools.doctor --inputs", status=1).splitlines()
    command = told.partition("write data/raw, after: ")[2]
    assert command == f"dvc import-url s3://{BUCKET}/photos data/raw"
    project.run(f"git checkout -q params.yaml && {command}")
    project.set("source: data/digits.zip", "source: data/raw")
    assert "6 images from data/raw" in project.run("dvc repro ingest")
    put("cat/new")
    assert "7 images from data/raw" in project.run("dvc update data/raw.dvc && dvc repro ingest")


def test_a_search_for_settings(project: Project) -> None:
    """Trials are experiments; nothing in the folder changes but data/tune, and nothing is tested."""
    project.set("trials: 30", "trials: 1")
    project.set("confirm_seeds: 3", "confirm_seeds: 0")
    before = project.hashes()
    printed = project.run("python -m tools.tune")
    [name] = re.findall("search ([0-9a-f]{8}), 1 trials", printed)
    after = project.hashes()
    assert {path: md5 for path, md5 in after.items() if not path.startswith("data/tune/")} == before
    assert project.run("git status --porcelain").split() == ["M", "params.yaml"]
    history = json.loads((project.root / "data/model/history.json").read_text())
    committed = history["epochs"][history["best_epoch"] - 1]["val"]["loss"]  # dvc.lock has it: it was not run
    with (project.root / "data/tune/trials.csv").open(encoding="utf-8", newline="") as file:
        trial, baseline = csv.DictReader(file)
    assert float(baseline["val.loss"]) == committed
    assert (trial["trial"], trial["experiment"], trial["state"]) == ("0", f"tune-{name}-0", "finished")
    assert "Running stage" not in project.run(f"dvc exp apply tune-{name}-0 && dvc repro train")
    assert json.loads((project.root / "data/metrics/train.json").read_text())["val"]["loss"] == float(
        trial["val.loss"]
    )


@pytest.mark.parametrize("stage", ["ingest", "prepare_dataset", "train", "evaluate"])
def test_a_wrong_parameter_is_refused_before_torch_is_loaded(project: Project, stage: str) -> None:
    """Every stage checks the whole file before it imports what takes seconds to import."""
    project.set("top_k: 3", "top_k: three")
    printed = project.run(f"python -X importtime -m stages.{stage}", status=1)
    assert 'evaluation.top_k: found "three"' in printed
    assert "| torch" not in printed
    assert " numpy" not in printed or stage in ("ingest", "prepare_dataset")
