"""Which files of a source are images, and what class and split their folders give them."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from schemas.shared.manifest import SPLIT_NAMES, SplitName
from stages.images.image_names import Clutter, find_clutter, has_image_suffix
from stages.images.packed_paths import PackedPaths
from stages.prepare_dataset.found_images import FoundImages
from stages.prepare_dataset.unused_files import Unused, UnusedFiles
from stages.shared.errors import InputError
from stages.shared.text import printable

_OUTSIDE = -1
"""In place of a class: the path is outside the class folders."""

SPLIT_FOLDERS: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Collection:
    """What a source holds, in the order of its paths."""

    classes: tuple[str, ...]
    images: FoundImages
    given_splits: frozenset[SplitName]
    """Splits that have a folder of their own, or stand in the table."""

    unused: UnusedFiles
    """Files that are not read, each with the reason."""

    num_clutter: Mapping[Clutter, int]
    """Hidden files and those of operating systems, which make no line."""


def collect_images(entries: Iterable[str], *, name: str, is_archive: bool) -> Collection:
    """Read class and split off the paths of a source.

    The layout is torchvision's ImageFolder: `<class>/**/<file>`, or `<split>/<class>/**/<file>`. An archive
    may hold all of it below one more folder. Hidden files and what operating systems leave behind are counted
    and passed over.

    Args:
        entries: Paths of files and, ending in a slash, of folders.
        name: The source, for messages.
        is_archive: Whether one folder around everything is passed over.

    Raises:
        InputError: No images, fewer than two classes, classes of nearly one name, or folders that are neither
            all classes nor all splits.
    """
    visible, num_clutter = take_out_clutter(entries)
    wrapper = _find_wrapper(visible) if is_archive else ""
    split_folders = _find_split_folders(visible, wrapper, name=name)
    classes, labels = _label(visible, wrapper, depth=1 if split_folders else 0)
    is_named = np.fromiter(map(has_image_suffix, visible), np.bool_, len(visible))
    used = np.flatnonzero(is_named & (labels != _OUTSIDE))
    paths = visible.take(used)
    found = FoundImages(
        paths,
        wrapper=wrapper,
        classes=classes,
        labels=labels[used],
        splits=_find_splits(paths, wrapper, split_folders),
        groups=np.full(len(used), -1, dtype=np.int32),
        group_names=(),
    )
    _refuse_gaps(found, split_folders, name=name)
    refuse_similar_classes(classes, place=f"dataset.source: {name}")

    def others() -> Iterator[tuple[str, str, Unused]]:
        for row in np.flatnonzero(~is_named | (labels == _OUTSIDE)).tolist():
            path, code = visible[row], labels.item(row)
            if not path.endswith("/"):
                label = "" if code == _OUTSIDE else classes[code]
                yield path, label, "outside_classes" if is_named[row] else "not_an_image"

    unused = UnusedFiles(others(), classes=classes)
    return Collection(tuple(classes), found, frozenset(split_folders.values()), unused, num_clutter)


def take_out_clutter(entries: Iterable[str]) -> tuple[PackedPaths, Counter[Clutter]]:
    """Return the other entries, sorted by what they look like printed, and the number of files by kind."""
    num_clutter: Counter[Clutter] = Counter()

    def others() -> Iterator[str]:
        for entry in entries:
            kind = find_clutter(entry)
            if kind is None:
                yield entry
            elif not entry.endswith("/"):
                num_clutter[kind] += 1

    visible = PackedPaths(others())
    if any(following < shown for shown, following in pairwise(map(printable, visible))):
        visible = PackedPaths(sorted(visible, key=printable))
    return visible, num_clutter


def _label(paths: Sequence[str], wrapper: str, *, depth: int) -> tuple[list[str], npt.NDArray[np.int32]]:
    """Return the class names, sorted, and the place among them of each file's and folder's class.

    Args:
        paths: Files and folders.
        wrapper: What everything stands in.
        depth: How many folders stand around those of the classes.
    """
    codes: dict[str, int] = {}
    of_folder: dict[str, int] = {}

    def code_of(path: str) -> int:
        parts = path.removeprefix(wrapper).split("/", depth + 1)
        if len(parts) < depth + 2:
            return _OUTSIDE
        folder = parts[depth]
        if folder not in of_folder:
            of_folder[folder] = codes.setdefault(name_class(folder), len(codes))
        return of_folder[folder]

    labels = np.fromiter(map(code_of, paths), np.int32, len(paths))
    classes = sorted(codes)
    place_of = {label: place for place, label in enumerate(classes)}
    places = np.array([*(place_of[label] for label in codes), _OUTSIDE], dtype=np.int32)
    return classes, places[labels]


def _find_splits(
    paths: Sequence[str], wrapper: str, split_folders: Mapping[str, SplitName]
) -> npt.NDArray[np.int8]:
    """Return the place in SPLIT_NAMES of each image's split, -1 where there are no split folders."""
    if not split_folders:
        return np.full(len(paths), -1, dtype=np.int8)
    codes = {folder: SPLIT_NAMES.index(split) for folder, split in split_folders.items()}
    tops = (path.removeprefix(wrapper).partition("/")[0] for path in paths)
    return np.fromiter((codes[top] for top in tops), np.int8, len(paths))


