"""Which files of a source are images, and what class and split their folders give them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from schemas.shared.index import IndexRow, Status
from schemas.shared.manifest import SplitName
from stages.images.image_names import has_image_suffix, is_clutter
from stages.shared.errors import InputError
from stages.shared.text import printable

SPLIT_FOLDERS: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True, slots=True)
class FoundImage:
    """A file that may be an image."""

    path: str
    """Path in the source, as the source lists it."""

    key: str
    """Path below what wraps everything: the same in a folder and in an archive of that folder."""

    label: str
    """Class name."""

    split: SplitName | None
    """The split whose folder it stands in; None where the source has no split folders."""


@dataclass(frozen=True)
class Collection:
    """What a source holds, in the order of its paths."""

    classes: tuple[str, ...]
    images: tuple[FoundImage, ...]
    given_splits: frozenset[SplitName]
    """Splits that have a folder of their own."""

    left_out: tuple[IndexRow, ...]
    """Files that are no images, each with the reason."""


def collect_images(entries: Iterable[str], *, name: str, is_archive: bool) -> Collection:
    """Read class and split off the paths of a source.

    The layout is torchvision's ImageFolder: `<class>/**/<file>`, or `<split>/<class>/**/<file>`. An archive
    may hold all of it below one more folder. Hidden files and what operating systems leave behind are passed
    over.

    Args:
        entries: Paths of files and, ending in a slash, of folders.
        name: The source, for messages.
        is_archive: Whether one folder around everything is passed over.

    Raises:
        InputError: No images, fewer than two classes, or folders that are neither all classes nor all splits.
    """
    visible = sorted((entry for entry in entries if not is_clutter(entry)), key=printable)
    wrapper = _find_wrapper(visible) if is_archive else ""
    split_folders = _find_split_folders([entry.removeprefix(wrapper) for entry in visible], name=name)
    depth = 1 if split_folders else 0  # of the class folders
    labels: set[str] = set()
    images: list[FoundImage] = []
    left_out: list[IndexRow] = []
    for path in visible:
        key = path.removeprefix(wrapper)
        parts = key.split("/")  # a folder's last part is empty
        label = printable(parts[depth]) if len(parts) > depth + 1 else ""
        if label:
            labels.add(label)
        if path.endswith("/"):
            continue
        if reason := _why_no_image(path, label=label):
            left_out.append(describe_left_out(path, label, status="not_an_image", reason=reason))
        else:
            images.append(FoundImage(path, key, label, split_folders.get(parts[0])))
    _refuse_gaps(images, labels, split_folders, name=name)
    return Collection(
        tuple(sorted(labels)), tuple(images), frozenset(split_folders.values()), tuple(left_out)
    )


def describe_left_out(path: str, label: str, *, status: Status, reason: str) -> IndexRow:
    """Return the index line of a file that was never decoded."""
    return IndexRow(
        path=printable(path),
        label=label,
        split="",
        status=status,
        reason=reason,
        group="",
        sha256="",
        phash="",
        height_px="",
        width_px="",
    )


def _why_no_image(path: str, *, label: str) -> str:
    """Return why a file is left out; empty if it is not."""
    if not label:
        return "stands outside the class folders"
    if has_image_suffix(path):
        return ""
    suffix = printable(PurePosixPath(path).suffix)
    return f"{suffix} is no image suffix" if suffix else "has no suffix"


def _find_wrapper(entries: Sequence[str]) -> str:
    """Return the chain of folders that everything else stands in, as `digits/`, or the empty string.

    A folder that holds an image itself is a class, not a wrapper, and `train` on its own is a split.
    """
    wrapper = ""
    while True:
        inside = [entry.removeprefix(wrapper).split("/") for entry in entries if entry.startswith(wrapper)]
        tops = {parts[0] for parts in inside if len(parts) > 1}
        has_folders = any(len(parts) > 2 for parts in inside)
        has_images = any(len(parts) == 2 and has_image_suffix(parts[1]) for parts in inside)
        if len(tops) != 1 or has_images or not has_folders or min(tops).lower() in SPLIT_FOLDERS:
            return wrapper
        wrapper += f"{min(tops)}/"


def _find_split_folders(keys: Sequence[str], *, name: str) -> dict[str, SplitName]:
    """Return the split of each folder at the top; nothing if the folders at the top are classes.

    A folder called `train` or `valid` that holds images itself, beside folders of other names, is a class.
    """
    parts_of_keys = [key.split("/") for key in keys]
    tops = {parts[0] for parts in parts_of_keys if len(parts) > 1}
    found = {top for top in tops if top.lower() in SPLIT_FOLDERS}
    if found != tops:
        found -= {parts[0] for parts in parts_of_keys if len(parts) == 2 and has_image_suffix(parts[1])}
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


def _refuse_gaps(
    images: Sequence[FoundImage], labels: set[str], split_folders: dict[str, SplitName], *, name: str
) -> None:
    """Refuse a source without images, with one class, or with an empty split folder."""
    place = f"dataset.source: {name}"
    layout = f"{'train/' if split_folders else ''}cat/1.jpg"
    if not images:
        raise InputError(f"{place}: found no images; put them into one folder a class, as in {name}/{layout}")
    if len(labels) < 2:
        raise InputError(
            f"{place}: found one class, {min(labels)}; a classifier needs at least two class folders"
        )
    held = {image.split for image in images}
    for folder, split in split_folders.items():
        if split not in held:
            raise InputError(
                f"{place}: found no images in {folder}/ (links to folders are not followed); "
                f"put class folders there{'' if split == 'train' else ', or remove it'}"
            )
