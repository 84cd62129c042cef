"""Accuracy on subgroups."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.evaluate.evaluation import SliceName
from schemas.shared.manifest import IndexRow
from stages.evaluate.subgroups import (
    MAX_VALUES,
    divide_numbers,
    divide_texts,
    list_columns,
    measure_brightness,
    measure_subgroups,
)
from stages.vision.dataset import PreparedImages
from tests.vision.prepared import write_prepared


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> PreparedImages:
    """Return the test images of a prepared data set in three shards, without transforms."""
    folder = tmp_path_factory.mktemp("prepared")
    return PreparedImages(folder, write_prepared(folder, rows_per_shard=14), "test")


def test_every_column_of_the_index_is_allowed() -> None:
    """evaluation.slices allows the index's columns and two properties of the image."""
    assert set(get_args(SliceName)) == {*IndexRow._fields, "image_size", "brightness"}


def test_columns_are_those_that_the_attributes_need() -> None:
    """The size needs both sides, brightness needs the pixels alone."""
    assert list_columns(["image_size", "brightness", "group"]) == ["height_px", "width_px", "group"]


@given(st.lists(st.integers(0, 20) | st.floats(0, 1e6), min_size=1, max_size=60))
def test_numbers_are_cut_into_quarters(numbers: list[float]) -> None:
    """Parts are disjoint, complete and rising, and hold a quarter each where numbers differ."""
    parts = list(divide_numbers(np.array(numbers, dtype=float)))
    assert sorted(image for _, _, chosen in parts for image in chosen) == list(range(len(numbers)))
    bounds = [bound for _, bounds, _ in parts for bound in bounds or ()]
    assert bounds == sorted(bounds)
    assert len(parts) <= 4
    if len(set(numbers)) == len(numbers):
        assert max(len(chosen) for _, _, chosen in parts) <= len(numbers) // 4 + 1


def test_most_frequent_texts_are_kept() -> None:
    """Twenty texts are kept, by falling count and then by name, all others together."""
    texts = [f"patient {number:02}" for number in range(30) for _ in range(30 - number)]
    parts = list(divide_texts(texts))
    assert [text for text, _, _ in parts] == [*(f"patient {number:02}" for number in range(MAX_VALUES)), None]
    assert [len(chosen) for _, _, chosen in parts[:-1]] == list(range(30, 10, -1))
    assert len(parts[-1][2]) == sum(range(1, 11))
    assert [text for text, _, _ in divide_texts(["b", "", "a"])] == ["", "a", "b"]


def test_brightness_is_the_mean_pixel(images: PreparedImages) -> None:
    """Each image has the mean of its packed pixels, over shards as well."""
    expected = [images.pixels(image).mean() for image in range(len(images))]
    assert measure_brightness(images).tolist() == pytest.approx(expected)


def test_subgroups_have_their_accuracy(images: PreparedImages) -> None:
    """Each subgroup has its attribute, value or bounds, number of images and accuracy."""
    columns = {
        "height_px": ["10"] * 6 + ["40"] * 3,
        "width_px": ["10"] * 9,
        "group": ["", "", "x", "x", "x", "x", "", "", ""],
    }
    is_correct = np.array([True] * 5 + [False] * 4)
    subgroups = measure_subgroups(
        ("image_size", "group", "height_px"),
        images=images,
        columns=columns,
        is_correct=is_correct,
        groups=np.array([0, 1, 2, 2, 2, 2, 3, 4, 5]),
    )
    found = [(each.attribute, each.value, each.bounds, each.num_images, each.accuracy) for each in subgroups]
    assert found == [
        ("image_size", None, (10.0, 10.0), 6, pytest.approx(5 / 6)),
        ("image_size", None, (20.0, 20.0), 3, 0.0),
        ("group", "", None, 5, pytest.approx(2 / 5)),
        ("group", "x", None, 4, pytest.approx(3 / 4)),
        ("height_px", None, (10.0, 10.0), 6, pytest.approx(5 / 6)),
        ("height_px", None, (40.0, 40.0), 3, 0.0),
    ]
    assert all(each.interval.low <= each.accuracy <= each.interval.high for each in subgroups)
