"""What the folders of a source mean: classes, splits above classes, or one folder around everything.

The layouts are torchvision's ImageFolder, `<class>/**/<file>`, and `<split>/<class>/**/<file>`, as people and
archives have them: below one more folder, with splits called `seg_train` or `test_set`, unpacked into a
folder of the same name (`seg_train/seg_train`), with a test folder that has no labels. What could be
two things is refused in one line; what is read otherwise than it looks is said in a note.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from schemas.shared.manifest import SPLIT_NAMES, SplitName
from stages.shared.errors import InputError, printable

_SPLITS: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Names of folders that are splits wherever they stand alone."""

_SPLIT_WORDS: dict[str, SplitName] = {**_SPLITS, "dev": "val", "eval": "test", "evaluation": "test"}
"""Words within the names of split folders: those of Hugging Face's datasets (`datasets.data_files`)."""

_UNLABELLED = "pred predict prediction predictions unlabeled unlabelled"
_UNLABELLED_WORDS = frozenset(_UNLABELLED.split())
_FILLED = "set sets data dataset datasets image images img imgs split folder"
_FILLERS = frozenset(_FILLED.split())
_WORD_ENDS = re.compile(r"[\W\d_]+")

_MAX_NAMES = 3

_CLASS_AND_NUMBER = re.compile(r"([^\W\d_]+)[\W_]*\d")
"""Of a file called as cat.0.jpg."""


@dataclass(frozen=True)
class Layout:
    """What each folder of a source means. Folders end in a slash; the source itself is the empty string."""

    wrapper: str
    """The folder that everything is in, as `digits/`, or the empty string."""

    splits: Mapping[str, SplitName]
    """The split of each folder that class folders are in; empty if they are in the wrapper."""

    without_images: frozenset[str]
    """Folders in those that hold files, none of them an image: no classes."""

    notes: tuple[str, ...]
    """How folders were read, where that is not plain to see."""

    def class_of(self, folder: str) -> str | None:
        """Return the name of the class folder that a folder is, or is in; None outside the class folders."""
        root = self._root_of(folder)
        if root is None or root == folder:
            return None
        name = folder[len(root) :].partition("/")[0]
        return None if f"{root}{name}/" in self.without_images else name

    def split_of(self, folder: str) -> SplitName | None:
        """Return the split that a folder is in."""
        root = self._root_of(folder)
        return self.splits.get(root) if root is not None else None

    def _root_of(self, folder: str) -> str | None:
        roots = self.splits or (self.wrapper,)
        return next((root for root in roots if folder.startswith(root)), None)


def read_split_name(text: str) -> SplitName | None:
    """Return the split that a word stands for: `Train`, `dev`, `test_set`."""
    word = _read_name(text)
    return word.split if word is not None and not word.rest else None


def find_layout(num_files: Mapping[str, int], num_images: Mapping[str, int], *, name: str) -> Layout:
    """Return what the folders of a source mean.

    Args:
        num_files: How many files each folder holds directly; empty folders are there, too.
        num_images: How many of these are images.
        name: The source, for messages.

    Raises:
        InputError: The folders are neither all classes nor all splits, or classes look like splits.
    """
    tree = _Tree(num_files, num_images)
    wrapper = _find_wrapper(tree)
    place = f"dataset.source: {name}"
    split_folders = _find_split_folders(tree, wrapper, place=place)
    if not split_folders:
        _check_no_splits_in_classes(tree, wrapper, name=name)
        without = tree.without_images([wrapper])
        return Layout(wrapper, {}, without, (*_note_without(without), *_note_nested(tree, [wrapper])))
    splits: dict[str, SplitName] = {}
    unlabelled: list[str] = []
    notes: list[str] = []
    for top, split in split_folders.items():
        folder = _look_through(tree, f"{wrapper}{top}/")
        is_flat = 0 < tree.images[folder] == tree.count_images(folder)
        if split is None or (is_flat and split != "train"):
            unlabelled.append(folder)
        else:
            splits[folder] = split
    if any(folder[len(wrapper) : -1].lower() not in _SPLITS for folder in splits):
        taken = (f"{printable(folder)} as {split}" for folder, split in splits.items())
        notes.append(f"took {', '.join(taken)}")
    notes += (
        f"left out {printable(folder)} (images without labels: {tree.count_images(folder):,}); after "
        "training, `python -m tools.predict` classifies them"
        for folder in unlabelled
    )
    without = tree.without_images([wrapper, *splits])
    return Layout(wrapper, splits, without, (*notes, *_note_without(without), *_note_nested(tree, splits)))


