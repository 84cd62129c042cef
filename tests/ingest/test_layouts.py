"""Odd folders and archives as people have them: what each is read as, or the one line it is refused with."""

import os
import stat
import tarfile
import tracemalloc
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from stages.images.sources import UnreadableFile
from stages.ingest.layout import find_layout
from stages.ingest.listing import check_class_names, list_images
from stages.params.read import read_params
from stages.shared.errors import InputError
from tests.images.trees import member, write_folder, write_tar, write_zip
from tests.ingest.listed import images_of, open_source, unused_of

DATASET = read_params(Path(__file__).parents[2] / "params.yaml").dataset
MAX_BYTES = 2**20


class Read(NamedTuple):
    """What a source is read as."""

    classes: str
    """All of them, between bars."""

    num_images: int
    splits: str = ""
    left_out: Mapping[str, int] = {}
    """Files without a use by status, and clutter by kind."""

    unreadable: int = 0
    """Images whose bytes cannot be had."""


def look_at(path: Path, *, labels: str = "folders") -> Read | str:
    """Return what a source is read as, or the line it is refused with; reads every image."""
    try:
        source = open_source(path)
        found = list_images(source, DATASET.model_copy(update={"source": str(path), "labels": labels}))
    except InputError as error:
        return str(error)
    reasons = []
    for image in images_of(found):
        try:
            source.locate(image.path).read(max_bytes=MAX_BYTES)
        except UnreadableFile as error:
            reasons.append(str(error))
    assert all(reason.isprintable() for reason in reasons)
    left_out: dict[str, int] = {
        **Counter(row.status for row in unused_of(found)),
        **{str(kind): number for kind, number in found.num_clutter.items()},
    }
    splits = " ".join(sorted(found.given_splits))
    return Read("|".join(found.classes), len(images_of(found)), splits, left_out, len(reasons))


def check(path: Path, expected: Read | str) -> None:
    """Compare what a source is read as, or how its refusal begins, with what is expected."""
    found = look_at(path)
    if isinstance(expected, str):
        assert isinstance(found, str), found
        assert found.isprintable(), "more than one line"
        assert found.startswith(f"dataset.source: {path}: {expected}")
    else:
        assert found == expected


CATS_AND_DOGS = ("cat/1.png", "dog/1.png")
LONG = "n" * 251 + ".png"
TWO = Read("cat|dog", 2)


def below(*tops: str) -> list[str]:
    return [f"{top}{path}" for top in tops for path in CATS_AND_DOGS]


