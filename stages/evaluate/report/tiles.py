"""The images behind the fields of the confusion matrix, all in one picture."""

from collections.abc import Sequence
from dataclasses import dataclass

from stages.evaluate.gallery import Example, Gallery
from stages.evaluate.report.sheet import Sheet, build_sheet


@dataclass(frozen=True)
class Tile:
    """One image: where it is on the sheet, and what is said of it."""

    example: Example
    left: str
    top: str


@dataclass(frozen=True)
class Field:
    """The tiles of one field."""

    label: int
    predicted: int
    tiles: Sequence[Tile]


def lay_out_tiles(gallery: Gallery) -> tuple[Sheet | None, list[Field]]:
    """Return the sheet, None if there is nothing on it, and the fields with their tiles."""
    sheet = build_sheet([example.image for some in gallery.fields.values() for example in some])
    fields: list[Field] = []
    number = 0
    for (label, predicted), examples in gallery.fields.items():
        tiles = []
        for example in examples:
            assert sheet is not None, "there is an image"
            tiles.append(Tile(example, *sheet.place(number)))
            number += 1
        fields.append(Field(label, predicted, tiles))
    return sheet, fields
