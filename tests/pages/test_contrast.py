"""Colors of the pages can be told apart: WCAG 2.2, 1.4.3 and 1.4.11, in light, in dark and on paper."""

import re
from pathlib import Path

import pytest

STYLE = Path("stages/pages/style")
TEXT, GRAPHICS = 4.5, 3.0

Rgb = tuple[float, float, float]


def read_colors(css: str) -> dict[str, Rgb]:
    """Return the custom properties that are colors."""
    found = re.findall(r"--([\w-]+): #([0-9a-f]{3,6});", css)
    digits = {
        name: value if len(value) == 6 else "".join(2 * each for each in value) for name, value in found
    }
    return {name: parse(value) for name, value in digits.items()}


def parse(digits: str) -> Rgb:
    red, green, blue = bytes.fromhex(digits)
    return red, green, blue


LIGHT, DARK = map(read_colors, (STYLE / "page.css").read_text().split("@media (prefers-color-scheme: dark)"))
SCHEMES = {"light": LIGHT, "dark": DARK, "print": read_colors((STYLE / "print.css").read_text())}


def mix(color: Rgb, paper: Rgb, *, strength: float) -> Rgb:
    """Return a color of some opacity over another."""
    red, green, blue = (
        strength * on + (1 - strength) * under for on, under in zip(color, paper, strict=True)
    )
    return red, green, blue


def measure_luminance(color: Rgb) -> float:
    """Return the relative luminance of sRGB, https://www.w3.org/TR/WCAG22/#dfn-relative-luminance."""
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (each / 255 for each in color)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def measure_contrast(one: Rgb, other: Rgb) -> float:
    """Return the contrast ratio, from 1 to 21."""
    low, high = sorted(map(measure_luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_the_standard() -> None:
    """Black on white is 21:1; the gray #767676 on white is the lightest of 4.5:1."""
    assert measure_contrast(parse("000000"), parse("ffffff")) == pytest.approx(21)
    assert (
        measure_contrast(parse("767676"), parse("ffffff"))
        > 4.5
        > measure_contrast(parse("777777"), parse("ffffff"))
    )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_text_can_be_read(scheme: str) -> None:
    """Text has 4.5:1 on the page and on cards, and so have numbers on cells of any strength."""
    colors = SCHEMES[scheme]
    for ground in ("paper", "raised"):
        for text in ("ink", "muted", "accent"):
            assert measure_contrast(colors[text], colors[ground]) >= TEXT
        for fill in ("correct", "mistake"):
            for percent in range(101):
                cell = mix(colors[fill], colors[ground], strength=percent / 100)
                assert measure_contrast(colors["ink"], cell) >= TEXT
    escaped = mix(colors["accent"], colors["paper"], strength=0.12)
    assert measure_contrast(colors["accent"], escaped) >= TEXT


@pytest.mark.parametrize("scheme", SCHEMES)
def test_lines_and_fills_can_be_seen(scheme: str) -> None:
    """Lines of charts, borders of controls and full cells have 3:1 on the page."""
    colors = SCHEMES[scheme]
    for name in ("line", "second", "third", "fourth", "control", "muted", "accent", "correct", "mistake"):
        assert measure_contrast(colors[name], colors["paper"]) >= GRAPHICS, name
