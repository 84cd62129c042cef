"""Learning curves in DVCLive's files."""

import csv
import json
import subprocess
from pathlib import Path

import pytest

from schemas.vision.checkpoint import EpochRecord, Scores
from stages.train.outputs import show_curves
from stages.train.outputs import write_curves as write

CURVES = {
    "lr": "lr",
    "train/loss": "train_loss",
    "train/accuracy": "train_accuracy",
    "val/loss": "loss",
    "val/accuracy": "accuracy",
    "val/balanced_accuracy": "balanced_accuracy",
    "val/macro_f1": "macro_f1",
}


def make_record(epoch: int) -> EpochRecord:
    """Return an epoch whose metrics are all different."""
    scores = Scores(loss=epoch + 0.5, accuracy=epoch / 10, balanced_accuracy=epoch / 20, macro_f1=epoch / 30)
    return EpochRecord(
        epoch=epoch, lr=0.1 / epoch, train_loss=epoch / 7, train_accuracy=epoch / 40, val=scores
    )


def write_curves(folder: Path, num_epochs: int = 3) -> list[EpochRecord]:
    """Log epochs and return them."""
    records = [make_record(epoch) for epoch in range(1, num_epochs + 1)]
    write(folder, records)
    return records


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_ROOT", "DVC_EXP_BASELINE_REV", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)


def list_files(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_every_metric_is_a_curve_over_the_epochs(tmp_path: Path) -> None:
    """Each metric has a table of two columns, step being the epoch, counted from 1."""
    records = write_curves(tmp_path / "live")
    for name, field in CURVES.items():
        path = tmp_path / "live" / "plots" / "metrics" / f"{name}.tsv"
        with path.open(encoding="utf-8", newline="") as file:
            rows = [
                (int(row["step"]), float(row[name.split("/")[-1]]))
                for row in csv.DictReader(file, delimiter="\t")
            ]
        values = [{**record.model_dump(), **record.val.model_dump()}[field] for record in records]
        assert [epoch for epoch, _ in rows] == [1, 2, 3]
        assert [value for _, value in rows] == pytest.approx(values)


def test_summary_holds_the_last_epoch(tmp_path: Path) -> None:
    """metrics.json has the last value of each curve."""
    last = write_curves(tmp_path / "live")[-1]
    summary = json.loads((tmp_path / "live" / "metrics.json").read_text(encoding="utf-8"))
    assert summary["step"] == 3
    assert summary["val"] == pytest.approx(last.val.model_dump())
    assert summary["train"] == pytest.approx({"loss": last.train_loss, "accuracy": last.train_accuracy})


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    """Curves carry no timestamps, and those of an earlier, longer run are gone."""
    write_curves(tmp_path / "first")
    write_curves(tmp_path / "second", num_epochs=5)
    write_curves(tmp_path / "second")
    assert list_files(tmp_path / "first") == list_files(tmp_path / "second")


def test_nothing_else_is_written(tmp_path: Path) -> None:
    """DVCLive leaves dvc.yaml alone and writes no report of its own."""
    write_curves(tmp_path / "live")
    assert [path.name for path in tmp_path.iterdir()] == ["live"]
    suffixes = {path.suffix for path in (tmp_path / "live").rglob("*") if path.is_file()}
    assert suffixes == {".tsv", ".json"}


def test_no_commit_is_needed(tmp_path: Path) -> None:
    """In a Git repository without a commit, as after `git init`, the curves are the same as without Git."""
    write_curves(tmp_path / "first")
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    write_curves(tmp_path / "second")
    assert list_files(tmp_path / "first") == list_files(tmp_path / "second")


def test_curves_can_be_looked_at_while_training_runs(tmp_path: Path) -> None:
    """After each epoch they are what they would be if it were the last; nothing of them stays in the end."""
    records = [make_record(epoch) for epoch in (1, 2)]
    shown = tmp_path / "data" / "dvclive.partial"
    (shown / "plots").mkdir(parents=True)  # a run that was killed left it
    with show_curves() as add:
        assert not shown.exists()
        for num_epochs, record in enumerate(records, start=1):
            add(record)
            write(tmp_path / "whole", records[:num_epochs])
            assert list_files(shown) == list_files(tmp_path / "whole")
    assert list((tmp_path / "data").iterdir()) == []


def test_curves_are_not_written_through_a_link(tmp_path: Path) -> None:
    """What the name of the folder leads to, if it is a link, is left alone."""
    (tmp_path / "other" / "plots").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dvclive.partial").symlink_to(tmp_path / "other")
    with show_curves() as add:
        add(make_record(1))
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["plots"]


def test_training_goes_on_without_curves(tmp_path: Path) -> None:
    """Where they cannot be written, nobody is told so by an error."""
    (tmp_path / "data").write_text("a file")
    with show_curves() as add:
        add(make_record(1))