# Read alike in a folder, a zip and a tar.
LAYOUTS: dict[str, tuple[list[str], Read | str]] = {
    "plain": (below(""), TWO),
    "deep": ([*below(""), "cat/a/b/c/d/e/2.png"], Read("cat|dog", 3)),
    "every kind of suffix": (["cat/1.JPG", "cat/2.jpeg", "dog/3.TIFF", "dog/4.webp"], Read("cat|dog", 4)),
    "notes beside images": (
        [*below(""), "cat/notes.txt", "README", "labels.csv"],
        Read("cat|dog", 2, "", {"not_an_image": 3}),
    ),
    "images beside classes": ([*below(""), "logo.png"], Read("cat|dog", 2, "", {"outside_classes": 1})),
    "checkpoints of Jupyter": (
        [*below(""), ".ipynb_checkpoints/x.png", "cat/.ipynb_checkpoints/1.png"],
        Read("cat|dog", 2, "", {"hidden": 2}),
    ),
    "leavings of macOS": (
        [*below(""), "__MACOSX/cat/._1.png", ".DS_Store", "cat/.DS_Store"],
        Read("cat|dog", 2, "", {"system": 1, "hidden": 2}),
    ),
    "leavings of Windows": (
        [*below(""), "cat/Thumbs.db", "cat/desktop.ini", "$RECYCLE.BIN/x.png", "dog/ehthumbs.db"],
        Read("cat|dog", 2, "", {"system": 4}),
    ),
    "leavings of a NAS": ([*below(""), "cat/@eaDir/1.png/thumb.png"], Read("cat|dog", 2, "", {"system": 1})),
    "a repository": ([*below(""), ".git/objects/x.png"], Read("cat|dog", 2, "", {"hidden": 1})),
    "empty class": ([*below(""), "mouse/"], Read("cat|dog|mouse", 2)),
    "digits for classes": (["0/1.png", "1/1.png", "10/1.png"], Read("0|1|10", 3)),
    "one class": (["cat/1.png", "cat/2.png"], "found one class, cat; a classifier needs at least two"),
    "images at the top": (
        ["1.png", "2.png"],
        "found 2 images, but no class folders; put them into one folder for each class",
    ),
    "nothing": ([], "found no images; put them into one folder for each class"),
    "only clutter": (
        ["cat/.1.png", "__MACOSX/1.png"],
        "found no images; put them into one folder for each class",
    ),
    "only notes": (
        ["cat/1.txt", "dog/1.txt"],
        "found no images among 2 files (cat/1.txt: .txt is no image suffix); put them into one folder",
    ),
    "train and test": (below("train/", "test/"), Read("cat|dog", 4, "test train")),
    "all three, spelt otherwise": (
        below("Training/", "VALID/", "testing/"),
        Read("cat|dog", 6, "test train val"),
    ),
    "test alone": (below("test/"), "found test, but no train; put the images to train on into"),
    "splits beside classes": (
        [*below("train/"), "cat/1.png"],
        "found cat beside train; either all folders at the top are splits",
    ),
    "splits of Kaggle": (
        [*below("seg_train/seg_train/", "seg_test/seg_test/"), "seg_pred/seg_pred/1.png"],
        Read("cat|dog", 4, "test train", {"outside_classes": 1}),
    ),
    "splits with words around": (below("training_set/", "test_set/"), Read("cat|dog", 4, "test train")),
    "splits of Hugging Face": (below("train/", "dev/", "eval/"), Read("cat|dog", 6, "test train val")),
    "a test folder without labels": (
        [*below("train/"), "test1/1.png", "test1/2.png"],
        Read("cat|dog", 2, "train", {"outside_classes": 2}),
    ),
    "eval beside test": (
        below("train/", "eval/", "test/"),
        "found eval, test, train; keep one folder for each split, where eval, test are all test",
    ),
    "a folder within each split": (
        below("train/images/", "test/test_images/"),
        Read("cat|dog", 4, "test train"),
    ),
    "annotations beside classes": ([*below(""), "boxes/1.xml"], Read("cat|dog", 2, "", {"not_an_image": 1})),
    "annotations beside a folder around": (
        [*below("101_objects/"), "boxes/cat/1.mat"],
        Read("cat|dog", 2, "", {"not_an_image": 1}),
    ),
    "only a folder around": (below("PetImages/"), TWO),
    "splits that hold images": (
        ["seg_train/1.png", "seg_test/1.png"],
        "found images directly in seg_test, seg_train, which look like splits; put class folders into them",
    ),
    "a copy beside the splits": (
        below("train/", "test/", "xray/train/", "xray/test/"),
        "found xray beside test, train; it holds test, train itself: move it away if it is a copy",
    ),
    "splits in classes": (
        ["cat/train/1.png", "cat/test/1.png", "dog/train/1.png", "dog/val/1.png"],
        "found train and test inside cat; put the splits above the classes",
    ),
    "two folders for one split": (below("train/", "val/", "valid/"), "found train, val, valid; keep one"),
    "an empty split": ([*below("train/"), "test/"], "found no images in test/; put class folders"),
    "a class called train": (["train/1.png", "bus/1.png"], Read("bus|train", 2)),
    "formula": (["-ve/1.png", "dog/2.png"], "found the class '-ve', which a spreadsheet"),
    "case": (["cat/1.png", "Cat/2.png"], "found the classes 'Cat' and 'cat', which differ only in case"),
    "trailing space": (["cat/1.png", "cat /2.png"], "found the classes 'cat' and 'cat ', which differ only"),
    "case across splits": (
        ["train/cat/1.png", "train/dog/1.png", "test/CAT/1.png"],
        "found the classes 'CAT' and 'cat', which differ only in case",
    ),
    "sharp s": (["straße/1.png", "STRASSE/1.png"], "found the classes 'STRASSE' and 'straße', which differ"),
    "accents composed and not": (
        ["train/caf\u00e9/1.png", "test/cafe\u0301/1.png", "train/tea/1.png", "test/tea/2.png"],
        Read("caf\u00e9|tea", 4, "test train"),
    ),
    "newline in a class": (["c\nat/1.png", "dog/1\n2.png"], Read("c\\nat|dog", 2)),
    "quotes, commas, signs": (['"cat",/1.png', "=/'2'.png", "-1/3.png"], Read('"cat",|-1|=', 3)),
    "colon like a drive": (["A: cats/1.png", "B: dogs/1.png"], Read("A: cats|B: dogs", 2)),
    "longest name": ([f"cat/{LONG}", f"dog/{LONG}"], TWO),
    "long path": ([f"cat/{'/'.join(['d' * 200] * 10)}/1.png", "dog/1.png"], TWO),
    "dots": (["..cat/1.png", "dog../...png", "dog../2.png"], "found one class, dog..; a classifier"),
    "right to left": (["חתול/1.png", "כלב/1.png"], Read("חתול|כלב", 2)),
    "emoji": (["🐈\u200d⬛/1.png", "🐕/1.png"], Read("🐈\u200d⬛|🐕", 2)),
    "a folder called as an image": ([*below(""), "cat/2.png/3.png"], Read("cat|dog", 3)),
}