class _Tree:
    """The folders of a source, those included that hold only folders.

    Sorted, all that is below a folder stands together, so that nothing has to be kept for the folders on the
    way: there may be sixty of them to each of a hundred thousand.
    """

    def __init__(self, num_files: Mapping[str, int], num_images: Mapping[str, int]) -> None:
        self.images = Counter(num_images)
        """Directly in each folder."""

        self._folders = sorted(num_files)
        counts = ([each[folder] for folder in self._folders] for each in (num_files, num_images))
        self._files_before, self._images_before = (list(accumulate(each, initial=0)) for each in counts)

    def count_images(self, folder: str) -> int:
        """Return how many images are in a folder and all below it."""
        start, end = self._range(folder)
        return self._images_before[end] - self._images_before[start]

    def children(self, folder: str) -> list[str]:
        """Return the names of the folders in a folder, sorted, but for those of other files than images."""
        names = self._names_in(folder)
        return sorted(name for name in names if not self._is_without_images(f"{folder}{name}/"))

    def without_images(self, folders: Iterable[str]) -> frozenset[str]:
        """Return the folders in some folders that hold files, none of them an image."""
        inner = (f"{folder}{name}/" for folder in folders for name in self._names_in(folder))
        return frozenset(filter(self._is_without_images, inner))

    def _names_in(self, folder: str) -> Iterator[str]:
        place, end = self._range(folder)
        while place < end:
            name = self._folders[place][len(folder) :].partition("/")[0]
            if name:
                yield name
            place = self._range(f"{folder}{name}/")[1] if name else place + 1

    def _range(self, folder: str) -> tuple[int, int]:
        """Return where a folder and all below it begin and end; it may not be listed itself."""
        if not folder:
            return 0, len(self._folders)
        behind = folder[:-1] + "0"  # which follows the slash
        return bisect_left(self._folders, folder), bisect_left(self._folders, behind)

    def _is_without_images(self, folder: str) -> bool:
        start, end = self._range(folder)
        return self._files_before[end] > self._files_before[start] and not self.count_images(folder)


class _Name(NamedTuple):
    """The name of a folder that has one word for a split."""

    split: SplitName | None
    """None: for images without labels."""

    rest: str
    """What else is in the name, but for numbers and words such as "set" and "images"."""


def _read_name(text: str) -> _Name | None:
    roles: list[SplitName | None] = []
    rest = []
    for token in filter(None, _WORD_ENDS.split(text.lower())):
        word = token if token in _FILLERS else token.removesuffix("set")
        if word in _SPLIT_WORDS or word in _UNLABELLED_WORDS:
            roles.append(_SPLIT_WORDS.get(word))
        elif word not in _FILLERS:
            rest.append(token)
    return _Name(roles[0], " ".join(rest)) if len(roles) == 1 else None


def _find_wrapper(tree: _Tree) -> str:
    """Return the chain of folders that everything else is in, as `digits/`, or the empty string.

    A folder that holds an image itself is a class, not a wrapper, and `train` on its own is a split.
    """
    wrapper = ""
    while len(children := tree.children(wrapper)) == 1:
        inner = f"{wrapper}{children[0]}/"
        if tree.images[inner] or not tree.children(inner) or children[0].lower() in _SPLITS:
            break
        wrapper = inner
    return wrapper


def _look_through(tree: _Tree, folder: str) -> str:
    """Return the folder that all of a split is in: archives are unpacked to `seg_train/seg_train`.

    Its name is that of the split, perhaps with words such as "images", or only such words if class folders
    are in it.
    """
    split = _read_name(folder.split("/")[-2])
    while not tree.images[folder] and len(children := tree.children(folder)) == 1:
        inner = f"{folder}{children[0]}/"
        is_split = (word := _read_name(children[0])) is not None and split is not None and word == split
        has_classes = not tree.images[inner] and tree.children(inner)
        is_filler = _FILLERS.issuperset(filter(None, _WORD_ENDS.split(children[0].lower())))
        if not is_split and not (is_filler and has_classes):
            break
        folder = inner
    return folder


def _find_split_folders(tree: _Tree, wrapper: str, *, place: str) -> dict[str, SplitName | None]:
    """Return the split of each folder at the top, None for unlabelled; nothing if these folders are classes.

    Raises:
        InputError: They are neither, two of them are one split, or none is there to train on.
    """
    tops = tree.children(wrapper)
    found = _read_tops(tops)
    is_odd = {top for top in found if top.lower() not in _SPLITS}
    with_images = {top for top in found if tree.images[f"{wrapper}{top}/"]}
    if len(found) < len(tops):
        # A `train` or `valid` that holds images itself, beside folders of other names, is a class.
        found = {top: split for top, split in found.items() if top not in with_images}
    elif found and is_odd and set(found) == with_images:
        raise InputError(
            f"{place}: found images directly in {_join(found)}, which look like splits; put class "
            "folders into them, as in train/cat/1.jpg, or rename them if they are classes"
        )
    splits = [split for split in found.values() if split is not None]
    if not splits:
        return {}
    shown = _join(found)
    if others := sorted(set(tops) - set(found)):
        inner = [child for child in tree.children(f"{wrapper}{others[0]}/") if _is_split(child)]
        advice = (
            f"it holds {_join(inner)} itself: move it away if it is a copy, or set dataset.source to it"
            if inner
            else "either all folders at the top are splits, or all are classes that hold images"
        )
        raise InputError(f"{place}: found {printable(others[0])} beside {shown}; {advice}")
    if len(set(splits)) < len(splits):
        twice = next(split for split in SPLIT_NAMES if splits.count(split) > 1)
        same = _join(top for top, split in found.items() if split == twice)
        raise InputError(
            f"{place}: found {shown}; keep one folder for each split, where {same} are all {twice}"
        )
    if "train" not in splits:
        source = f"{place.partition(': ')[2]}/{printable(wrapper)}"
        raise InputError(
            f"{place}: found {shown}, but no train; put the images to train on into {source}train"
        )
    return found


