"""Which files of a source are images, and what class and split its folders or its table of labels give them.

What folders mean is for layout.py, what a CSV beside the images says for labels_table.py. Nothing is decoded
here.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from schemas.ingest.dataset import Dataset
from schemas.shared.fields import MAX_CLASS_NAME
from schemas.shared.manifest import SPLIT_NAMES, SplitName
from stages.images.image_names import Clutter, find_clutter, find_images
from stages.images.image_table import STATUSES, FileStatus, ImageTable, make_table
from stages.images.sources import Source, UnreadableFile
from stages.ingest.layout import Layout, explain_missing_classes, find_layout
from stages.shared.errors import InputError, is_formula, printable

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
    """The folder that everything is below, as `digits/`, or the empty string."""

    num_clutter: Mapping[Clutter, int]
    """Hidden files and those of operating systems, which have no row."""

    notes: tuple[str, ...]
    """Lines on how the source was read, where that is not plain to see."""


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
        links = () if is_in_archive else _note_linked_folders(path, entries)
        try:
            listing = list_by_folders(entries, name=name, source=source)
        except InputError as error:
            raise InputError("; ".join((str(error), *links))) from None
        if listing.wrapper and not is_in_archive:  # as archives often are
            kind = "splits" if listing.given_splits else "classes"
            links = (f"the {kind} are the folders in {printable(listing.wrapper)}, which holds all", *links)
        return replace(listing, notes=(*listing.notes, *links))
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


def _note_linked_folders(root: Path, entries: Sequence[str]) -> tuple[str, ...]:
    """Return a note on the links to folders, which are listed as empty folders, if there are any."""
    links = [
        entry
        for entry, following in pairwise((*entries, ""))
        if entry.endswith("/") and not following.startswith(entry) and (root / entry).is_symlink()
    ]
    if not links:
        return ()
    number = f" and {len(links) - 1:,} more are links to folders" if links[1:] else " is a link to a folder"
    advice = "not followed, because DVC sees no changes behind links; put the files themselves there"
    return (f"{printable(links[0])}{number}, {advice}",)


def list_by_folders(entries: Iterable[str], *, name: str, source: Source | None = None) -> Listing:
    """Read class and split from the folders of a source, as layout.py understands them.

    Hidden files and what operating systems leave behind are counted and skipped.

    Args:
        entries: Paths of files and, ending in a slash, of folders.
        name: The source, for messages.
        source: Where to look into files whose names do not tell what they are; None to go by names alone.

    Raises:
        InputError: No images, fewer than two classes, classes of nearly one name, or folders that are neither
            all classes nor all splits.
    """
    visible, num_clutter = drop_clutter(entries)
    paths = [path for path in visible if not path.endswith("/")]
    found = find_images(paths, source)
    # Folders count as well: a class folder without an image is a mistake to report, not to pass over.
    folders = {path: code for code, path in enumerate(path for path in visible if path.endswith("/"))}
    codes = np.fromiter(
        (folders.setdefault(_folder_of(path), len(folders)) for path in paths), np.int64, len(paths)
    )
    num_files, num_images = (
        dict(zip(folders, np.bincount(chosen, minlength=len(folders)).tolist(), strict=True))
        for chosen in (codes, codes[found.is_image])
    )
    layout = find_layout(num_files, num_images, name=name)
    labels = [name_class(layout.class_of(folder) or "") for folder in folders]
    classes = sorted(set(labels) - {""})
    positions = {label: position for position, label in enumerate(classes)}
    label = np.array([positions.get(text, _OUTSIDE) for text in labels], dtype=np.int32)[codes]
    splits = [layout.split_of(folder) for folder in folders]
    split = np.array([-1 if split is None else SPLIT_NAMES.index(split) for split in splits], dtype=np.int8)
    status = np.where(
        found.is_image,
        np.where(label == _OUTSIDE, STATUSES.index("outside_classes"), STATUSES.index("decoded")),
        STATUSES.index("not_an_image"),
    ).astype(np.uint8)
    table = make_table(
        len(paths),
        path=text_column(paths),
        label=label,
        split=split[codes],
        status=status,
        reason=text_column(
            [found.reasons.get(row) or explain(STATUSES[code]) for row, code in enumerate(status)]
        ),
    )
    _check_gaps(table, classes, layout, name=name)
    check_class_names(classes, place=f"dataset.source: {name}")
    given = tuple(split for split in SPLIT_NAMES if split in layout.splits.values())
    notes = layout.notes
    if found.num_found:
        notes += (f"files that are images by their first bytes, not by their suffix: {found.num_found:,}",)
    return Listing(table, tuple(classes), given, layout.wrapper, num_clutter, notes)


def _describe_others(paths: Sequence[str], reasons: Sequence[str]) -> str:
    """Return how many files are no images, and what the first is that was looked into or else the first."""
    if not paths:
        return ""
    first = next((row for row, reason in enumerate(reasons) if reason.startswith("is ")), 0)
    return f"{len(paths):,} files ({printable(paths[first])}: {reasons[first]})"


def _folder_of(path: str) -> str:
    return path[: path.rfind("/") + 1]


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


def check_class_names(classes: Sequence[str], *, place: str) -> None:
    """Refuse classes that a spreadsheet would run, of too long a name, and of nearly one name."""
    for label in classes:
        if len(label) > MAX_CLASS_NAME:
            raise InputError(
                f"{place}: found the class '{label[:50]}...' of {len(label):,} characters; allowed: "
                f"{MAX_CLASS_NAME:,}; give it a shorter name"
            )
        if is_formula(label):
            raise InputError(
                f"{place}: found the class '{label}', which a spreadsheet that opens a table of predictions "
                "would run as a formula; give it a name that does not begin with = + - @"
            )
    _check_similar_classes(classes, place=place)


def explain(status: FileStatus) -> str:
    """Return why an image is not decoded, for its row; empty for one that is to be decoded."""
    match status:
        case "outside_classes":
            return "is outside the class folders"
        case "not_in_table":
            return "is not in the table"
        case _:
            return ""


def name_class(text: str) -> str:
    """Return a class name as it is stored: on one line, and composed (NFC); macOS writes it decomposed."""
    return printable(unicodedata.normalize("NFC", text))


def _check_similar_classes(classes: Sequence[str], *, place: str) -> None:
    """Refuse classes that differ only in case or in spaces around them: one of them is a typo."""
    first: dict[str, str] = {}
    for label in classes:
        other = first.setdefault(label.strip().casefold(), label)
        if other != label:
            raise InputError(
                f"{place}: found the classes '{other}' and '{label}', which differ only in case or in spaces "
                "around them; give both one name, or names that differ in more"
            )


def _check_gaps(table: ImageTable, classes: Sequence[str], layout: Layout, *, name: str) -> None:
    """Refuse a source without images, with one class, or with an empty split folder."""
    place = f"dataset.source: {name}"
    is_image = table.has_status("decoded")
    if not is_image.any():
        is_outside = table.has_status("outside_classes")
        to_train_on = is_outside & (table.split == SPLIT_NAMES.index("train"))
        unlabelled = table.path[to_train_on if to_train_on.any() else is_outside]
        others = _describe_others(table.path[~is_outside].tolist(), table.reason[~is_outside].tolist())
        reason = explain_missing_classes(unlabelled, name=name, wrapper=layout.wrapper, others=others)
        raise InputError(f"{place}: {reason}")
    if len(classes) < 2:
        raise InputError(
            f"{place}: found one class, {classes[0]}; a classifier needs at least two class folders"
        )
    held = set(np.unique(table.split[is_image]).tolist())
    for folder, split in layout.splits.items():
        if SPLIT_NAMES.index(split) not in held:
            raise InputError(
                f"{place}: found no images in {printable(folder)}; "
                f"put class folders there{'' if split == 'train' else ', or remove it'}"
            )