@pytest.mark.parametrize("kind", ["folder", ".zip", ".tar"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, kind: str, tmp_path: Path) -> None:
    """A layout is read as the table above says, whatever holds it."""
    names, expected = LAYOUTS[layout]
    files = {name: b"" if name.endswith("/") else name.encode() for name in names}
    if kind == "folder":
        path = write_folder(tmp_path / "raw", files)
    else:
        path = (write_zip if kind == ".zip" else write_tar)(tmp_path / f"raw{kind}", files)
    check(path, expected)


def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    """Its bytes are shown as escapes, and the file is read."""
    name = os.fsdecode(b"caf\xe9")
    files = {f"{name}/{name}.png": b"1", "tea/1.png": b"2"}
    expected = Read("caf\\udce9|tea", 2)
    assert look_at(write_folder(tmp_path / "raw", files)) == expected
    assert look_at(write_tar(tmp_path / "raw.tar", files)) == expected


# What only a folder on disk can hold.


def _file_link(root: Path) -> None:
    (root / "cat/2.png").symlink_to("../dog/1.png")


def _link_out(root: Path) -> None:
    (root.parent / "secret.png").write_bytes(b"x")
    (root / "cat/2.png").symlink_to(root.parent / "secret.png")


def _link_into_dvc_cache(root: Path) -> None:
    cached = root.parent / ".dvc/cache/files/md5/ab" / ("c" * 30)
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"x")
    (root / "cat/2.png").symlink_to(cached)


def _folder_link_up(root: Path) -> None:
    (root / "cat/loop").symlink_to("..", target_is_directory=True)


def _link_to_itself(root: Path) -> None:
    (root / "cat/2.png").symlink_to("2.png")


def _class_that_is_a_link(root: Path) -> None:
    (root / "mouse").symlink_to("cat", target_is_directory=True)


def _pipe(root: Path) -> None:
    os.mkfifo(root / "cat/2.png")


def _device(root: Path) -> None:
    (root / "cat/2.png").symlink_to("/dev/zero")


def _unreadable_link(root: Path) -> None:
    (root / "cat/2.png").symlink_to("gone.png")


def _large_file(root: Path) -> None:
    with (root / "cat/2.png").open("wb") as file:
        file.truncate(2**40)  # takes no room on the disk


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (_file_link, Read("cat|dog", 3)),
        (_link_out, Read("cat|dog", 3, unreadable=1)),
        (_link_into_dvc_cache, Read("cat|dog", 3)),
        (_folder_link_up, Read("cat|dog", 2)),
        (_link_to_itself, Read("cat|dog", 3, unreadable=1)),
        (_class_that_is_a_link, Read("cat|dog|mouse", 2)),
        (_pipe, Read("cat|dog", 3, unreadable=1)),
        (_device, Read("cat|dog", 3, unreadable=1)),
        (_unreadable_link, Read("cat|dog", 3, unreadable=1)),
        (_large_file, Read("cat|dog", 3, unreadable=1)),
    ],
)
def test_odd_things_in_a_folder(make: Callable[[Path], None], expected: Read, tmp_path: Path) -> None:
    """Links stay inside, loops end, nothing is waited for, and what cannot be read says so."""
    root = write_folder(tmp_path / "raw", dict.fromkeys(CATS_AND_DOGS, b"x"))
    make(root)
    assert look_at(root) == expected