def _read_tops(tops: list[str]) -> dict[str, SplitName | None]:
    """Return the split of each folder that is called like one.

    Names other than `train`, `val` and the like count only together: a train and another split, the rest of
    the name being equal, as in `seg_train` and `seg_test`. `training_shoes` and `test_tubes` are classes.
    """
    names = {top: word for top in tops if (word := _read_name(top)) is not None}
    splits_of: dict[str, set[SplitName | None]] = {}
    for word in names.values():
        splits_of.setdefault(word.rest, set()).add(word.split)
    return {
        top: word.split
        for top, word in names.items()
        if top.lower() in _SPLITS
        or ("train" in splits_of[word.rest] and len(splits_of[word.rest] - {None}) > 1)
    }


def _is_split(top: str) -> bool:
    return top.lower() in _SPLITS


def _join(names: Iterable[str]) -> str:
    return ", ".join(map(printable, names))


def _check_no_splits_in_classes(tree: _Tree, wrapper: str, *, name: str) -> None:
    """Refuse splits below the classes: all images of a class would be mixed."""
    tops = tree.children(wrapper)
    inner = [
        {_SPLITS[child.lower()] for child in tree.children(f"{wrapper}{top}/") if _is_split(child)}
        for top in tops
    ]
    if tops and all("train" in splits and len(splits) > 1 for splits in inner):
        found = " and ".join(split for split in SPLIT_NAMES if split in inner[0])
        first = printable(f"{wrapper}{tops[0]}")
        raise InputError(
            f"dataset.source: {name}: found {found} inside {first}; put the splits above the classes, as in "
            f"{name}/train/cat/1.jpg, or set dataset.source: {name}/{first} if that is the data set"
        )


def _note_without(folders: Iterable[str]) -> list[str]:
    """Return a note on the folders that hold no image, if there are any."""
    shown = ", ".join(printable(folder) for folder in sorted(folders)[:_MAX_NAMES])
    return [f"no class, because there are files and no images in it: {shown}"] if shown else []


def _note_nested(tree: _Tree, roots: Iterable[str]) -> list[str]:
    """Return a note on images in folders within class folders, if there are any."""
    nested = [
        folder
        for root in roots
        for folder in tree.images
        if folder.startswith(root) and folder[len(root) :].count("/") > 1 and tree.images[folder]
    ]
    if not nested:
        return []
    first = min(nested)
    root = next(root for root in roots if first.startswith(root))
    label = first[len(root) :].partition("/")[0]
    total = sum(tree.images[folder] for folder in nested)
    where = f"those in {printable(first)} are of the class {printable(label)}"
    images_are = "1 image is" if total == 1 else f"{total:,} images are"
    return [f"{images_are} in folders within class folders; {where}"]


def explain_missing_classes(files: Iterable[str], *, name: str, wrapper: str, others: str) -> str:
    """Return the rest of a sentence on a source whose images, if any, are in no class folder.

    Args:
        files: Paths of the images.
        name: The source.
        wrapper: The folder that everything is in.
        others: The other files, counted, with an example of what they are; empty if there are none.
    """
    paths = list(files)
    folder = paths[0][: paths[0].rfind("/") + 1] if paths else wrapper
    advice = f"put them into one folder for each class, as in {name}/{printable(folder)}cat/1.jpg"
    if not paths:
        return f"found no images{' among ' if others else ''}{others}; {advice}"
    where = f" in {printable(folder)}" if folder else ""
    words = Counter(word[1] for path in paths if (word := _CLASS_AND_NUMBER.match(path.rpartition("/")[2])))
    if 2 <= len(words) <= len(paths) / 2 and words.total() == len(paths):
        example = f"{printable(paths[0])},{printable(min(words))}"
        advice += (
            f"; or name the classes in a table, dataset.labels: labels.csv, with lines such as {example} "
            "below path,label (docs/data.md makes it from such names)"
        )
    else:
        advice += ", or name the classes in a table (dataset.labels)"
    return f"found {len(paths):,} images{where}, but no class folders; {advice}"
