"""The prepare-dataset stage from data/images to data/prepared and data/audit."""

import csv
import hashlib
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from schemas.prepare_dataset.audit import Audit
from schemas.prepare_dataset.prepare_metrics import PrepareMetrics
from schemas.prepare_dataset.split import Split
from schemas.shared.manifest import SPLIT_NAMES, IndexRow, Manifest
from stages.images.image_table import TABLE_NAME, ImageTable
from stages.params.read import read_params
from stages.prepare_dataset import __main__ as command
from stages.prepare_dataset import stage
from stages.shared.errors import InputError, run_stage
from stages.shared.files import check_file, read_sealed_json
from stages.shared.paths import AUDIT, COUNTS, IMAGES, PREPARED
from tests.prepare_dataset.index_rows import read_used_rows
from tests.prepare_dataset.tables import (
    audit_params,
    classes_of,
    concatenate,
    other_files,
    split_params,
    table_of,
    texts,
    write_images,
)

ROOT = Path(__file__).parents[2]
COMMITTED = read_params(ROOT / "params.yaml")
PATHS = [f"{label}/{i:02}.png" for label in ("cat", "dog") for i in range(12)]

Run = Callable[..., Manifest]


@pytest.fixture(autouse=True)
def empty_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs the stage on data/images and returns the manifest."""

    def run_main(split: Split | None = None, audit: Audit | None = None) -> Manifest:
        changed = {"split": split or split_params(), "audit": audit or audit_params()}
        monkeypatch.setattr("stages.params.read.read_params", lambda: COMMITTED.model_copy(update=changed))
        command.main()
        return read_sealed_json(PREPARED / "manifest.json", Manifest, made_by="")

    return run_main


def write(table: ImageTable | None = None, *, channels: int = 3) -> np.ndarray:
    """Write data/images, by default 24 images of two classes, and return the pixels."""
    table = table_of(PATHS) if table is None else table
    named = table.path[table.label >= 0].tolist()
    return write_images(IMAGES, table, classes=classes_of(named), channels=channels)


def hashes() -> dict[str, str]:
    """Return the SHA-256 of every file below data/."""
    files = sorted(path for path in Path("data").rglob("*") if path.is_file())
    return {path.as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def index_rows() -> dict[str, IndexRow]:
    """Return the used lines of the index by path."""
    return {row.path: row for row in read_used_rows(PREPARED / "index.csv")}


def read_metrics() -> PrepareMetrics:
    return PrepareMetrics.model_validate_json((COUNTS / "prepare.json").read_bytes())


def read_findings() -> list[Mapping[str, str]]:
    with (AUDIT / "findings.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def images_with_rest() -> ImageTable:
    """Return 24 images and three files that are not used."""
    return concatenate(
        table_of(PATHS),
        other_files(["cat/00b.png"], "undecodable", reason="is text", label=0),
        other_files(["cat/x.txt"], "not_an_image", reason=".txt is no image suffix", label=0),
        other_files(["top.png"], "outside_classes", reason="stands outside the class folders"),
    )


# What is written.


@pytest.mark.parametrize("channels", [1, 3])
def test_every_row_is_its_file(run: Run, channels: int) -> None:
    """Used line i of the index and row i of labels, splits and rows speak of one image."""
    table = images_with_rest()
    pixels = write(table, channels=channels)
    manifest = run()
    names = ("rows", "labels", "splits")
    rows, labels, splits = (np.load(PREPARED / f"{name}.npy") for name in names)
    assert [array.dtype.name for array in (rows, labels, splits)] == ["int64", "int64", "uint8"]
    lines = list(index_rows().values())
    assert [line.path for line in lines] == PATHS
    assert len(lines) == len(rows) == len(labels) == len(splits) == manifest.num_images == 24
    for i, line in enumerate(lines):
        assert table.path[np.flatnonzero(table.row == rows[i])[0]] == line.path
        assert manifest.classes[labels[i]] == line.label == line.path.split("/")[0]
        assert SPLIT_NAMES[splits[i]] == line.split
    training = pixels[rows[splits == 0]] / 255
    np.testing.assert_allclose(manifest.mean, training.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(manifest.std, training.std(axis=(0, 1, 2)), rtol=1e-9)


def test_manifest_and_metrics_count(run: Run) -> None:
    """Both say what the arrays hold."""
    write()
    manifest = run()
    labels, splits = np.load(PREPARED / "labels.npy"), np.load(PREPARED / "splits.npy")
    metrics = read_metrics()
    for code, split in enumerate(SPLIT_NAMES):
        counts = getattr(manifest.counts, split)
        assert list(counts) == np.bincount(labels[splits == code], minlength=2).tolist()
        assert getattr(metrics, f"num_{split}") == sum(counts)
    assert metrics.num_classes == 2


def test_every_file_is_recorded(run: Run) -> None:
    """The manifest names each file beside it, and the shards, with their SHA-256."""
    write()
    manifest = run()
    for record in manifest.files:
        check_file(PREPARED, record, made_by="")
    for record in manifest.image_shards:
        check_file(IMAGES, record, made_by="")
    written = {path.name for path in PREPARED.iterdir()}
    assert {record.name for record in manifest.files} == written - {"manifest.json"}


def test_index_tells_what_became_of_every_file(run: Run) -> None:
    """Files left out are in the index too, with the reason."""
    write(images_with_rest())
    run()
    lines = (PREPARED / "index.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "path,label,split,status,reason,group,sha256,phash,height_px,width_px,leak"
    assert "cat/x.txt,cat,,not_an_image,.txt is no image suffix,,,,,," in lines
    assert "cat/00b.png,cat,,undecodable,is text,,,,,," in lines
    assert "top.png,,,outside_classes,stands outside the class folders,,,,,," in lines
    assert len(lines) == 1 + 24 + 3


def test_split_folders_are_kept(run: Run) -> None:
    """With train/ and test/, test is the test split and val comes out of train."""
    paths = [f"{split}/{path}" for split, some in (("test", PATHS[8:16]), ("train", PATHS)) for path in some]
    write(table_of(paths))
    manifest = run()
    assert manifest.counts.test == (4, 4)
    assert min(manifest.counts.val) >= 1
    assert all((row.split == "test") == path.startswith("test/") for path, row in index_rows().items())


def test_three_split_folders(run: Run) -> None:
    """With all three, nothing is moved."""
    write(table_of([f"{split}/{label}/1.png" for split in sorted(SPLIT_NAMES) for label in ("cat", "dog")]))
    manifest = run()
    assert (manifest.counts.train, manifest.counts.val, manifest.counts.test) == ((1, 1), (1, 1), (1, 1))


# What belongs together.


def test_groups_stay_together(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Images of one patient are in one split, those of several classes too; the index names the first."""
    write(table_of([f"{label}/p{i % 9}-{i:02}.png" for label in "ab" for i in range(40)]))
    run(split_params(group=r"/p(\d)-"))
    rows = index_rows()
    of_group: dict[str, set[str]] = {}
    for row in rows.values():
        of_group.setdefault(row.group, set()).add(row.split)
    assert {len(splits) for splits in of_group.values()} == {1}
    assert len(of_group) == 9
    assert read_metrics().num_together == 80
    assert "80 stay in one split with another image" in capsys.readouterr().out


