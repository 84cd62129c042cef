"""Paths give classes and splits, and every path is accounted for."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.shared.manifest import SPLIT_NAMES
from stages.ingest.layout import read_split_name
from stages.ingest.listing import Listing, list_by_folders
from stages.shared.errors import InputError, printable
from tests.images.trees import class_folders, write_folder
from tests.ingest.listed import images_of, open_source, unused_of


def listing_of(*entries: str) -> Listing:
    return list_by_folders(entries, name="raw")


def refusal(*entries: str) -> str:
    """Return the line a source is refused with."""
    with pytest.raises(InputError) as caught:
        listing_of(*entries)
    message = str(caught.value)
    assert message.isprintable(), "more than one line"
    assert message.startswith("dataset.source: raw: "), message
    return message


def labels_of(listing: Listing) -> dict[str, str]:
    return {image.path: image.label for image in images_of(listing)}


def reasons_of(listing: Listing) -> dict[str, str]:
    return {row.path: row.reason for row in unused_of(listing)}


def contents(listing: Listing) -> object:
    """Return all of a listing but the clutter it counted, to compare."""
    return listing.classes, images_of(listing), listing.given_splits, unused_of(listing)


CATS_AND_DOGS = ("cat/1.png", "dog/1.png")
SPELLINGS = ("train", "training", "val", "valid", "validation", "test", "testing")


# Classes.


def test_folders_are_classes() -> None:
    """The first folder is the class, however deep the file is below it."""
    listing = listing_of("dog/1.jpg", "cat/b/1.png", "cat/a/b/2.png")
    assert listing.classes == ("cat", "dog")
    assert labels_of(listing) == {"cat/a/b/2.png": "cat", "cat/b/1.png": "cat", "dog/1.jpg": "dog"}
    assert listing.given_splits == ()
    assert {image.split for image in images_of(listing)} == {None}


def test_order_does_not_depend_on_the_source() -> None:
    """A source that lists its entries in another order gives the same listing."""
    entries = ("dog/1.png", "cat/10.png", "cat/2.png", "dog/a.txt", "cat/", "dog/")
    first, *others = (contents(listing_of(*order)) for order in (entries, reversed(entries), sorted(entries)))
    assert others == [first, first]


def test_classes_of_image_folder(tmp_path: Path) -> None:
    """For a plain layout classes, files and labels are those of torchvision's ImageFolder."""
    from torchvision.datasets import ImageFolder

    files = class_folders(("b", "a", "C", "10", "2", "ü"), num_images=2)
    files |= {"a/deep/x.JPG": b"", "a/note.txt": b"", "b/z.tiff": b"", "readme.md": b""}
    reference = ImageFolder(str(write_folder(tmp_path, files)))
    listing = list_by_folders(open_source(tmp_path).list_entries(), name="raw")
    assert list(listing.classes) == reference.classes
    ours = {str(tmp_path / image.path): listing.classes.index(image.label) for image in images_of(listing)}
    assert ours == dict(reference.samples)


@pytest.mark.parametrize(
    "suffix", [".jpg", ".jpeg", ".JPG", ".png", ".bmp", ".webp", ".gif", ".tif", ".ppm", ".jp2"]
)
def test_image_suffixes(suffix: str) -> None:
    """What may be an image is told by the suffix, in either case."""
    assert f"cat/x{suffix}" in labels_of(listing_of(*CATS_AND_DOGS, f"cat/x{suffix}"))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("readme.txt", ".txt is no image suffix"),
        ("stray.png", "is outside the class folders"),
        ("cat/note.txt", ".txt is no image suffix"),
        ("cat/1.png.part", ".part is no image suffix"),
        ("cat/1.png ", ".png  is no image suffix"),
        ("cat/README", "has no suffix"),
        ("cat/x.", "has no suffix"),
    ],
)
def test_files_left_out(path: str, reason: str) -> None:
    """A file that is no image is listed with the reason."""
    listing = listing_of(*CATS_AND_DOGS, path)
    assert reasons_of(listing) == {path: reason}
    (row,) = unused_of(listing)
    status = "outside_classes" if path == "stray.png" else "not_an_image"
    assert (row.label, row.split, row.status) == ("cat" if "/" in path else "", None, status)


