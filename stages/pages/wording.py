"""Numbers, names and kinds of findings as every page writes them."""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from markupsafe import Markup, escape

from schemas.audit.finding import ClassKind, ImageKind, LeakKind
from schemas.shared.manifest import LeakRelation
from stages.shared.errors import printable

_GAP = "\N{NO-BREAK SPACE}"
_MAX_NAME = 48
_MAX_PATH = 120
_MAX_TITLE = 160

FINDING_MEANINGS: Mapping[ImageKind | LeakKind | ClassKind, str] = {
    "leaks": "Images that belong with one in a split closer to the test: copies, near duplicates, one group",
    "conflicting_labels": "Copies or near-duplicates with different labels: one label must be wrong",
    "blank": "Images of a single color, or nearly so",
    "dark": "Images much darker than the rest",
    "bright": "Images much brighter than the rest",
    "low_information": "Images with far fewer grey levels than the rest",
    "blurred": "Images much less sharp than the rest",
    "extreme_size": "Images with a very short or very long side, or of a very different size than the rest",
    "extreme_shape": "Images with an extreme aspect ratio, or a very different one than the rest",
    "copies": "Byte-for-byte copies of another file",
    "near_duplicates": "Images that look like another image",
    "tiny_class": "Classes with very few images",
    "imbalance": "The largest class is many times the size of the smallest",
}

_LEAK_RELATIONS: Mapping[LeakRelation, str] = {
    "copy": "a copy",
    "near_duplicate": "a near duplicate",
    "group": "an image of their group",
}


@dataclass(frozen=True)
class Sentence:
    """A sentence about classes, whose names are written in different ways in a page and in Markdown."""

    text: str
    """`{}` stands for each name."""

    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return it as plain text."""
        return self.write(brief)

    def __html__(self) -> str:
        """Return it as HTML, which templates do by themselves."""
        return escape(self.text).format(*map(name, self.names))

    def write(self, write_name: Callable[[str], str]) -> str:
        """Return the text with its names, each written in some way."""
        return self.text.format(*map(write_name, self.names))


def count(number: int) -> str:
    """Write 12345 as 12,345."""
    return f"{number:,}"


def plural(number: int, noun: str, nouns: str = "") -> str:
    """Write `1 image`, `2 images`, or `2 classes` where the plural is given."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def percent(fraction: float, *, decimals: int = 1) -> str:
    """Write a fraction as a percentage, one that never rounds to none or all when it is neither."""
    step = 10.0**-decimals
    rounded = round(100 * fraction, decimals)
    if fraction > 0 and rounded < step:
        return f"< {step:.{decimals}f}{_GAP}%"
    if fraction < 1 and rounded >= 100:
        return f"> {100 - step:.{decimals}f}{_GAP}%"
    return f"{rounded:.{decimals}f}{_GAP}%"


def score(value: float) -> str:
    """Write a number from -1 to 1 with three decimals, never as 0.000 or 1.000 if it is neither."""
    if 0.9995 <= abs(value) < 1:
        return "> 0.999" if value > 0 else "< -0.999"
    if 0 < abs(value) < 0.0005:
        return "< 0.001" if value > 0 else "> -0.001"
    return f"{value:.3f}"


def percent_beside(fraction: float, target: float) -> str:
    """Write a fraction as a percentage with as many decimals as tell it from the target beside it."""
    for decimals in (1, 2, 3):
        text = percent(fraction, decimals=decimals)
        if fraction == target or text != percent(target, decimals=decimals):
            return text
    return percent(fraction, decimals=6)


def certainty(probability: float) -> str:
    """Write a probability as a person says it: 87 %, but 99.6 % where whole numbers say too little."""
    return percent(probability, decimals=0 if 0.01 <= probability < 0.99 else 1)