def test_leaks_are_left_out_of_training(run: Run) -> None:
    """With `exclude`, a training image whose copy tests is left out, and told with the reason."""
    table = table_of([*(f"test/{path}" for path in PATHS[:14]), *(f"train/{path}" for path in PATHS)])
    table.sha256[20] = table.sha256[3]
    write(table)
    assert run(audit=audit_params(copies="ignore")).num_images == 38
    assert read_metrics().num_leaks == 1
    assert read_metrics().num_together == 0
    assert [tuple(row.values()) for row in read_findings()] == [
        ("leaks", "train/cat/06.png", "cat", "is the same file as test/cat/03.png", "used")
    ]
    assert "split.leaks" in (AUDIT / "data.html").read_text(encoding="utf-8")
    assert {path: row.leak for path, row in index_rows().items() if row.leak} == {"test/cat/03.png": "copy"}
    manifest = run(split_params(leaks="exclude"))
    assert manifest.num_images == len(index_rows()) == len(np.load(PREPARED / "rows.npy")) == 37
    assert 20 not in np.load(PREPARED / "rows.npy")
    index = (PREPARED / "index.csv").read_text(encoding="utf-8")
    assert f"{table.path[20]},cat,,leak,is the same file as test/cat/03.png," in index
    assert [row["became"] for row in read_findings()] == ["left_out"]
    assert not any(row.leak for row in index_rows().values())
    run(split_params(leaks="ignore"), audit_params(copies="ignore"))
    assert read_findings() == []
    assert not any(row.leak for row in index_rows().values())