@pytest.mark.parametrize(
    "path",
    [
        *(".DS_Store", "desktop.ini", "cat/._1.png", "cat/Thumbs.db", "cat/.ipynb_checkpoints/1.png"),
        *(".git/1.png", ".ipynb_checkpoints/1.png", "__MACOSX/1.png", "__MACOSX/cat/._1.png", ".hidden/"),
    ],
)
def test_clutter_is_skipped(path: str) -> None:
    """Hidden files and what operating systems leave behind make no class and no line."""
    assert contents(listing_of(*CATS_AND_DOGS, path)) == contents(listing_of(*CATS_AND_DOGS))


def test_empty_class_folder_is_a_class() -> None:
    """It counts, so that it can be refused: its images may have been forgotten."""
    assert listing_of(*CATS_AND_DOGS, "mouse/").classes == ("cat", "dog", "mouse")


def test_folders_within_a_class_are_none() -> None:
    """A folder below a class folder changes nothing."""
    folders = ("cat/", "cat/deep/", "cat/deep/er/")
    assert contents(listing_of(*CATS_AND_DOGS, *folders)) == contents(listing_of(*CATS_AND_DOGS))


def test_hostile_names() -> None:
    """Labels, paths and reasons are one line of UTF-8 each; the path to read by stays as it was."""
    listing = listing_of("c\nat/1\udce9.png", "dog/1.png", "dog/a.p\nng")
    assert listing.classes == ("c\\nat", "dog")
    assert [image.path for image in images_of(listing)] == ["c\nat/1\udce9.png", "dog/1.png"]
    assert reasons_of(listing) == {"dog/a.p\\nng": ".p\\nng is no image suffix"}


# Too little.


def test_empty_source() -> None:
    """Nothing at all is refused, and says how it should look."""
    assert "found no images; put them into one folder for each class, as in raw/cat/1.jpg" in refusal()


@pytest.mark.parametrize("entries", [("cat/", "dog/"), ("cat/a.txt", "dog/"), (".cat/1.png",)])
def test_no_images(entries: tuple[str, ...]) -> None:
    """Empty folders, other files and hidden images are no images."""
    assert "found no images" in refusal(*entries)


def test_images_called_by_their_classes() -> None:
    """Names such as cat.0.jpg in one folder are told of the table that helps."""
    message = refusal(*(f"train/{label}.{i}.png" for label in ("cat", "dog") for i in range(2)))
    assert "found 4 images in train/, but no class folders" in message
    assert "dataset.labels: labels.csv, with lines such as train/cat.0.png,cat below path,label" in message
    assert "such as" not in refusal(*(f"IMG_{i}.jpg" for i in range(4)))


def test_one_class() -> None:
    """One class is refused by name."""
    assert "found one class, c\\nat; a classifier needs at least two" in refusal("c\nat/1.png", "c\nat/2.png")


# Splits.


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings_of_splits(spelling: str) -> None:
    """Each way to spell a split folder, in any case, is that split."""
    split = read_split_name(spelling)
    assert split is not None
    needed = [f"train/{path}" for path in CATS_AND_DOGS] if split != "train" else []
    for written in (spelling, spelling.upper(), spelling.title()):
        listing = listing_of(*needed, *(f"{written}/{path}" for path in CATS_AND_DOGS))
        assert listing.classes == ("cat", "dog")
        assert listing.given_splits == tuple(sorted({"train", split}, key=SPLIT_NAMES.index))
        assert {image.split for image in images_of(listing) if image.path.startswith(written)} == {split}


def test_class_in_one_split_only() -> None:
    """It is a class; whether every split has it is for the split to say."""
    listing = listing_of("train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/mouse/1.png")
    assert listing.classes == ("cat", "dog", "mouse")


