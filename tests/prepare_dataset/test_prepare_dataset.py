"""The whole stage: from a folder or archive to data/prepared, or one clear line and nothing changed."""

import csv
import hashlib
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from schemas.params import Params
from schemas.prepare_dataset.audit import Audit
from schemas.prepare_dataset.prepare_metrics import PrepareMetrics
from schemas.prepare_dataset.split import Split
from schemas.shared.index import IndexRow
from schemas.shared.manifest import SPLIT_NAMES, Manifest
from stages.images.decode import decode_image
from stages.images.resize import Pixels
from stages.params.read import read_params
from stages.prepare_dataset import __main__ as command
from stages.prepare_dataset import stage
from stages.shared.errors import InputError, run_stage
from stages.shared.files import check_file, read_sealed_json
from tests.images.trees import (
    class_folders,
    encode,
    flat,
    photograph,
    picture,
    write_compressed,
    write_folder,
    write_tar,
    write_zip,
)
from tests.prepare_dataset.index_rows import read_used_rows

ROOT = Path(__file__).parents[2]
COMMITTED = read_params(ROOT / "params.yaml")
PREPARED = Path("data/prepared")
AUDIT_TABLE = ("data/audit/findings.csv", "data/audit/findings.csv.sha256")


@pytest.fixture(autouse=True)
def empty_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Manifest]:
    """Return a function that runs the stage on a source and returns the manifest."""

    def run_main(
        source: str = "raw",
        *,
        split: Mapping[str, object] | None = None,
        audit: Mapping[str, object] | None = None,
        **dataset: object,
    ) -> Manifest:
        params = params_with(source=source, **dataset)
        changed = {
            "split": Split.model_validate({**params.split.model_dump(), **(split or {})}),
            "audit": Audit.model_validate({**params.audit.model_dump(), **(audit or {})}),
        }
        monkeypatch.setattr("stages.params.read.read_params", lambda: params.model_copy(update=changed))
        command.main()
        return read_sealed_json(PREPARED / "manifest.json", Manifest, made_by="")

    return run_main


def params_with(**dataset: object) -> Params:
    """Return the committed parameters for small colour images, with these changes."""
    small = {
        **COMMITTED.dataset.model_dump(),
        "color": "rgb",
        "height_px": 4,
        "width_px": 3,
        "resize": "squish",
        "undecodable": "exclude",
        "workers": 2,
    }
    changed = COMMITTED.dataset.model_validate({**COMMITTED.dataset.model_dump(), **small, **dataset})
    return COMMITTED.model_copy(update={"dataset": changed})


