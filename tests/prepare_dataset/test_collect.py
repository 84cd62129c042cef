"""Paths give classes and splits, and every path is accounted for."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.prepare_dataset.collect import SPLIT_FOLDERS, Collection, collect_images
from stages.prepare_dataset.source import open_source
from stages.shared.errors import InputError
from stages.shared.text import printable
from tests.images.trees import class_folders, write_folder


def collect(*entries: str, is_archive: bool = False) -> Collection:
    return collect_images(entries, name="raw", is_archive=is_archive)


def refusal(*entries: str, is_archive: bool = False) -> str:
    """Return the line a source is refused with."""
    with pytest.raises(InputError) as caught:
        collect(*entries, is_archive=is_archive)
    message = str(caught.value)
    assert message.isprintable(), "more than one line"
    assert message.startswith("dataset.source: raw: "), message
    return message


def labels_of(collection: Collection) -> dict[str, str]:
    return {image.path: image.label for image in collection.images}


def reasons_of(collection: Collection) -> dict[str, str]:
    return {row.path: row.reason for row in collection.unused}


def contents(collection: Collection) -> object:
    """Return all of a collection but the clutter it counted, to compare."""
    return (
        collection.classes,
        list(collection.images),
        collection.given_splits,
        list(collection.unused),
    )


CATS_AND_DOGS = ("cat/1.png", "dog/1.png")


# Classes.


def test_folders_are_classes() -> None:
    """The first folder is the class, however deep the file is below it."""
    collection = collect("dog/1.jpg", "cat/b/1.png", "cat/a/b/2.png")
    assert collection.classes == ("cat", "dog")
    assert labels_of(collection) == {"cat/a/b/2.png": "cat", "cat/b/1.png": "cat", "dog/1.jpg": "dog"}
    assert collection.given_splits == frozenset()
    assert {image.split for image in collection.images} == {None}


def test_order_does_not_depend_on_the_source() -> None:
    """A source that lists its entries in another order gives the same collection."""
    entries = ("dog/1.png", "cat/10.png", "cat/2.png", "dog/a.txt", "cat/", "dog/")
    first, *others = (contents(collect(*order)) for order in (entries, reversed(entries), sorted(entries)))
    assert others == [first, first]


def test_classes_of_image_folder(tmp_path: Path) -> None:
    """For a plain layout classes, files and labels are those of torchvision's ImageFolder."""
    from torchvision.datasets import ImageFolder

    files = class_folders(("b", "a", "C", "10", "2", "ü"), num_images=2)
    files |= {"a/deep/x.JPG": b"", "a/note.txt": b"", "b/z.tiff": b"", "readme.md": b""}
    reference = ImageFolder(str(write_folder(tmp_path, files)))
    collection = collect_images(open_source(tmp_path).list_entries(), name="raw", is_archive=False)
    assert list(collection.classes) == reference.classes
    ours = {str(tmp_path / image.path): collection.classes.index(image.label) for image in collection.images}
    assert ours == dict(reference.samples)


@pytest.mark.parametrize(
    "suffix", [".jpg", ".jpeg", ".JPG", ".png", ".bmp", ".webp", ".gif", ".tif", ".ppm", ".jp2"]
)
def test_image_suffixes(suffix: str) -> None:
    """What may be an image is told by the suffix, in either case."""
    assert f"cat/x{suffix}" in labels_of(collect(*CATS_AND_DOGS, f"cat/x{suffix}"))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("readme.txt", ".txt is no image suffix"),
        ("stray.png", "stands outside the class folders"),
        ("cat/note.txt", ".txt is no image suffix"),
        ("cat/1.png.part", ".part is no image suffix"),
        ("cat/1.png ", ".png  is no image suffix"),
        ("cat/README", "has no suffix"),
        ("cat/x.", "has no suffix"),
    ],
)
def test_files_left_out(path: str, reason: str) -> None:
    """A file that is no image is listed with the reason."""
    collection = collect(*CATS_AND_DOGS, path)
    assert reasons_of(collection) == {path: reason}
    (row,) = collection.unused
    status = "outside_classes" if path == "stray.png" else "not_an_image"
    assert (row.label, row.split, row.status) == ("cat" if "/" in path else "", "", status)


@pytest.mark.parametrize(
    "path",
    [
        *(".DS_Store", "desktop.ini", "cat/._1.png", "cat/Thumbs.db", "cat/.ipynb_checkpoints/1.png"),
        *(".git/1.png", ".ipynb_checkpoints/1.png", "__MACOSX/1.png", "__MACOSX/cat/._1.png", ".hidden/"),
    ],
)
def test_clutter_is_passed_over(path: str) -> None:
    """Hidden files and what operating systems leave behind make no class and no line."""
    assert contents(collect(*CATS_AND_DOGS, path)) == contents(collect(*CATS_AND_DOGS))