def test_leaks_can_stop_the_run(run: Run) -> None:
    """With `error`, nothing is published."""
    table = table_of([f"{split}/{path}" for split in ("test", "train") for path in PATHS])
    table.sha256[24:] = table.sha256[:24]
    write(table)
    with pytest.raises(
        InputError, match=r"^train/cat/00.png: is the same file as test/cat/00.png, which is in"
    ):
        run(split_params(leaks="error"))
    assert not PREPARED.exists()


def test_folds(run: Run) -> None:
    """Every image tests in exactly one of the folds."""
    write()
    tested: list[str] = []
    for fold in range(3):
        run(split_params(folds=3, fold=fold))
        tested += [path for path, row in index_rows().items() if row.split == "test"]
    assert len(tested) == len(set(tested)) == 24


# The audit.


def with_blank_and_copy() -> ImageTable:
    """Return 24 images of which cat/05.png is blank and dog/00.png (row 12) has a copy, dog/01.png."""
    table = table_of(PATHS)
    table.std[5] = 0
    table.sha256[13] = table.sha256[12]
    return table


def test_audit_warns(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """With `warn` all images stay; terminal, list, page and metrics tell of the findings."""
    write(with_blank_and_copy())
    assert run(audit=audit_params(copies="ignore")).num_images == 24
    assert "audit: found 1 blank, the worst: cat/05.png (deviates by 0.00" in capsys.readouterr().out
    assert [(row["kind"], row["path"], row["became"]) for row in read_findings()] == [
        ("blank", "cat/05.png", "used")
    ]
    page = (AUDIT / "data.html").read_text(encoding="utf-8")
    assert "<code>audit.blank: warn</code>, <code>audit.blank_std: 3.0</code>" in page
    metrics = read_metrics()
    assert (metrics.num_blank, metrics.num_copies, metrics.num_excluded_by_audit) == (1, 1, 0)


def test_audit_excludes(run: Run) -> None:
    """With `exclude` an image is in the index with its reason, and not among the rows."""
    write(with_blank_and_copy())
    manifest = run(audit=audit_params(blank="exclude", copies="exclude"))
    assert manifest.num_images == len(index_rows()) == 22
    index = (PREPARED / "index.csv").read_text(encoding="utf-8")
    assert "cat/05.png,cat,,audit,blank: deviates by 0.00 grey levels," in index
    assert "dog/01.png,dog,,audit,copies: the same file as dog/00.png," in index
    assert np.load(PREPARED / "rows.npy").tolist() == [row for row in range(24) if row not in (5, 13)]
    assert {row["became"] for row in read_findings()} == {"left_out"}
    assert read_metrics().num_excluded_by_audit == 2


def test_audit_excludes_a_tiny_class(run: Run) -> None:
    """The class is gone from the manifest and the labels; its images are in the index with the reason."""
    write(table_of(sorted([*PATHS, "cow/0.png", "cow/1.png"])))
    audit = audit_params(tiny_class="exclude", min_class_images=3)
    assert run(audit=audit).classes == ("cat", "dog")
    assert np.load(PREPARED / "labels.npy").tolist() == [0] * 12 + [1] * 12
    assert "cow/0.png,cow,,audit,tiny_class: 2 images," in (PREPARED / "index.csv").read_text()
    assert ("tiny_class", "cow", "left_out") in {
        (row["kind"], row["label"], row["became"]) for row in read_findings()
    }


def test_audit_stops_the_run(run: Run) -> None:
    """With `error` every kind names its images and what to do, and nothing is published."""
    write(with_blank_and_copy())
    with pytest.raises(InputError) as caught:
        run(audit=audit_params(blank="error", tiny_class="error", min_class_images=20))
    assert str(caught.value).split("\n") == [
        "cat/05.png: blank: deviates by 0.00 grey levels; remove it, or set audit.blank: exclude or warn",
        "class cat: 12 images; give it at least 20 images, or set audit.tiny_class: warn",
        "class dog: 12 images; give it at least 20 images, or set audit.tiny_class: warn",
    ]
    assert not PREPARED.exists()
    assert not AUDIT.exists()


def test_nothing_found(run: Run) -> None:
    """The list is empty but for its header, and the page says so."""
    write()
    run()
    assert read_findings() == []
    assert {path.name for path in AUDIT.iterdir()} == {"data.html", "findings.csv", "findings.csv.sha256"}
    assert "The audit found nothing" in (AUDIT / "data.html").read_text(encoding="utf-8")


# Reproducible, and whole.


def test_two_runs_give_the_same_bytes(run: Run) -> None:
    """Every file, over an earlier run."""
    write(with_blank_and_copy())
    run()
    first = hashes()
    run(split_params(seed=1))
    assert hashes() != first
    run()
    assert hashes() == first


def test_the_data_are_part_of_the_fingerprint(run: Run) -> None:
    """Another table gives another fingerprint, and the same one the same."""
    write()
    run()
    first = read_metrics().fingerprint
    write(with_blank_and_copy())
    run()
    assert read_metrics().fingerprint != first
    write()
    run()
    assert read_metrics().fingerprint == first


def test_stopped_half_way(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ends a run, the outputs of the earlier one are whole and nothing else is left."""
    write()
    run()
    earlier = hashes()

    def stop(*args: object, **keywords: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "write_prepared", stop)
    with pytest.raises(KeyboardInterrupt):
        run(split_params(seed=1))
    assert hashes() == earlier
    assert {path.name for path in Path("data").iterdir()} == {"images", "prepared", "audit", "counts"}


def cut_shard() -> None:
    path = IMAGES / "images-00001.npy"
    path.write_bytes(path.read_bytes()[:-1])


def flip_table() -> None:
    data = bytearray((IMAGES / TABLE_NAME).read_bytes())
    data[len(data) // 2] ^= 1
    (IMAGES / TABLE_NAME).write_bytes(data)


REFUSED: Mapping[str, tuple[Callable[[], object], str]] = {
    "no manifest": ((IMAGES / "manifest.json").unlink, "manifest.json: there is no such file"),
    "no shard": ((IMAGES / "images-00000.npy").unlink, "images-00000.npy: is missing or cut short"),
    "a shard cut short": (cut_shard, "images-00001.npy: is missing or cut short"),
    "a damaged table": (flip_table, f"{TABLE_NAME}: is damaged"),
    "a class too small": (
        lambda: write(table_of([*PATHS, "emu/0.png"])),
        "dataset.source: class emu: found 1 usable image, none left for",
    ),
    "a class undecodable": (
        lambda: write(
            concatenate(table_of(PATHS), other_files(["emu/0.png"], "undecodable", reason="cut", label=2))
        ),
        "dataset.source: class emu: found no usable images",
    ),
    "a column that is missing": (
        lambda: write(table_of(PATHS, group=texts([""] * len(PATHS)))),
        "split.group: column: found no groups",
    ),
}


@pytest.mark.parametrize(("damage", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_in_one_line_with_earlier_outputs_untouched(
    damage: Callable[[], object],
    message: str,
    run: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bad input ends in one line on stderr and status 1; what an earlier run made is still whole."""
    write()
    run()
    damage()
    earlier = hashes()
    capsys.readouterr()
    if "column" in message:
        params = COMMITTED.model_copy(update={"split": split_params(group="column")})
        monkeypatch.setattr("stages.params.read.read_params", lambda: params)
    with pytest.raises(SystemExit) as stopped:
        run_stage(command.main)
    assert stopped.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert hashes() == earlier


def test_command_starts_without_torch() -> None:
    """The command runs, in its own process, and needs neither torch nor torchvision."""
    write()
    Path("params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    code = (
        "import runpy, sys; sys.modules.update(torch=None, torchvision=None); "
        "runpy.run_module('stages.prepare_dataset', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "prepare-dataset: 24 images of 2 classes: " in done.stdout
