"""Accuracy on parts of the test split, and on corrupted images, as tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from stages.evaluate.report import wording
from stages.evaluate.robustness import CorruptedScore
from stages.evaluate.slices import Slice

_MIN_IMAGES = 10
_UNITS = {"brightness": "of 255", "image_size": "px", "height_px": "px", "width_px": "px"}
_NAMES = {
    "image_size": "Image size: side of a square of the same area",
    "brightness": "Brightness: mean grey level",
    "height_px": "Height of the image in its file",
    "width_px": "Width of the image in its file",
}
_CORRUPTIONS = {
    "noise": "Noise",
    "blur": "Blur",
    "brightness": "Brighter",
    "contrast": "Less contrast",
    "jpeg": "Poor JPEG",
    "rotation": "Turned",
}


@dataclass(frozen=True)
class SliceRow:
    """One part of the images."""

    label: str
    """A string, or safe HTML."""

    num_images: int
    accuracy: float
    low: float
    high: float
    verdict: str
    """How its accuracy stands to that of all images: `lower`, `higher` or nothing to tell."""


@dataclass(frozen=True)
class SliceTable:
    """All parts by one property of the images."""

    title: str
    rows: Sequence[SliceRow]
    num_small: int
    """Parts too small to say anything of, which are not among the rows."""


def build_slice_tables(slices: Sequence[Slice], *, accuracy: float) -> list[SliceTable]:
    """Return a table for each property that tells the images apart; accuracy is that of all of them.

    A part of fewer than ten images is counted, not listed: its interval reaches over half of the scale.
    """
    tables = []
    for name, some in groupby(slices, key=lambda each: each.by):
        parts = list(some)
        rows = [_row(each, accuracy=accuracy) for each in parts if each.num_images >= _MIN_IMAGES]
        if len(parts) > 1:
            tables.append(SliceTable(_name_property(name), rows, num_small=len(parts) - len(rows)))
    return tables


def list_alike(slices: Sequence[Slice]) -> list[str]:
    """Return the properties in which all test images are alike."""
    return [
        name.replace("_", " ")
        for name, some in groupby(slices, key=lambda each: each.by)
        if len(list(some)) == 1
    ]


def build_corruption_rows(scores: Sequence[CorruptedScore]) -> list[tuple[str, list[CorruptedScore]]]:
    """Return the name of each corruption and its scores, the weakest strength first."""
    return [
        (_CORRUPTIONS.get(name, name), list(some))
        for name, some in groupby(scores, key=lambda each: each.corruption.name)
    ]


def _row(part: Slice, *, accuracy: float) -> SliceRow:
    verdict = "lower" if part.high < accuracy else "higher" if part.low > accuracy else ""
    return SliceRow(_label(part), part.num_images, part.accuracy, part.low, part.high, verdict)


def _label(part: Slice) -> str | Markup:
    if part.bounds is not None:
        first, last = (f"{bound:,.0f}" for bound in part.bounds)
        return f"{first if first == last else f'{first} to {last}'} {_UNITS.get(part.by, '')}".strip()
    if part.value is None:
        return "all others"
    return wording.name(part.value) if part.value else f"no {part.by}"


def _name_property(name: str) -> str:
    return _NAMES.get(name, name.replace("_", " ").capitalize())
