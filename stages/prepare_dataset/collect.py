"""Which files of a source are images, and what class and split their folders give them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from schemas.shared.index import IndexRow
from schemas.shared.manifest import SplitName
from stages.shared.errors import InputError
from stages.shared.text import printable

IMAGE_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jp2 .png .bmp .dib .webp .gif .tif .tiff .ppm .pgm .pbm .pnm".split()
)
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
        InputError: No images, fewer than two classes, or split folders beside class folders.
    """
    visible = sorted((entry for entry in entries if not _is_clutter(entry)), key=printable)
    wrapper = _find_wrapper(visible) if is_archive else ""
    given_splits = _find_split_folders(visible, wrapper=wrapper, name=name)
    depth = 1 if given_splits else 0
    labels: set[str] = set()
    images: list[FoundImage] = []
    left_out: list[IndexRow] = []
    for path in visible:
        parts = path.removeprefix(wrapper).split("/")  # a folder's last part is empty
        if len(parts) < depth + 2:
            if not path.endswith("/"):
                left_out.append(_left_out(path, "", "stands outside the class folders"))
            continue
        label = printable(parts[depth])
        labels.add(label)
        if path.endswith("/"):
            continue
        suffix = PurePosixPath(path).suffix.lower()
        if suffix not in IMAGE_SUFFIXES:
            left_out.append(_left_out(path, label, f"{suffix or 'no suffix'} is no image suffix"))
            continue
        split = SPLIT_FOLDERS[parts[0].lower()] if given_splits else None
        images.append(FoundImage(path=path, label=label, split=split))
    if not images:
        raise InputError(
            f"dataset.source: {name}: found no images; put them into one folder a class, as in {name}/cat/1.jpg"
        )
    if len(labels) < 2:
        raise InputError(
            f"dataset.source: {name}: found one class, {printable(labels.pop())}; "
            "a classifier needs at least two class folders"
        )
    return Collection(tuple(sorted(labels)), tuple(images), given_splits, tuple(left_out))


def _left_out(path: str, label: str, reason: str) -> IndexRow:
    return IndexRow(path=printable(path), label=label, split="", status="not_an_image", reason=reason)


def _is_clutter(path: str) -> bool:
    return any(
        part.startswith(".") or part in {"__MACOSX", "Thumbs.db", "desktop.ini"} for part in path.split("/")
    )


def _find_wrapper(entries: list[str]) -> str:
    """Return the chain of folders that everything else stands in, as `digits/`, or the empty string."""
    wrapper = ""
    while True:
        inside = [entry.removeprefix(wrapper) for entry in entries if entry != wrapper]
        tops = {entry.split("/")[0] for entry in inside}
        folders_inside = {entry.split("/")[1] for entry in inside if entry.count("/") >= 2}
        files_inside = any(entry.count("/") == 1 and not entry.endswith("/") for entry in inside)
        if len(tops) != 1 or files_inside or not folders_inside:
            return wrapper
        wrapper += f"{tops.pop()}/"


def _find_split_folders(entries: list[str], *, wrapper: str, name: str) -> frozenset[SplitName]:
    """Return the splits that have a folder at the top; none if the folders at the top are classes."""
    tops = {
        entry.removeprefix(wrapper).split("/")[0] for entry in entries if "/" in entry.removeprefix(wrapper)
    }
    split_folders = {top for top in tops if top.lower() in SPLIT_FOLDERS}
    splits = [SPLIT_FOLDERS[top.lower()] for top in sorted(split_folders)]
    if "train" not in splits:
        return frozenset()
    if others := tops - split_folders:
        raise InputError(
            f"dataset.source: {name}: found {min(others)} beside {', '.join(sorted(split_folders))}; "
            "either all folders at the top are splits, or all are classes"
        )
    if len(set(splits)) < len(splits):
        raise InputError(
            f"dataset.source: {name}: found {', '.join(sorted(split_folders))}; keep one folder a split"
        )
    return frozenset(splits)
