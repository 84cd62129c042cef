"""What is unlike the rest, and what is not."""

import numpy as np
import pytest

from schemas.audit.finding import ImageKind
from stages.prepare_dataset.audit import audit_images
from stages.prepare_dataset.outliers import SIZE, compare
from tests.prepare_dataset.tables import audit_params, groups_of, table_of

PATHS = [f"{label}/{i:02}.png" for label in ("cat", "dog") for i in range(30)]
ALL = np.ones(len(PATHS), dtype=np.bool_)


def find(kind: ImageKind, **columns: np.ndarray) -> list[tuple[int, str]]:
    """Return row and detail of what is found in sixty images of two classes."""
    table = table_of(PATHS).with_columns(**columns)
    _, findings = audit_images(
        table,
        groups_of(table),
        audit_params(max_aspect_ratio=8.0),
        classes=("cat", "dog"),
        depth16="high_byte",
    )
    return [(finding.row, finding.detail) for finding in findings.images[kind]]


def column(usual: float, dtype: str, **by_row: float) -> np.ndarray:
    """Return values that vary by a twentieth, but for some rows: `r3=0` is 0 in row 3."""
    values = (usual * np.random.default_rng(0).uniform(0.95, 1.05, len(PATHS))).astype(dtype)
    for row, value in by_row.items():
        values[int(row[1:])] = value
    return values


FOUND: dict[ImageKind, tuple[dict[str, np.ndarray], str]] = {
    "dark": (
        {"bright_end": column(220, "u1", r7=40)},
        "brightest at grey level 40, where 220 is usual",
    ),
    "bright": (
        {"dark_end": column(20, "u1", r7=220)},
        "darkest at grey level 220, where 20 is usual",
    ),
    "low_information": (
        {"entropy": column(7, "f4", r7=0.5)},
        "0.5 bits of grey levels, where 7.0 are usual",
    ),
    "blurred": (
        {"sharpness": column(0.6, "f4", r7=0.2)},
        "its sharpest edges rise by 20 % from pixel to pixel, where 60 % is usual",
    ),
    "extreme_size": (
        {"height_px": column(400, "u4", r7=40), "width_px": column(400, "u4", r7=44)},
        "44 x 40 px, where a square of 398 px is usual",
    ),
    "extreme_shape": (
        {"height_px": column(300, "u4", r7=100), "width_px": column(400, "u4", r7=500)},
        "500 x 100 px, 5.0 : 1, where 1.3 : 1 is usual",
    ),
}


@pytest.mark.parametrize("kind", FOUND)
def test_one_image_is_unlike_the_rest(kind: ImageKind) -> None:
    """It is found, alone, and the detail says what is usual."""
    columns, detail = FOUND[kind]
    ((row, found),) = find(kind, **columns)
    assert row == 7
    assert found.split(", where")[0] == detail.split(", where")[0]
    assert [word for word in found.split() if not word[0].isdigit()] == [
        word for word in detail.split() if not word[0].isdigit()
    ]


def test_what_is_usual_is_not_found() -> None:
    """Digits are dark, blurred photographs all blurred: nothing stands out where all are alike."""
    assert find("dark", bright_end=column(30, "u1")) == []
    assert find("low_information", entropy=column(1.5, "f4", r7=0.5)) == []
    assert find("blurred", sharpness=column(0.15, "f4", r7=0.14)) == []


def test_small_differences_do_not_count() -> None:
    """Images that are equal but for one are no reason to name it: the spread has a minimum."""
    sharpness = np.full(len(PATHS), 0.6, dtype=np.float32)
    sharpness[7] = 0.4
    assert find("blurred", sharpness=sharpness) == []


def test_a_class_that_differs_is_not_found() -> None:
    """A class of night pictures is no fault: an image has to be unlike its own class, too."""
    paths = [f"{label}/{i:02}.png" for label in ("day", "night") for i in range(20)]
    paths += [f"day/{i:03}.png" for i in range(100, 300)]
    is_night = np.array([path.startswith("night") for path in paths])
    sizes = np.where(is_night, 30, 400).astype(np.uint32)
    table = table_of(paths, height_px=sizes, width_px=sizes)
    used = np.ones(len(paths), dtype=np.bool_)
    assert np.abs(compare(SIZE, table, used).deviations).max() == 0
    mixed = table.with_columns(label=np.arange(len(paths), dtype=np.int32) % 2)
    assert (compare(SIZE, mixed, used).deviations[is_night] < -5).all()


def test_among_few_images_nothing_stands_out() -> None:
    """Nineteen images do not say what is usual."""
    sizes = column(400, "u4", r7=10)
    table = table_of(PATHS, height_px=sizes, width_px=sizes)
    assert compare(SIZE, table, ALL).deviations[7] < -5
    few = np.arange(len(PATHS)) < 19
    assert not compare(SIZE, table, few).deviations.any()


def test_deviations_are_those_of_a_normal_distribution() -> None:
    """The unit is the standard deviation, and a few far images do not change it."""
    rng = np.random.default_rng(0)
    paths = [f"a/{i}.png" for i in range(4000)] + [f"b/{i}.png" for i in range(10)]
    sides = np.exp(rng.normal(6, 0.5, len(paths)))
    sides[:40] *= 100
    pixels = sides.astype(np.uint32)
    table = table_of(paths, height_px=pixels, width_px=pixels)
    deviations = compare(SIZE, table, np.ones(len(paths), dtype=np.bool_)).deviations[40:4000]
    assert np.std(deviations) == pytest.approx(1, abs=0.05)


def test_blank_images_are_blank_only() -> None:
    """A black image is not dark, blurred and poor in information besides."""
    columns = {
        "std": column(50, "f4", r7=0),
        "bright_end": column(220, "u1", r7=0),
        "entropy": column(7, "f4", r7=0),
        "sharpness": column(0.6, "f4", r7=0),
    }
    assert [row for row, _ in find("blank", **columns)] == [7]
    for kind in ("dark", "low_information", "blurred"):
        assert find(kind, **columns) == []