def test_files_beside_classes_in_a_split() -> None:
    """An image directly in a split folder has no class."""
    listing = listing_of("train/cat/1.png", "train/dog/1.png", "train/3.png", "train/labels.csv")
    assert reasons_of(listing) == {
        "train/3.png": "is outside the class folders",
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
    assert "found train, val, valid; keep one folder for each split" in refusal(*entries)


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
    listing = listing_of(*entries)
    assert listing.classes == tuple(sorted(entry.split("/")[0] for entry in entries))
    assert listing.given_splits == ()


# What is wrapped around everything in an archive.


@pytest.mark.parametrize("wrapper", ["digits/", "a/b/c/", "my data/"])
@pytest.mark.parametrize("with_folders", [False, True])
def test_wrapper_folder(wrapper: str, with_folders: bool) -> None:
    """The folder an archive was made of changes nothing but the paths, listed or not."""
    plain = listing_of(*CATS_AND_DOGS)
    folders = (wrapper, f"{wrapper}cat/") if with_folders else ()
    wrapped = listing_of(*(wrapper + path for path in CATS_AND_DOGS), *folders)
    assert wrapped.wrapper == wrapper
    assert labels_of(wrapped) == {wrapper + path: label for path, label in labels_of(plain).items()}


def test_wrapper_around_splits() -> None:
    """Splits are found below the wrapper too."""
    entries = [f"data/{split}/{path}" for split in ("train", "test") for path in CATS_AND_DOGS]
    assert listing_of(*entries).given_splits == ("train", "test")


def test_files_beside_and_in_the_wrapper() -> None:
    """A licence beside or a readme inside the wrapper does not turn it into a class."""
    listing = listing_of(*(f"digits/{path}" for path in CATS_AND_DOGS), "LICENSE", "digits/readme.md")
    assert listing.classes == ("cat", "dog")
    assert set(reasons_of(listing)) == {"LICENSE", "digits/readme.md"}


def test_clutter_beside_the_wrapper() -> None:
    """The folder that macOS adds to a zip is no second folder at the top."""
    entries = ("digits/cat/1.png", "digits/dog/1.png", "__MACOSX/digits/cat/._1.png", "digits/.DS_Store")
    assert listing_of(*entries).classes == ("cat", "dog")


def test_one_class_in_an_archive() -> None:
    """A folder that holds images is the one class, not a wrapper, whatever is below it."""
    assert "one class, cat" in refusal("cat/1.png", "cat/more/2.png")


def test_notes_say_what_is_not_plain() -> None:
    """Odd split folders, unlabelled images, a folder around everything and nested class folders are named."""
    assert listing_of(*CATS_AND_DOGS, "logo.png").notes == ()
    train, test = ([f"{folder}/{path}" for path in CATS_AND_DOGS] for folder in ("a_train", "a_test"))
    odd = listing_of(*train, *test, "a_pred/1.png")
    assert odd.notes[0] == "took a_test/ as test, a_train/ as train"
    assert odd.notes[1].startswith("left out a_pred/ (images without labels: 1); after training")
    assert {row.split for row in unused_of(odd)} == {None}
    (note,) = listing_of(*CATS_AND_DOGS, "boxes/1.xml").notes
    assert note == "no class, because there are files and no images in it: boxes/"
    nested = listing_of("insects/ants/1.png", "insects/bees/1.png", "mammals/cats/1.png")
    assert nested.classes == ("insects", "mammals")
    assert nested.notes == (
        "3 images are in folders within class folders; those in insects/ants/ are of the class insects",
    )


def test_train_alone_is_no_wrapper() -> None:
    """An archive of train/ reads as the folder it was made of."""
    entries = [f"train/{path}" for path in CATS_AND_DOGS]
    assert contents(listing_of(*entries)) == contents(listing_of(*entries))
    assert listing_of(*entries).given_splits == ("train",)


# Classes may be called as they like.

_ODD_CLASSES = (
    "train training_shoes test_tubes testosterone contest devil evaluation_board valid dev set1 test 2"
)
class_names = st.sets(st.sampled_from(_ODD_CLASSES.split()) | st.text("abc_ train", min_size=1, max_size=9))


@given(class_names)
def test_folders_that_hold_images_are_classes(names: set[str]) -> None:
    """Whatever they are called, if one of them is not called like a split."""
    names = {name.strip() for name in names} - {"", ".", ".."} | {"cat"}
    listing = listing_of(*(f"{name}/1.png" for name in names), "dog/1.png")
    assert set(listing.classes) == names | {"dog"}
    assert listing.given_splits == ()


@pytest.mark.parametrize(
    "names",
    [("training_shoes", "test_tubes"), ("train1", "train2"), ("dev", "production"), ("contest", "train_")],
)
def test_classes_that_hold_only_folders(names: tuple[str, str]) -> None:
    """Words for splits within names count only where the rest of the names is equal."""
    assert listing_of(*(f"{name}/a/1.png" for name in names)).classes == tuple(sorted(names))


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
    listing = listing_of(*entries)
    images = {image.path for image in images_of(listing)}
    left_out = [row.path for row in unused_of(listing)]
    clutter = {
        entry
        for entry in entries
        if any(part.startswith(".") or part in {"__MACOSX", "Thumbs.db"} for part in entry.split("/"))
    }
    folders = {entry for entry in entries if entry.endswith("/")}
    assert images <= set(entries) - clutter - folders
    rest = set(entries) - clutter - folders - images
    assert sorted(left_out) == sorted(printable(entry) for entry in rest)
    assert {image.label for image in images_of(listing)} <= set(listing.classes)