def name_class(text: str) -> str:
    """Return a class name as it is stored: on one line, and composed (NFC), as macOS does not write it."""
    return printable(unicodedata.normalize("NFC", text))


def refuse_similar_classes(classes: Sequence[str], *, place: str) -> None:
    """Refuse classes that differ only in case or in spaces around them: one of them is a slip."""
    first: dict[str, str] = {}
    for label in classes:
        other = first.setdefault(label.strip().casefold(), label)
        if other != label:
            raise InputError(
                f"{place}: found the classes '{other}' and '{label}', which differ only in case or in spaces "
                "around them; give both one name, or names that differ in more"
            )


def _find_wrapper(entries: Sequence[str]) -> str:
    """Return the chain of folders that everything else stands in, as `digits/`, or the empty string.

    A folder that holds an image itself is a class, not a wrapper, and `train` on its own is a split.
    """
    wrapper = ""
    while True:
        tops = set()
        has_folders = has_images = False
        for entry in entries:
            top, slash, rest = entry.removeprefix(wrapper).partition("/")
            if slash and entry.startswith(wrapper):
                tops.add(top)
                has_folders |= "/" in rest
                has_images |= "/" not in rest and has_image_suffix(rest)
        if len(tops) != 1 or has_images or not has_folders or min(tops).lower() in SPLIT_FOLDERS:
            return wrapper
        wrapper += f"{min(tops)}/"


def _find_split_folders(entries: Sequence[str], wrapper: str, *, name: str) -> dict[str, SplitName]:
    """Return the split of each folder at the top; nothing if the folders at the top are classes.

    A folder called `train` or `valid` that holds images itself, beside folders of other names, is a class.
    """
    tops, with_images = set(), set()
    for entry in entries:
        top, slash, rest = entry.removeprefix(wrapper).partition("/")
        if slash:
            tops.add(top)
            if top not in with_images and "/" not in rest and has_image_suffix(rest):
                with_images.add(top)
    found = {top for top in tops if top.lower() in SPLIT_FOLDERS}
    if found != tops:
        found -= with_images
    splits = {top: SPLIT_FOLDERS[top.lower()] for top in sorted(found)}
    if not splits:
        return {}
    place, shown = f"dataset.source: {name}", ", ".join(splits)
    if others := tops - found:
        raise InputError(
            f"{place}: found {printable(min(others))} beside {shown}; "
            "either all folders at the top are splits, or all are classes that hold images"
        )
    if len(set(splits.values())) < len(splits):
        raise InputError(f"{place}: found {shown}; keep one folder a split")
    if "train" not in splits.values():
        raise InputError(
            f"{place}: found {shown}, but no train; put the images to train on into {name}/train"
        )
    return splits


def _refuse_gaps(images: FoundImages, split_folders: Mapping[str, SplitName], *, name: str) -> None:
    """Refuse a source without images, with one class, or with an empty split folder."""
    place = f"dataset.source: {name}"
    layout = f"{'train/' if split_folders else ''}cat/1.jpg"
    if not images:
        raise InputError(f"{place}: found no images; put them into one folder a class, as in {name}/{layout}")
    if len(images.classes) < 2:
        raise InputError(
            f"{place}: found one class, {images.classes[0]}; a classifier needs at least two class folders"
        )
    held = set(np.unique(images.splits).tolist())
    for folder, split in split_folders.items():
        if SPLIT_NAMES.index(split) not in held:
            raise InputError(
                f"{place}: found no images in {printable(folder)}/ (links to folders are not followed); "
                f"put class folders there{'' if split == 'train' else ', or remove it'}"
            )
