"""Pictures in the report: exact where they are small, bounded where they are not."""

import re

import cv2
import numpy as np
import pytest

from stages.evaluate.report.pictures import OUTLINE_SIDE, outline_heatmap
from stages.evaluate.report.render import render_report
from stages.pages.embedding import build_sheet
from tests.evaluate.report_content import make_content, make_example
from tests.evaluate.report_page import Page, decode, read


@pytest.mark.parametrize("shape", [(28, 28, 1), (28, 28, 3), (1, 1, 1), (1, 1, 3), (5, 90, 3)])
def test_pictures_are_the_pixels_given(shape: tuple[int, int, int]) -> None:
    """Small pictures come out of the report pixel by pixel, colours in their order."""
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    page = read(make_content(worst=[make_example(image) for image in images], channels=shape[2]))
    for image, shown in zip(images, page.all("img"), strict=True):
        np.testing.assert_array_equal(decode(shown["src"]), image)
        assert (shown["height"], shown["width"]) == (str(shape[0]), str(shape[1]))


def test_large_pictures_are_shrunk() -> None:
    """Sixty photographs stay within a few megabytes and keep their proportions."""
    noise = np.random.default_rng(0).integers(0, 256, (224, 448, 3), dtype=np.uint8)
    html = render_report(make_content(worst=[make_example(noise)] * 60))
    assert len(html) < 4_000_000
    height, width, _ = decode(Page(html).all("img")[0]["src"]).shape
    assert width == 2 * height


def test_outline_encloses_what_is_hot() -> None:
    """What lies inside the outline is where the interpolated heatmap reaches half, to a unit of 100."""
    heatmap = np.zeros((5, 7), dtype=np.float32)
    heatmap[1:3, 2:5], heatmap[4, 0] = 1.0, 0.75
    inside = np.zeros((OUTLINE_SIDE, OUTLINE_SIDE), dtype=np.uint8)
    for part in outline_heatmap(heatmap).split("z")[:-1]:
        steps = np.array(re.findall(r"-?\d+", part), dtype=np.int32).reshape(-1, 2)
        points = np.cumsum(steps, axis=0, dtype=np.int32)
        cv2.fillPoly(inside, [points], 1)
    expected = cv2.resize(heatmap, inside.shape, interpolation=cv2.INTER_LINEAR) >= 0.5
    assert (cv2.erode(inside, np.ones((3, 3))) <= expected).all()
    assert (expected <= cv2.dilate(inside, np.ones((3, 3)))).all()
    assert inside.sum() > 1000


def test_outline_is_drawn_over_the_picture() -> None:
    """A heatmap is one line, which colors nothing; an empty one is none, and said to be empty."""
    hot, empty = np.eye(4, dtype=np.float32), np.zeros((4, 4), dtype=np.float32)
    page = read(make_content(worst=[make_example(heatmap=hot), make_example(heatmap=empty)]))
    assert [drawing["class"] for drawing in page.all("svg") if "class" in drawing] == ["heatmap"]
    assert page.all("path")[0]["d"] == outline_heatmap(hot)
    assert "Empty heatmap" in page.text
    assert outline_heatmap(empty) == ""


def test_tiles_of_photographs_stay_small() -> None:
    """Nine hundred noisy photographs fit on one sheet of a few hundred kilobytes, each in its place."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (30, 60, 3), dtype=np.uint8) // 4 + at % 7 * 25 for at in range(900)]
    sheet = build_sheet(images)
    assert sheet is not None
    assert len(sheet.address) < 700_000
    pixels = decode(sheet.address).astype(float)
    height, width = pixels.shape[0] // sheet.num_rows, pixels.shape[1] // sheet.num_columns
    for number in (0, 29, 30, 456, 899):
        row, column = divmod(number, sheet.num_columns)
        tile = pixels[row * height : (row + 1) * height, column * width : (column + 1) * width]
        assert tile.mean() == pytest.approx(images[number].mean(), abs=6)


def test_matrix_picture_separates_correct_from_mistakes() -> None:
    """In the picture of the matrix the diagonal is blue, mistakes are orange, the rest is transparent."""
    confusion = np.eye(40, dtype=np.int64)
    confusion[3, 5] = 1
    page = read(make_content(classes=[str(at) for at in range(40)], confusion=confusion))
    drawn = decode(page.all("img")[0]["src"]).astype(int)
    red_over_blue = drawn[:, :, 0] - drawn[:, :, 2]
    assert (np.diag(red_over_blue) < -50).all()
    assert red_over_blue[3, 5] > 50
    assert np.count_nonzero(red_over_blue) == 41