def test_only_files_of_another_kind(tmp_path: Path) -> None:
    """The message says what they are: those looked into before those whose names tell."""
    root = write_folder(tmp_path / "raw", {"cat/1.txt": b"x", "cat/2.psd": b"8BPS", "dog/1.psd": b"8BPS"})
    refused = look_at(root)
    assert "found no images among 3 files (cat/2.psd: is a Photoshop document); put" in str(refused)


def test_classes_that_are_links(tmp_path: Path) -> None:
    """They are told of by name: where nothing is left, and where something is missing."""
    root = write_folder(tmp_path / "raw", {})
    away = write_folder(tmp_path / "away", dict.fromkeys(CATS_AND_DOGS, b"x"))
    for label in ("cat", "dog"):
        (root / label).symlink_to(away / label)
    refused = look_at(root)
    assert isinstance(refused, str)
    assert "found no images; " in refused
    assert "cat/ and 1 more are links to folders, not followed, because DVC sees no changes" in refused
    write_folder(root, {"bird/1.png": b"x"})
    listing = list_images(open_source(root), DATASET.model_copy(update={"source": str(root)}))
    assert listing.notes[0].startswith("cat/ and 1 more are links to folders, not followed")


def test_a_folder_around_everything_is_said(tmp_path: Path) -> None:
    """Of a folder; archives are made so."""
    files = dict.fromkeys(below("pets/"), b"x")
    for path, notes in (
        (write_folder(tmp_path / "raw", files), ("the classes are the folders in pets/, which holds all",)),
        (write_zip(tmp_path / "raw.zip", files), ()),
    ):
        listing = list_images(open_source(path), DATASET.model_copy(update={"source": str(path)}))
        assert (listing.wrapper, listing.notes) == ("pets/", notes)


# What only archives can hold.


def _write_odd_tar(path: Path, *extra: tarfile.TarInfo, names: tuple[str, ...] = CATS_AND_DOGS) -> Path:
    files = {name: b"" if name.endswith("/") else b"x" for name in names}
    return write_tar(path, files, extra=extra)