def test_empty_class_folder_is_a_class() -> None:
    """It counts, so that it can be refused: its images may have been forgotten."""
    assert collect(*CATS_AND_DOGS, "mouse/").classes == ("cat", "dog", "mouse")


def test_folders_within_a_class_are_none() -> None:
    """A folder below a class folder changes nothing."""
    folders = ("cat/", "cat/deep/", "cat/deep/er/")
    assert contents(collect(*CATS_AND_DOGS, *folders)) == contents(collect(*CATS_AND_DOGS))


def test_hostile_names() -> None:
    """Labels, paths and reasons are one line of UTF-8 each; the path to read by stays as it was."""
    collection = collect("c\nat/1\udce9.png", "dog/1.png", "dog/a.p\nng")
    assert collection.classes == ("c\\nat", "dog")
    assert [image.path for image in collection.images] == ["c\nat/1\udce9.png", "dog/1.png"]
    assert reasons_of(collection) == {"dog/a.p\\nng": ".p\\nng is no image suffix"}


# Too little.


def test_empty_source() -> None:
    """Nothing at all is refused, and says how it should look."""
    assert "found no images; put them into one folder a class, as in raw/cat/1.jpg" in refusal()


@pytest.mark.parametrize(
    "entries", [("cat/", "dog/"), ("a.png", "b.png"), ("cat/a.txt", "dog/"), (".cat/1.png",)]
)
def test_no_images(entries: tuple[str, ...]) -> None:
    """Empty folders, images outside folders, other files and hidden images are no images."""
    assert "found no images" in refusal(*entries)


def test_one_class() -> None:
    """One class is refused by name."""
    assert "found one class, c\\nat; a classifier needs at least two" in refusal("c\nat/1.png", "c\nat/2.png")


# Splits.


@pytest.mark.parametrize("spelling", SPLIT_FOLDERS)
def test_spellings_of_splits(spelling: str) -> None:
    """Each way to spell a split folder, in any case, is that split."""
    split = SPLIT_FOLDERS[spelling]
    needed = [f"train/{path}" for path in CATS_AND_DOGS] if split != "train" else []
    for written in (spelling, spelling.upper(), spelling.title()):
        collection = collect(*needed, *(f"{written}/{path}" for path in CATS_AND_DOGS))
        assert collection.classes == ("cat", "dog")
        assert collection.given_splits == {"train", split}
        assert {image.split for image in collection.images if image.path.startswith(written)} == {split}


def test_class_in_one_split_only() -> None:
    """It is a class; whether every split has it is for the split to say."""
    collection = collect("train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/mouse/1.png")
    assert collection.classes == ("cat", "dog", "mouse")


def test_files_beside_classes_in_a_split() -> None:
    """An image directly in a split folder has no class."""
    collection = collect("train/cat/1.png", "train/dog/1.png", "train/3.png", "train/labels.csv")
    assert reasons_of(collection) == {
        "train/3.png": "stands outside the class folders",
        "train/labels.csv": ".csv is no image suffix",
    }


def test_missing_train() -> None:
    """Without a folder to train on, val and test are not taken for two classes."""
    message = refusal("test/cat/1.png", "test/dog/1.png", "val/cat/1.png", "val/dog/1.png")
    assert "found test, val, but no train; put the images to train on into raw/train" in message


def test_splits_beside_classes() -> None:
    """A source that is half of each is refused."""
    message = refusal("train/cat/1.png", "test/cat/1.png", "c\nat/1.png")
    assert "found c\\nat beside test, train; either all folders at the top are splits" in message
    assert "found cat beside test" in refusal("cat/1.png", "dog/1.png", "test/cat/1.png", "test/dog/1.png")


def test_split_with_two_folders() -> None:
    """Two spellings of one split are refused: which counts?"""
    entries = [f"{split}/{path}" for split in ("train", "val", "valid") for path in CATS_AND_DOGS]
    assert "found train, val, valid; keep one folder a split" in refusal(*entries)


@pytest.mark.parametrize("folder", ["train", "val", "test"])
def test_empty_split_folder(folder: str) -> None:
    """A split folder without images is refused, for it gives the split nothing."""
    others = {"train", "test"} - {folder}
    entries = [f"{split}/{path}" for split in others for path in CATS_AND_DOGS]
    message = refusal(*entries, f"{folder}/", *(() if folder == "train" else ("train/cat/1.png",)))
    assert f"found no images in {folder}/" in message
    assert message.endswith("or remove it") == (folder != "train")


