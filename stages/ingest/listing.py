"""Which files of a source are images, and what class and split its folders or its table of labels give them.

Hides the layouts: torchvision's ImageFolder, `<class>/**/<file>`, or `<split>/<class>/**/<file>`, or a CSV
beside the images (labels_table.py). Nothing is decoded here.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from schemas.ingest.dataset import Dataset
from schemas.shared.manifest import SPLIT_NAMES, SplitName
from stages.images.image_names import Clutter, find_clutter, has_image_suffix
from stages.images.image_table import STATUSES, FileStatus, ImageTable, make_table
from stages.images.sources import Source, UnreadableFile
from stages.shared.errors import InputError, printable

SPLIT_FOLDERS: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}

_OUTSIDE = -1
"""Instead of a class: the path is outside the class folders."""


@dataclass(frozen=True)
class Listing:
    """The files of a source, before anything is decoded."""

    table: ImageTable
    """A row for every file but clutter; those to decode have status "decoded", and no pixels yet."""

    classes: tuple[str, ...]
    given_splits: tuple[SplitName, ...]
    """Splits that have a folder of their own, or stand in the table of labels."""

    wrapper: str
    """The folder that everything in an archive is below, as `digits/`, or the empty string."""

    num_clutter: Mapping[Clutter, int]
    """Hidden files and those of operating systems, which have no row."""


def list_images(source: Source, dataset: Dataset) -> Listing:
    """Return the files of a source, labelled as dataset.labels says.

    Raises:
        InputError: A folder cannot be listed or is a DVC project of its own, there is nothing to classify, or
            the table of labels is wrong.
    """
    path = Path(dataset.source)
    name, is_in_archive = str(path), path.is_file()
    entries = source.list_entries()
    if not is_in_archive:
        _check_no_dvc_project(entries, name=name)
    if dataset.labels == "folders":
        return list_by_folders(entries, name=name, is_in_archive=is_in_archive)
    from stages.ingest.labels_table import find_table, list_by_table

    table = find_table(entries, dataset.labels, name=name, is_in_archive=is_in_archive)
    try:
        data = source.read(table, max_bytes=dataset.max_file_bytes)
    except UnreadableFile as error:
        raise InputError(f"dataset.labels: {name}/{table}: {error}") from None
    return list_by_table(entries, data, table=table, labels=dataset.labels, name=name)


def _check_no_dvc_project(entries: Sequence[str], *, name: str) -> None:
    """Refuse folders that DVC takes for empty, so that no change in them would ever run the stage."""
    for entry in entries:
        if entry == ".dvc/" or entry.endswith("/.dvc/"):
            raise InputError(
                f"dataset.source: {printable(f'{name}/{entry}')} makes its folder a DVC project of its own, "
                "in which DVC sees no change from here; move that .dvc away, or the images"
            )


def list_by_folders(entries: Iterable[str], *, name: str, is_in_archive: bool) -> Listing:
    """Read class and split from the folders of a source.

    An archive may hold everything below one more folder. Hidden files and what operating systems leave behind
    are counted and skipped.

    Args:
        entries: Paths of files and, ending in a slash, of folders.
        name: The source, for messages.
        is_in_archive: Whether one folder around everything is skipped.

    Raises:
        InputError: No images, fewer than two classes, classes of nearly one name, or folders that are neither
            all classes nor all splits.
    """
    visible, num_clutter = drop_clutter(entries)
    wrapper = _find_wrapper(visible) if is_in_archive else ""
    split_folders = _find_split_folders(visible, wrapper, name=name)
    # Folders count as well: a class folder without an image is a mistake to report, not to pass over.
    classes, labels = _label(visible, wrapper, depth=1 if split_folders else 0)
    is_file = np.fromiter((not path.endswith("/") for path in visible), np.bool_, len(visible))
    paths, labels = [path for path in visible if not path.endswith("/")], labels[is_file]
    is_named = np.fromiter(map(has_image_suffix, paths), np.bool_, len(paths))
    status = np.where(
        is_named,
        np.where(labels == _OUTSIDE, STATUSES.index("outside_classes"), STATUSES.index("decoded")),
        STATUSES.index("not_an_image"),
    ).astype(np.uint8)
    table = make_table(
        len(paths),
        path=text_column(paths),
        label=labels,
        split=_splits(paths, wrapper, split_folders),
        status=status,
        reason=text_column([explain(path, STATUSES[code]) for path, code in zip(paths, status, strict=True)]),
    )
    _check_gaps(table, classes, split_folders, name=name)
    check_similar_classes(classes, place=f"dataset.source: {name}")
    given = tuple(split for split in SPLIT_NAMES if split in split_folders.values())
    return Listing(table, tuple(classes), given, wrapper, num_clutter)


def text_column(texts: Sequence[str]) -> npt.NDArray[np.object_]:
    """Return an array of str."""
    column = np.empty(len(texts), dtype=object)
    column[:] = texts
    return column


def drop_clutter(entries: Iterable[str]) -> tuple[list[str], Counter[Clutter]]:
    """Return the other entries, sorted as they look printed, and the number of files of each kind."""
    num_clutter: Counter[Clutter] = Counter()
    visible = []
    for entry in entries:
        kind = find_clutter(entry)
        if kind is None:
            visible.append(entry)
        elif not entry.endswith("/"):
            num_clutter[kind] += 1
    # Nearly always sorted already. Printed, control characters become backslashes.
    visible.sort(key=printable)
    return visible, num_clutter


def explain(path: str, status: FileStatus) -> str:
    """Return why a file is not decoded, for its row; empty for one that is to be decoded."""
    match status:
        case "not_an_image":
            suffix = printable(PurePosixPath(path).suffix)
            return f"{suffix} is no image suffix" if suffix else "has no suffix"
        case "outside_classes":
            return "is outside the class folders"
        case "not_in_table":
            return "is not in the table"
        case _:
            return ""


def _label(paths: Sequence[str], wrapper: str, *, depth: int) -> tuple[list[str], npt.NDArray[np.int32]]:
    """Return the class names, sorted, and the position among them of each path's class, int32 (num_paths,).

    Args:
        paths: Files and folders.
        wrapper: The folder around everything.
        depth: How many folders stand above those of the classes.
    """
    codes: dict[str, int] = {}
    code_of_folder: dict[str, int] = {}

    def code_of(path: str) -> int:
        parts = path.removeprefix(wrapper).split("/", depth + 1)
        if len(parts) < depth + 2:
            return _OUTSIDE
        folder = parts[depth]
        if folder not in code_of_folder:
            code_of_folder[folder] = codes.setdefault(name_class(folder), len(codes))
        return code_of_folder[folder]

    labels = np.fromiter(map(code_of, paths), np.int32, len(paths))
    classes = sorted(codes)
    position = {label: place for place, label in enumerate(classes)}
    # Codes are in the order of first appearance; -1 picks the last item, which is again -1.
    positions = np.array([*(position[label] for label in codes), _OUTSIDE], dtype=np.int32)
    return classes, positions[labels]


def _splits(
    paths: Sequence[str], wrapper: str, split_folders: Mapping[str, SplitName]
) -> npt.NDArray[np.int8]:
    """Return the position in SPLIT_NAMES of each file's split folder, -1 where it is in none."""
    codes = {folder: SPLIT_NAMES.index(split) for folder, split in split_folders.items()}
    tops = (path.removeprefix(wrapper).partition("/")[0] for path in paths)
    return np.fromiter((codes.get(top, -1) for top in tops), np.int8, len(paths))