def hashes() -> dict[str, str]:
    """Return the SHA-256 of every file below data/."""
    files = sorted(path for path in Path("data").rglob("*") if path.is_file())
    return {path.as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def index_rows() -> dict[str, IndexRow]:
    """Return the used lines of the index by path."""
    return {row.path: row for row in read_used_rows(PREPARED / "index.csv")}


def read_metrics() -> PrepareMetrics:
    return PrepareMetrics.model_validate_json(Path("data/metrics/prepare.json").read_bytes())


def packed(manifest: Manifest) -> Pixels:
    """Return all packed pixels."""
    return np.concatenate([np.load(PREPARED / shard.name) for shard in manifest.image_shards])


# What is written.


def test_every_row_is_its_file(run: Callable[..., Manifest]) -> None:
    """Line i of the index, row i of pixels, labels and splits speak of one file."""
    files = class_folders(("b", "a", "c d"), num_images=6)
    write_folder(Path("raw"), files)
    manifest = run()
    pixels, labels = packed(manifest), np.load(PREPARED / "labels.npy")
    splits = np.load(PREPARED / "splits.npy")
    rows = list(index_rows().values())
    assert [row.path for row in rows] == sorted(files)
    assert len(rows) == len(pixels) == len(labels) == len(splits) == manifest.num_images == 18
    for i, row in enumerate(rows):
        np.testing.assert_array_equal(pixels[i], decode_image(files[row.path], manifest.image))
        assert manifest.classes[labels[i]] == row.label == row.path.split("/")[0]
        assert SPLIT_NAMES[splits[i]] == row.split
    assert [array.dtype.name for array in (pixels, labels, splits)] == ["uint8", "int64", "uint8"]


def test_manifest_and_metrics_count(run: Callable[..., Manifest]) -> None:
    """Both say what the arrays hold."""
    write_folder(
        Path("raw"), {**class_folders(("a", "b", "c"), num_images=10), "a/x.txt": b"", "b/x.png": b""}
    )
    manifest = run()
    labels, splits = np.load(PREPARED / "labels.npy"), np.load(PREPARED / "splits.npy")
    for code, split in enumerate(SPLIT_NAMES):
        counts = getattr(manifest.counts, split)
        assert list(counts) == np.bincount(labels[splits == code], minlength=3).tolist()
    metrics = read_metrics()
    assert (metrics.num_classes, metrics.num_undecodable, metrics.num_not_an_image) == (3, 1, 1)
    for split in SPLIT_NAMES:
        assert getattr(metrics, f"num_{split}") == sum(getattr(manifest.counts, split))
    assert metrics.num_train + metrics.num_val + metrics.num_test == manifest.num_images == 30


def test_statistics_are_of_the_training_split(run: Callable[..., Manifest]) -> None:
    """Mean and deviation are NumPy's over the pixels that train, and no others."""
    write_folder(Path("raw"), class_folders(num_images=10))
    manifest = run()
    training = packed(manifest)[np.load(PREPARED / "splits.npy") == SPLIT_NAMES.index("train")] / 255
    np.testing.assert_allclose(manifest.mean, training.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(manifest.std, training.std(axis=(0, 1, 2)), rtol=1e-9)


def test_every_file_is_recorded(run: Callable[..., Manifest]) -> None:
    """The manifest names each file beside it with its SHA-256."""
    write_folder(Path("raw"), class_folders())
    manifest = run()
    for record in manifest.files:
        check_file(PREPARED, record, made_by="")
    assert {record.name for record in manifest.files} == {path.name for path in PREPARED.iterdir()} - {
        "manifest.json"
    }


def test_index_tells_what_became_of_every_file(run: Callable[..., Manifest]) -> None:
    """Files left out stand in the index too, with the reason."""
    extra = {"cat/x.txt": b"", "cat/y.png": b"junk", "top.png": b"", "dog/.hidden.png": b""}
    write_folder(Path("raw"), {**class_folders(), **extra})
    run()
    lines = (PREPARED / "index.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "path,label,split,status,reason,group,sha256,phash,height_px,width_px"
    assert "cat/x.txt,cat,,not_an_image,.txt is no image suffix,,,,," in lines
    assert any(line.startswith('cat/y.png,cat,,undecodable,"is text; ') for line in lines)
    assert "top.png,,,outside_classes,stands outside the class folders,,,,," in lines
    assert len(lines) == 1 + 10 + 3
    assert lines[1:] == sorted(lines[1:])
    assert len(index_rows()) == 10


def test_hostile_names(run: Callable[..., Manifest]) -> None:
    """Newlines, quotes, commas, bytes that are not UTF-8 and names of 255 bytes come through."""
    names = ["new\nline", 'quote"', "comma,", "caf\udce9", "é" * 125, " space ", "=1+1", "🐈\u200d⬛"]
    files = class_folders(("c,a\nt", "d\udce9g"), num_images=3)
    files |= {f"c,a\nt/{name}.png": picture(i) for i, name in enumerate(names)}
    write_folder(Path("raw"), files)
    manifest = run()
    assert manifest.classes == ("c,a\\nt", "d\\udce9g")
    assert len(index_rows()) == manifest.num_images == len(files)
    assert "c,a\\nt/new\\nline.png" in index_rows()


def test_what_is_no_image_is_counted_by_kind(
    run: Callable[..., Manifest], capsys: pytest.CaptureFixture[str]
) -> None:
    """In the metrics, and in the summary that is printed."""
    extra = {"cat/x.txt": b"", "x.png": b"", "y.png": b"", ".hidden": b"", "dog/Thumbs.db": b""}
    write_folder(Path("raw"), {**class_folders(), **extra, "__MACOSX/1.png": b""})
    run()
    metrics = read_metrics()
    assert (metrics.num_not_an_image, metrics.num_outside_classes, metrics.num_not_in_table) == (1, 2, 0)
    assert (metrics.num_hidden, metrics.num_system_files) == (1, 2)
    printed = capsys.readouterr().out
    assert "left out 1 that are no images, 2 that stand outside the class folders; data/prepared" in printed
    assert "passed over 1 hidden files and 2 that operating systems leave behind" in printed


def test_a_table_gives_classes_splits_and_groups(run: Callable[..., Manifest]) -> None:
    """All three reach the index; images that it does not name are left out."""
    images = {f"{i}.png": picture(i) for i in range(31)}
    lines = [f"{i}.png,{'ab'[i % 2]},{'test' if i > 19 else 'train'},g{i % 10 // 2}" for i in range(30)]
    table = "\n".join(["path,label,split,group", *lines])
    write_folder(Path("raw"), {**images, "labels.csv": table.encode()})
    manifest = run(labels="labels.csv", split={"group": "column", "leaks": "ignore"})
    assert manifest.classes == ("a", "b")
    assert manifest.counts.test == (5, 5)
    rows = index_rows()
    assert {path: row.label for path, row in rows.items()} == {f"{i}.png": "ab"[i % 2] for i in range(30)}
    assert rows["0.png"].split == rows["1.png"].split == rows["10.png"].split == rows["11.png"].split
    assert read_metrics().num_not_in_table == 1


def test_grayscale(run: Callable[..., Manifest]) -> None:
    """One channel, and one mean."""
    write_folder(Path("raw"), class_folders())
    manifest = run(color="grayscale")
    assert packed(manifest).shape == (10, 4, 3, 1)
    assert len(manifest.mean) == len(manifest.std) == 1


def test_images_of_all_shapes(run: Callable[..., Manifest]) -> None:
    """Strips and single pixels beside ordinary images are packed in one shape."""
    shapes = [(1, 1000), (1000, 1), (1, 1), (7, 7), (300, 200)]
    files = {
        f"{label}/{height}x{width}.png": picture(height=height, width=width)
        for label in ("cat", "dog")
        for height, width in shapes
    }
    write_folder(Path("raw"), files)
    for resize in ("squish", "pad", "crop"):
        assert packed(run(resize=resize)).shape == (10, 4, 3, 3)


# Given splits.


def test_split_folders_are_kept(run: Callable[..., Manifest]) -> None:
    """With train/ and test/, test is the test split and val comes out of train."""
    write_folder(Path("raw/train"), class_folders(num_images=10))
    write_folder(Path("raw/test"), class_folders(num_images=4, seed=50))
    manifest = run()
    assert manifest.counts.test == (4, 4)
    assert min(manifest.counts.val) >= 1
    assert sum(manifest.counts.train + manifest.counts.val) == 20
    assert all((row.split == "test") == path.startswith("test/") for path, row in index_rows().items())


def test_three_split_folders(run: Callable[..., Manifest]) -> None:
    """With all three, nothing is moved."""
    for folder, num_images in (("train", 3), ("validation", 1), ("test", 2)):
        write_folder(Path("raw") / folder, class_folders(num_images=num_images, seed=10 * num_images))
    manifest = run()
    assert (manifest.counts.train, manifest.counts.val, manifest.counts.test) == ((3, 3), (1, 1), (2, 2))


# What belongs together.


def test_copies_and_near_duplicates_stay_together(run: Callable[..., Manifest]) -> None:
    """Copies, and pictures saved anew as JPEG, are on the side of their original; the index names it."""
    files = {
        f"{label}/{i}.png": encode(photograph(i + 50 * (label == "b"))) for label in "ab" for i in range(20)
    }
    files |= {f"a/{i}-copy.png": files[f"a/{i}.png"] for i in range(10)}
    files |= {f"b/{i}-again.jpg": encode(photograph(i + 50), ".jpg") for i in range(10)}
    write_folder(Path("raw"), files)
    run()
    rows = index_rows()
    for i in range(10):
        for first, second in ((f"a/{i}-copy.png", f"a/{i}.png"), (f"b/{i}-again.jpg", f"b/{i}.png")):
            assert rows[first].split == rows[second].split
            assert rows[first].group == rows[second].group == first
    assert {row.group for path, row in rows.items() if "1" in path and len(path) == 8} == {""}
    metrics = read_metrics()
    assert (metrics.num_copies, metrics.num_near_duplicates, metrics.num_together) == (10, 10, 40)


def test_groups_stay_together(run: Callable[..., Manifest]) -> None:
    """Images of one patient are on one side, those of several classes too."""
    files = {
        f"{label}/p{i % 9}-{i}.png": picture(i + 50 * (label == "b")) for label in "ab" for i in range(40)
    }
    write_folder(Path("raw"), files)
    run(split={"group": r"/p(\d)-"})
    sides: dict[str, set[str]] = {}
    for path, row in index_rows().items():
        sides.setdefault(path[3], set()).add(row.split)
    assert {len(splits) for splits in sides.values()} == {1}
    assert len(sides) == 9


def test_group_that_joins_nothing(run: Callable[..., Manifest]) -> None:
    """A pattern that finds nothing is refused before anything is decoded."""
    write_folder(Path("raw"), class_folders())
    with pytest.raises(InputError, match=r"split.group: patient: finds nothing in any path, as in cat/0.png"):
        run(split={"group": "patient"})


def test_adding_and_renaming_moves_no_image(run: Callable[..., Manifest]) -> None:
    """A file keeps its side when others come, when it is renamed, and in another form and colour."""
    write_folder(Path("raw"), class_folders(num_images=40))
    run()
    before = {row.sha256: row.split for row in index_rows().values()}
    write_folder(Path("more"), class_folders(num_images=40, top="x-"))
    write_folder(Path("more"), class_folders(("x-cat", "x-dog"), num_images=60, seed=500))
    write_folder(Path("more"), {f"x-dog/new-{i}.png": picture(i) for i in range(40)})
    run("more", height_px=9, color="grayscale")
    after = {row.sha256: row.split for row in index_rows().values()}
    assert len(before.keys() & after.keys()) >= 40
    assert all(after[digest] == split for digest, split in before.items() if digest in after)


def test_leaks_are_left_out_of_training(run: Callable[..., Manifest]) -> None:
    """With `exclude`, a training image whose copy tests is left out, from the pixels as from the index."""
    write_folder(Path("raw/train"), class_folders(num_images=10))
    write_folder(Path("raw/test"), class_folders(num_images=4, seed=50))
    files = class_folders(num_images=10)
    write_folder(Path("raw/test"), {"cat/copy.png": files["cat/3.png"]})
    assert run().num_images == 29
    assert read_metrics().num_leaks == 1
    manifest = run(split={"leaks": "exclude"})
    rows = index_rows()
    assert manifest.num_images == len(rows) == len(packed(manifest)) == 28
    assert "train/cat/3.png" not in rows
    index = (PREPARED / "index.csv").read_text(encoding="utf-8")
    assert "train/cat/3.png,cat,,leak,belongs with test/cat/copy.png," in index
    for i, path in enumerate(rows):
        expected = decode_image((Path("raw") / path).read_bytes(), manifest.image)
        np.testing.assert_array_equal(packed(manifest)[i], expected)
    assert not (PREPARED / "whole").exists()


def test_leaks_can_stop_the_run(run: Callable[..., Manifest]) -> None:
    """With `error`, nothing is published."""
    write_folder(Path("raw/train"), class_folders())
    write_folder(Path("raw/test"), class_folders())
    with pytest.raises(InputError, match=r"^raw/train/cat/0.png: belongs with test/cat/0.png, which stands"):
        run(split={"leaks": "error"})
    assert not Path("data/prepared").exists()


def test_folds(run: Callable[..., Manifest]) -> None:
    """Every image tests in exactly one of the folds."""
    write_folder(Path("raw"), class_folders(num_images=30))
    tested: list[str] = []
    for fold in range(3):
        run(split={"folds": 3, "fold": fold})
        tested += [path for path, row in index_rows().items() if row.split == "test"]
    assert len(tested) == len(set(tested)) == 60


# The audit.


def findings() -> list[dict[str, str]]:
    with Path("data/audit/findings.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_audit_warns(run: Callable[..., Manifest], capsys: pytest.CaptureFixture[str]) -> None:
    """With `warn` all images stay; terminal, list, picture and metrics tell of the findings."""
    write_folder(Path("raw"), {**class_folders(num_images=25), "cat/black.png": encode(flat(0, 0, 0))})
    assert run(audit={"extreme_size": "ignore"}).num_images == 51
    assert "audit: found 1 blank, the worst: cat/black.png (deviates by 0.00" in capsys.readouterr().out
    assert [(row["kind"], row["path"], row["became"]) for row in findings()] == [
        ("blank", "cat/black.png", "used")
    ]
    assert Path("data/audit/worst.png").is_file()
    metrics = read_metrics()
    assert (metrics.num_blank, metrics.num_extreme_size, metrics.num_excluded_by_audit) == (1, 50, 0)
    assert metrics.imbalance == 26 / 25


def test_audit_excludes(run: Callable[..., Manifest]) -> None:
    """With `exclude` the image is in the index with its reason, and in no pixels."""
    files = class_folders(num_images=25)
    write_folder(
        Path("raw"), {**files, "cat/1a.png": encode(flat(7, 7, 7)), "dog/copy.png": files["dog/3.png"]}
    )
    manifest = run(audit={"blank": "exclude", "copies": "exclude", "extreme_size": "ignore"})
    assert manifest.num_images == len(packed(manifest)) == 50
    index = (PREPARED / "index.csv").read_text(encoding="utf-8")
    assert "cat/1a.png,cat,,audit,blank: deviates by 0.00 grey levels," in index
    assert "dog/copy.png,dog,,audit,copies: the same file as dog/3.png," in index
    assert sorted(index_rows()) == sorted(files)
    assert read_metrics().num_excluded_by_audit == 2


def test_audit_excludes_a_tiny_class(run: Callable[..., Manifest]) -> None:
    """The class is gone from the manifest, its images stand in the index with the reason."""
    files = class_folders(num_images=25) | class_folders(("mouse",), num_images=2, seed=9000)
    write_folder(Path("raw"), files)
    assert run(audit={"tiny_class": "exclude"}).classes == ("cat", "dog")
    assert "mouse/0.png,mouse,,audit,tiny_class: 2 images," in (PREPARED / "index.csv").read_text(
        encoding="utf-8"
    )


def test_audit_stops_the_run(run: Callable[..., Manifest]) -> None:
    """With `error` every kind names its images and what to do, and nothing is published."""
    write_folder(Path("raw"), {**class_folders(), "cat/x.png": encode(flat(7, 7, 7))})
    with pytest.raises(InputError) as caught:
        run(audit={"blank": "error", "tiny_class": "error", "extreme_size": "ignore"})
    assert str(caught.value).split("\n") == [
        "raw/cat/x.png: blank: deviates by 0.00 grey levels; remove it, or set audit.blank: exclude or warn",
        "raw: class dog: 5 images; give it at least 20 images, or set audit.tiny_class: warn",
        "raw: class cat: 6 images; give it at least 20 images, or set audit.tiny_class: warn",
    ]
    assert not PREPARED.exists()
    assert not Path("data/audit").exists()


def test_nothing_found(run: Callable[..., Manifest]) -> None:
    """The list is empty but for its header, and there is no picture."""
    write_folder(
        Path("raw"), {path: encode(photograph(i)) for i, path in enumerate(class_folders(num_images=25))}
    )
    run()
    assert findings() == []
    assert {path.name for path in Path("data/audit").iterdir()} == {"findings.csv", "findings.csv.sha256"}


# Reproducible.


def test_two_runs_give_the_same_bytes(run: Callable[..., Manifest]) -> None:
    """Every file, with one thread or four, from fresh or over an earlier run."""
    files = class_folders(("a", "b", "c"), num_images=40) | {"a/x.txt": b"", "b/broken.png": b"x"}
    write_folder(Path("raw"), files)
    run(workers=1)
    first = hashes()
    run(workers=4)
    assert hashes() == first
    names = {path.removeprefix("data/prepared/") for path in first}
    assert names >= {"data/metrics/prepare.json", "images-00000.npy", "labels.npy", "manifest.json"}


@pytest.mark.parametrize("top", ["", "train/"])
@pytest.mark.parametrize("wrapper", ["", "./", "pets/", "./my/pets/"])
def test_folder_zip_and_tar_are_alike(top: str, wrapper: str, run: Callable[..., Manifest]) -> None:
    """However files are packed, whatever folder is around them, all but their paths is the same."""
    files = class_folders(("a", "b"), num_images=8, top=top) | {f"{top}a/x.txt": b""}
    write_folder(Path("raw"), files)
    run()
    wanted = hashes()
    wrapped = {wrapper + path: data for path, data in reversed(files.items())}
    folders = {wrapper: b""} if wrapper else {}
    write_zip(Path("raw.zip"), folders | wrapped)
    write_tar(Path("raw.tar"), wrapped | folders)
    for archive in ("raw.zip", "raw.tar"):
        run(archive)
        differs = {path for path, digest in hashes().items() if wanted[path] != digest}
        differs.discard("data/metrics/prepare.json")  # its fingerprint knows dataset.source
        assert differs <= (
            {"data/prepared/index.csv", "data/prepared/manifest.json", *AUDIT_TABLE}
            if "p" in wrapper
            else set()
        )


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.zst"])
def test_a_compressed_tar_is_alike(suffix: str, run: Callable[..., Manifest]) -> None:
    """The processes that decode share what it was unpacked to; the result is the folder's, byte for byte."""
    files = class_folders(("a", "b"), num_images=8)
    write_folder(Path("raw"), files)
    run()
    wanted = hashes()
    run(str(write_compressed(suffix, files, Path())))
    differs = {path for path, digest in hashes().items() if wanted[path] != digest}
    assert differs <= {"data/metrics/prepare.json"}  # its fingerprint knows dataset.source


def test_groups_of_a_table_that_are_not_used(
    run: Callable[..., Manifest], capsys: pytest.CaptureFixture[str]
) -> None:
    """A column group is not ignored in silence."""
    images = {f"{i}.png": picture(i) for i in range(20)}
    lines = [f"{i}.png,{'ab'[i % 2]},p{i // 4}" for i in range(20)]
    write_folder(Path("raw"), {**images, "labels.csv": "\n".join(["path,label,group", *lines]).encode()})
    run(labels="labels.csv")
    assert "the table's column group is not used: set split.group: column" in capsys.readouterr().out


# Refusals.


def one_class() -> None:
    write_folder(Path("raw"), class_folders(("cat",)))


def missing_val_class() -> None:
    write_folder(Path("raw/train"), class_folders())
    write_folder(Path("raw/val"), class_folders(("cat",)))


def climbing_zip() -> None:
    write_zip(Path("raw.zip"), {**class_folders(), "../evil.png": picture()})


def cut_off_tar() -> None:
    path = write_tar(Path("raw.tar"), class_folders())
    path.write_bytes(path.read_bytes()[:3000])


def no_zip() -> None:
    Path("raw.zip").write_bytes(b"PK no more")


def undecodable_class() -> None:
    write_folder(Path("raw"), class_folders() | dict.fromkeys((f"dog/{i}.png" for i in range(5)), b"junk"))


REFUSED: Mapping[str, tuple[Callable[[], object], str]] = {
    "missing": (lambda: None, "dataset.source: raw: there is no such file or folder"),
    "empty": (lambda: Path("raw").mkdir(), "dataset.source: raw: found no images"),
    "one class": (one_class, "dataset.source: raw: found one class, cat"),
    "one image in a class": (
        lambda: write_folder(Path("raw"), {**class_folders(("cat",)), "dog/1.png": picture()}),
        "dataset.source: class dog: found 1 usable image, none left for train and val",
    ),
    "empty class": (
        lambda: write_folder(Path("raw"), {**class_folders(), "mouse/": b""}),
        "dataset.source: class mouse: found no usable images",
    ),
    "class missing from val": (
        missing_val_class,
        "dataset.source: class dog: found 5 usable images, none left",
    ),
    "climbing zip": (climbing_zip, "dataset.source: raw.zip: holds ../evil.png, which climbs out"),
    "corrupt zip": (no_zip, "dataset.source: raw.zip: is no readable zip archive"),
    "cut-off tar": (cut_off_tar, "dataset.source: raw.tar: is no readable tar archive"),
    "a class undecodable": (undecodable_class, "dataset.source: class dog: found no usable images"),
    "all undecodable": (
        lambda: write_folder(Path("raw"), dict.fromkeys(class_folders(), b"junk")),
        "none of its 10 images can be decoded; the first: cat/0.png: is text; ",
    ),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_in_one_line_with_earlier_outputs_untouched(
    make: Callable[[], object],
    message: str,
    run: Callable[..., Manifest],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bad input ends in one line on stderr and status 1; what an earlier run made is still whole."""
    write_folder(Path("good"), class_folders(num_images=3))
    run("good")
    earlier = hashes()
    make()
    capsys.readouterr()
    source = next((name for name in ("raw.zip", "raw.tar") if Path(name).exists()), "raw")
    monkeypatch.setattr("stages.params.read.read_params", lambda: params_with(source=source))
    with pytest.raises(SystemExit) as stopped:
        run_stage(command.main)
    assert stopped.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert hashes() == earlier
    assert {path.name for path in Path("data").iterdir()} == {"prepared", "audit", "metrics"}


def test_a_gap_is_found_before_decoding(
    run: Callable[..., Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A class with one image is refused before the hour it may take to decode the others."""
    write_folder(Path("raw"), {**class_folders(), "mouse/1.png": picture()})
    monkeypatch.setattr(stage, "ingest_images", lambda *args, **keywords: pytest.fail("was decoded"))
    with pytest.raises(InputError, match="class mouse"):
        run()


def test_undecodable_error(run: Callable[..., Manifest]) -> None:
    """With `error` every file that cannot be decoded is named, each with its reason and what to do."""
    write_folder(Path("raw"), {**class_folders(), "cat/x.png": b"", "dog/y\n.png": b"junk"})
    with pytest.raises(InputError) as caught:
        run(undecodable="error")
    first, second = str(caught.value).split("\n")
    assert first == "raw/cat/x.png: the file is empty; remove it, or set dataset.undecodable: exclude"
    assert second.startswith("raw/dog/y\\n.png: is text; ")
    assert second.endswith("; remove it, or set dataset.undecodable: exclude")
    assert not Path("data").exists() or not list(Path("data").iterdir())


def test_undecodable_error_names_the_first_few(run: Callable[..., Manifest]) -> None:
    """A thousand broken files are told in eleven lines."""
    write_folder(Path("raw"), class_folders() | {f"cat/x{i:04}.png": b"" for i in range(1000)})
    with pytest.raises(InputError) as caught:
        run(undecodable="error")
    lines = str(caught.value).split("\n")
    assert len(lines) == 11
    assert lines[-1].startswith("raw: 990 more that cannot be decoded; ")


def test_undecodable_exclude(run: Callable[..., Manifest], capsys: pytest.CaptureFixture[str]) -> None:
    """With `exclude` the stage says which files it left out, and goes on; no earlier run decoded those."""
    write_folder(Path("raw"), {**class_folders(), "cat/x.png": b""})
    assert run().num_images == 10
    printed = capsys.readouterr().out
    assert "left out raw/cat/x.png: the file is empty" in printed
    assert "an earlier run" not in printed


def test_damaged_member_of_a_zip(run: Callable[..., Manifest]) -> None:
    """A checksum error in one member costs that image only."""
    pixels = flat(9, 9, 9, height=40, width=40)
    write_zip(Path("raw.zip"), {**class_folders(), "cat/x.bmp": encode(pixels, ".bmp")})
    data = bytearray(Path("raw.zip").read_bytes())
    data[data.index(b"\x09" * 40)] ^= 1
    Path("raw.zip").write_bytes(data)
    assert run("raw.zip").num_images == 10
    assert "its checksum (CRC-32) is another" in (PREPARED / "index.csv").read_text(encoding="utf-8")


def test_links_to_folders(run: Callable[..., Manifest]) -> None:
    """A class folder that is a link is refused by name, never left out in silence; a loop adds no image."""
    write_folder(Path("raw"), class_folders())
    Path("raw/cat/loop").symlink_to("..", target_is_directory=True)
    assert run().num_images == 10
    write_folder(Path("elsewhere"), class_folders(("mouse",)))
    Path("raw/mouse").symlink_to("../elsewhere/mouse", target_is_directory=True)
    with pytest.raises(
        InputError, match=r"class mouse: found no usable images.*links to folders are not followed"
    ):
        run()


def test_stopped_half_way(run: Callable[..., Manifest], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ends a run, the outputs of the earlier one are whole and nothing else is left."""
    write_folder(Path("raw"), class_folders())
    run()
    earlier = hashes()

    def stop(*args: object, **keywords: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "write_prepared", stop)
    with pytest.raises(KeyboardInterrupt):
        run(height_px=7)
    assert hashes() == earlier
    assert {path.name for path in Path("data").iterdir()} == {"prepared", "audit", "metrics"}


def test_command_starts_without_torch(tmp_path: Path) -> None:
    """The command runs, in its own process, and needs neither torch nor torchvision."""
    write_folder(Path("data"), {})
    write_zip(Path("data/digits.zip"), class_folders(num_images=3))
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
    line = "prepare-dataset: 6 images of 2 classes from data/digits.zip: 2 train, 2 val, 2 test\n"
    assert line in done.stdout