def test_no_images_below_splits() -> None:
    """Images directly in split folders have no class, and the message shows where they belong."""
    assert "as in raw/train/cat/1.jpg" in refusal("train/1.png", "test/2.png")


@pytest.mark.parametrize("entries", [("train/1.png", "bus/1.png"), ("valid/1.png", "invalid/1.png")])
def test_classes_called_like_splits(entries: tuple[str, ...]) -> None:
    """A train beside a bus is a class if it holds images itself."""
    collection = collect(*entries)
    assert collection.classes == tuple(sorted(entry.split("/")[0] for entry in entries))
    assert collection.given_splits == frozenset()


# What is wrapped around everything in an archive.


@pytest.mark.parametrize("wrapper", ["digits/", "a/b/c/", "my data/"])
@pytest.mark.parametrize("with_folders", [False, True])
def test_wrapper_folder(wrapper: str, with_folders: bool) -> None:
    """The folder an archive was made of changes nothing but the paths, listed or not."""
    plain = collect(*CATS_AND_DOGS)
    folders = (wrapper, f"{wrapper}cat/") if with_folders else ()
    wrapped = collect(*(wrapper + path for path in CATS_AND_DOGS), *folders, is_archive=True)
    assert [image.key for image in wrapped.images] == [image.path for image in plain.images]
    assert labels_of(wrapped) == {wrapper + path: label for path, label in labels_of(plain).items()}


def test_wrapper_around_splits() -> None:
    """Splits are found below the wrapper too."""
    entries = [f"data/{split}/{path}" for split in ("train", "test") for path in CATS_AND_DOGS]
    assert collect(*entries, is_archive=True).given_splits == {"train", "test"}


def test_files_beside_and_in_the_wrapper() -> None:
    """A licence beside or a readme inside the wrapper does not turn it into a class."""
    collection = collect(
        *(f"digits/{path}" for path in CATS_AND_DOGS), "LICENSE", "digits/readme.md", is_archive=True
    )
    assert collection.classes == ("cat", "dog")
    assert set(reasons_of(collection)) == {"LICENSE", "digits/readme.md"}


def test_clutter_beside_the_wrapper() -> None:
    """The folder that macOS adds to a zip is no second folder at the top."""
    entries = ("digits/cat/1.png", "digits/dog/1.png", "__MACOSX/digits/cat/._1.png", "digits/.DS_Store")
    assert collect(*entries, is_archive=True).classes == ("cat", "dog")


def test_one_class_in_an_archive() -> None:
    """A folder that holds images is the one class, not a wrapper, whatever is below it."""
    assert "one class, cat" in refusal("cat/1.png", "cat/more/2.png", is_archive=True)


def test_train_alone_is_no_wrapper() -> None:
    """An archive of train/ reads as the folder it was made of."""
    entries = [f"train/{path}" for path in CATS_AND_DOGS]
    assert contents(collect(*entries, is_archive=True)) == contents(collect(*entries))
    assert collect(*entries).given_splits == {"train"}


def test_folders_are_not_unwrapped() -> None:
    """A folder is named by the path a person gave, so a folder too many is refused."""
    assert "found one class, digits" in refusal("digits/cat/1.png", "digits/dog/1.png")


# Nothing is lost.

name = st.text(st.characters(codec=None, exclude_characters="/\0"), min_size=1, max_size=6).filter(
    lambda text: text not in {".", ".."}
)
part = name | st.sampled_from(["1.png", "2.JPG", "a.txt", ".hidden", "Thumbs.db", "test", "x.p\nng"])
top = st.sampled_from(["cat", "dog", "bi\nrd", "__MACOSX", ".git", "a.txt"])
path = st.builds(
    lambda top, parts, end: "/".join([top, *parts]) + end,
    top,
    st.lists(part, max_size=3),
    st.sampled_from(["", "/"]),
)


@given(st.sets(path), st.sampled_from(["", "train/", "wrapper/", "wrapper/Training/"]))
def test_nothing_is_lost(paths: set[str], above: str) -> None:
    """Every entry is a folder, clutter, an image or left out, and only one of these."""
    entries = [above + path for path in {*paths, *CATS_AND_DOGS}]
    collection = collect(*entries, is_archive=above.startswith("wrapper"))
    images = {image.path for image in collection.images}
    left_out = [row.path for row in collection.unused]
    clutter = {
        entry
        for entry in entries
        if any(part.startswith(".") or part in {"__MACOSX", "Thumbs.db"} for part in entry.split("/"))
    }
    folders = {entry for entry in entries if entry.endswith("/")}
    assert images <= set(entries) - clutter - folders
    rest = set(entries) - clutter - folders - images
    assert sorted(left_out) == sorted(printable(entry) for entry in rest)
    assert {image.label for image in collection.images} <= set(collection.classes)