def describe_leaks(counts: Mapping[LeakRelation, int], num_images: int) -> str:
    """Say how many of the test images training knew, without a full stop; there must be some.

    Args:
        counts: How many, by the closest relation of each.
        num_images: All test images.
    """
    known = {relation: number for relation, number in counts.items() if number}
    kinds = [
        _LEAK_RELATIONS[relation] + (f" ({count(number)})" if len(known) > 1 else "")
        for relation, number in known.items()
    ]
    total = sum(known.values())
    have = "has" if total == 1 else "have"
    images = plural(num_images, "test image")
    return f"{count(total)} of {images} {have} {', '.join(kinds)} in training or validation"


def short_hash(sha256: str) -> str:
    """Return the first twelve digits, enough to tell two files apart."""
    return sha256[:12]


def plain(text: str) -> str:
    """Return text for an attribute, nothing in it invisible, not longer than anyone reads."""
    return printable(_shortened(text, limit=_MAX_TITLE)) or "(empty)"


def name(text: str) -> Markup:
    """Return a class name as HTML, safe whatever it contains."""
    return _isolated(text, limit=_MAX_NAME, css_class="name")


def path(text: str) -> Markup:
    """Return a file's path as HTML, safe whatever it contains."""
    return _isolated(text, limit=_MAX_PATH, css_class="path")


def brief_name(text: str) -> Markup:
    """Return a class name as HTML without a title, for where there are hundreds."""
    return _isolated(text, limit=_MAX_NAME, css_class="name", titled=False)


def brief_path(text: str) -> Markup:
    """Return a file's path as HTML without a title."""
    return _isolated(text, limit=_MAX_PATH, css_class="path", titled=False)


def brief(text: str) -> str:
    """Return a class name for an attribute, as short as where it is shown."""
    return plain(_shortened(text, limit=_MAX_NAME))


def code_span(text: str) -> str:
    """Return a name as a code span of Markdown, in which all of it is literal."""
    # Markdown strips a space from either end.
    shown = re.sub("^ +| +$", lambda spaces: "\N{SYMBOL FOR SPACE}" * len(spaces[0]), brief(text))
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def is_upright(text: str) -> bool:
    """Tell names in Chinese, Japanese or Korean, which stand upright in a vertical line."""
    return any(unicodedata.east_asian_width(character) in "WF" for character in text)


def _isolated(text: str, *, limit: int, css_class: str, titled: bool = True) -> Markup:
    """Return text in an element with a reading direction of its own; shortened, the title says more of it."""
    shown = _shortened(text, limit=limit)
    title = Markup("")
    if titled and shown != text:
        title = Markup(' title="{}"').format(plain(text))
    if css_class == "name":
        return Markup('<bdi class="name"{}>{}</bdi>').format(title, _marked(shown))
    # A path reads from left to right, whatever letters its folders have.
    parts = Markup("/").join(_isolate_turned(part) for part in shown.split("/"))
    return Markup('<bdi class="path" dir="ltr"{}>{}</bdi>').format(title, parts)


def _isolate_turned(part: str) -> Markup:
    """Return a part of a path; one that reads from right to left would turn the number behind it."""
    if any(unicodedata.bidirectional(character) in ("R", "AL") for character in part):
        return Markup("<bdi>{}</bdi>").format(_marked(part))
    return _marked(part) if part else Markup("")


def _shortened(text: str, *, limit: int) -> str:
    """Cut out the middle: names that begin alike differ at the end."""
    if len(text) <= limit:
        return text
    head = limit // 2
    return text[:head] + "…" + text[head + 1 - limit :]


def _marked(text: str) -> Markup:
    """Escape text; what stands for an invisible character is set apart from the name itself."""
    if not text:
        return Markup("<i>(empty)</i>")
    first, end = len(text) - len(text.lstrip(" ")), len(text.rstrip(" "))
    pieces = []
    for position, character in enumerate(text):
        at_edge = character == " " and not first <= position < end
        shown = "\N{SYMBOL FOR SPACE}" if at_edge else printable(character)
        pieces.append(escape(character) if shown == character else Markup("<i>{}</i>").format(shown))
    return Markup("").join(pieces)