def _zip_with_a_link(path: Path) -> Path:
    info = zipfile.ZipInfo("cat/2.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(write_zip(path, dict.fromkeys(CATS_AND_DOGS, b"x")), "a") as archive:
        archive.writestr(info, "/etc/passwd")
    return path


def _zip_behind_a_program(path: Path) -> Path:
    data = write_zip(path, dict.fromkeys(CATS_AND_DOGS, b"x")).read_bytes()
    path.write_bytes(b"#!/bin/sh\n" * 50 + data)
    return path


def _zip_with_unmarked_utf_8(path: Path) -> Path:
    data = write_zip(path, {"caf\u00e9/1.png": b"x", "tea/1.png": b"x"}).read_bytes()
    local, central = data.index(b"PK\3\4"), data.index(b"PK\1\2")
    marked = bytearray(data)
    marked[local + 7] = marked[central + 9] = 0
    path.write_bytes(marked)
    return path


def _zip_of_a_million_zeros(path: Path) -> Path:
    files = {**dict.fromkeys(CATS_AND_DOGS, b"x"), "cat/2.png": bytes(2**21)}
    return write_zip(path, files, compression=zipfile.ZIP_DEFLATED)


ARCHIVES: dict[str, tuple[str, Callable[[Path], Path], Read | str]] = {
    "wrapped": (".zip", lambda path: write_zip(path, dict.fromkeys(below("my/pets/"), b"x")), TWO),
    "wrapped by the name of a split": (
        ".tar",
        lambda path: write_tar(path, dict.fromkeys(below("train/"), b"x")),
        Read("cat|dog", 2, "train"),
    ),
    "made from inside": (".tar", lambda path: _write_odd_tar(path, names=("./", *below("./"))), TWO),
    "made on Windows": (
        ".zip",
        lambda path: write_zip(path, {name.replace("/", "\\"): b"x" for name in CATS_AND_DOGS}),
        TWO,
    ),
    "climbing": (
        ".zip",
        lambda path: write_zip(path, {"../cat/1.png": b"x"}),
        "holds ../cat/1.png, which climbs out of the archive",
    ),
    "absolute": (".tar", lambda path: _write_odd_tar(path, names=("/cat/1.png",)), "holds /cat/1.png, which"),
    "a link": (".zip", _zip_with_a_link, Read("cat|dog", 3, unreadable=1)),
    "links": (
        ".tar",
        lambda path: _write_odd_tar(
            path,
            member("cat/2.png", tarfile.SYMTYPE, target="/etc/passwd"),
            member("cat/3.png", tarfile.FIFOTYPE),
            member("cat/4.png", tarfile.CHRTYPE),
        ),
        Read("cat|dog", 5, unreadable=3),
    ),
    "behind a program": (".zip", _zip_behind_a_program, TWO),
    "UTF-8 that is not marked": (".zip", _zip_with_unmarked_utf_8, Read("caf\u00e9|tea", 2)),
    "one that unpacks to more than is allowed": (
        ".zip",
        _zip_of_a_million_zeros,
        Read("cat|dog", 3, unreadable=1),
    ),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_odd_archives(name: str, tmp_path: Path) -> None:
    """An archive is read as the table above says."""
    suffix, make, expected = ARCHIVES[name]
    path = make(tmp_path / f"raw{suffix}")
    check(path, expected)


@pytest.mark.parametrize("kind", ["folder", ".zip", ".tar"])
def test_a_table_in_any_source(kind: str, tmp_path: Path) -> None:
    """A table beside the images is found and followed, in an archive also below what wraps everything."""
    files = {
        "1.png": b"x",
        "b/2.png": b"x",
        "3.png": b"x",
        "labels.csv": b"path,label\n1.png,cat\nb/2.png,dog",
    }
    expected = Read("cat|dog", 2, left_out={"not_in_table": 1})
    if kind == "folder":
        assert look_at(write_folder(tmp_path / "raw", files), labels="labels.csv") == expected
        return
    write = write_zip if kind == ".zip" else write_tar
    assert look_at(write(tmp_path / f"raw{kind}", files), labels="labels.csv") == expected
    wrapped = {f"pets/{name}": data for name, data in files.items()}
    assert look_at(write(tmp_path / f"wrapped{kind}", wrapped), labels="labels.csv") == expected


@pytest.mark.parametrize("below", ["", "cat/"])
def test_a_dvc_project_inside_the_source_is_refused(below: str, tmp_path: Path) -> None:
    """DVC takes its folder for empty, and would never run the stage for a change in it."""
    root = write_folder(tmp_path / "raw", {**dict.fromkeys(CATS_AND_DOGS, b"x"), f"{below}.dvc/config": b""})
    line = look_at(root)
    assert isinstance(line, str)
    assert line.startswith(f"dataset.source: {root}/{below}.dvc/ makes its folder a DVC project of its own")


def test_memory_of_deep_folders() -> None:
    """It grows with the folders, not with those on the way to each: of an archive of names alone, 6 GB."""
    num_files = {f"cat/{i}/" + "d/" * 60: 1 for i in range(2000)} | {"dog/": 1}
    tracemalloc.start()
    try:
        layout = find_layout(num_files, num_files, name="raw")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert {layout.class_of(folder) for folder in num_files} == {"cat", "dog"}
    assert peak / len(num_files) < 1000  # bytes


def test_a_class_name_that_no_checkpoint_takes_is_refused() -> None:
    """It is said before training, with its start: archives and tables can hold names of any length."""
    with pytest.raises(
        InputError, match=r"the class 'x{50}\.\.\.' of 2,001 characters; allowed: 2,000; give"
    ):
        check_class_names(["cat", "x" * 2001], place="dataset.source: data.zip")