def name_class(text: str) -> str:
    """Return a class name as it is stored: on one line, and composed (NFC); macOS writes it decomposed."""
    return printable(unicodedata.normalize("NFC", text))


def check_similar_classes(classes: Sequence[str], *, place: str) -> None:
    """Refuse classes that differ only in case or in spaces around them: one of them is a typo."""
    first: dict[str, str] = {}
    for label in classes:
        other = first.setdefault(label.strip().casefold(), label)
        if other != label:
            raise InputError(
                f"{place}: found the classes '{other}' and '{label}', which differ only in case or in spaces "
                "around them; give both one name, or names that differ in more"
            )


def _find_wrapper(entries: Sequence[str]) -> str:
    """Return the chain of folders that everything else is in, as `digits/`, or the empty string.

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
        raise InputError(f"{place}: found {shown}; keep one folder for each split")
    if "train" not in splits.values():
        raise InputError(
            f"{place}: found {shown}, but no train; put the images to train on into {name}/train"
        )
    return splits


def _check_gaps(
    table: ImageTable, classes: Sequence[str], split_folders: Mapping[str, SplitName], *, name: str
) -> None:
    """Refuse a source without images, with one class, or with an empty split folder."""
    place = f"dataset.source: {name}"
    is_image = table.has_status("decoded")
    if not is_image.any():
        layout = f"{'train/' if split_folders else ''}cat/1.jpg"
        raise InputError(
            f"{place}: found no images; put them into one folder for each class, as in {name}/{layout}"
        )
    if len(classes) < 2:
        raise InputError(
            f"{place}: found one class, {classes[0]}; a classifier needs at least two class folders"
        )
    held = set(np.unique(table.split[is_image]).tolist())
    for folder, split in split_folders.items():
        if SPLIT_NAMES.index(split) not in held:
            raise InputError(
                f"{place}: found no images in {printable(folder)}/ (links to folders are not followed); "
                f"put class folders there{'' if split == 'train' else ', or remove it'}"
            )
