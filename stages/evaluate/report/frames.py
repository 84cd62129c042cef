"""The pictures of the exhibits, in the form the page shows them."""

from collections.abc import Sequence
from dataclasses import dataclass

from stages.evaluate.exhibits import Exhibit, Exhibits
from stages.evaluate.report.pictures import draw_heat, embed_pictures

_MAX_TINY_SIDE_PX = 128


@dataclass(frozen=True)
class Bar:
    """A class and its probability, as a line below the picture."""

    label: str
    probability: float
    role: str
    """What the class is to this image: `answer`, `label`, both or neither."""


@dataclass(frozen=True)
class Frame:
    """An exhibit with its pictures as data: URIs."""

    exhibit: Exhibit
    picture: str
    heat: str | None
    bars: Sequence[Bar]

    @property
    def width_px(self) -> int:
        """Return the image's width."""
        return int(self.exhibit.image.shape[1])

    @property
    def height_px(self) -> int:
        """Return the image's height."""
        return int(self.exhibit.image.shape[0])

    @property
    def is_without_glow(self) -> bool:
        """Return whether there is a heat map in which nothing is hot."""
        return self.exhibit.heat is not None and not self.exhibit.heat.any()

    @property
    def is_tiny(self) -> bool:
        """Return whether single pixels are to be seen."""
        return max(self.width_px, self.height_px) <= _MAX_TINY_SIDE_PX


@dataclass(frozen=True)
class Frames:
    """The frames of each sort of exhibit."""

    worst: Sequence[Frame]
    uncertain: Sequence[Frame]
    suspected: Sequence[Frame]


def frame_exhibits(exhibits: Exhibits) -> Frames:
    """Embed all pictures; together they stay within a fixed size."""
    sorts = (exhibits.worst, exhibits.uncertain, exhibits.suspected)
    pictures = iter(embed_pictures([each.image for some in sorts for each in some]))
    return Frames(*([_frame(each, next(pictures)) for each in some] for some in sorts))


def _frame(exhibit: Exhibit, picture: str) -> Frame:
    heat = None if exhibit.heat is None or not exhibit.heat.any() else draw_heat(exhibit.heat)
    return Frame(exhibit, picture, heat, _list_bars(exhibit))


def _list_bars(exhibit: Exhibit) -> list[Bar]:
    """Return the most probable classes, and the label below them if it is not among them."""
    bars = []
    for place, answer in enumerate(exhibit.answers):
        roles = ["answer"] * (place == 0) + ["label"] * (answer.label == exhibit.label)
        bars.append(Bar(answer.label, answer.probability, " and ".join(roles)))
    if all(answer.label != exhibit.label for answer in exhibit.answers):
        bars.append(Bar(exhibit.label, exhibit.label_probability, "label"))
    return bars
