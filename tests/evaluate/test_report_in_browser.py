"""The report in a real browser: nothing fails or is fetched, sorting and switching work, phones show it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stages.evaluate.report import ReportContent, render_report
from tests.evaluate.chromium import Chromium
from tests.evaluate.report_content import make_content, make_mistake

CONTENT = {
    "plain": make_content(worst=[make_mistake()] * 5),
    "wide": make_content(
        classes=[f"class of a long name {at}" for at in range(30)],
        confusion=np.ones((30, 30), dtype=np.int64),
        worst=[make_mistake(path="folder" * 60, label="x" * 250)],
    ),
    "many": make_content(
        classes=[f"{at}_" + "name" * 60 for at in range(200)], confusion=np.ones((200, 200), dtype=np.int64)
    ),
    "hostile": make_content(
        classes=(
            "<script>document.title = 'taken over'</script>",
            '"><img src=x onerror=alert(1)>',
            "\u202e\n",
        ),
        worst=[make_mistake(path="<script>document.title = 'taken over'</script>")],
    ),
}
CLASSES = "[...document.querySelectorAll('.sortable tbody tr')].map(row => row.cells[0].innerText)"
SORTED_BY = "[...document.querySelectorAll('[aria-sort]')].map(th => [th.innerText, th.ariaSort])"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium here; apt-get install chromium brings it")
    with Chromium(program, profile=tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def write(content: ReportContent, folder: Path) -> Path:
    file = folder / "report.html"
    file.write_text(render_report(content), encoding="utf-8")
    return file


@pytest.mark.parametrize("kind", CONTENT)
@pytest.mark.parametrize("width_px", [1280, 390])
def test_opens_without_complaint(chromium: Chromium, tmp_path: Path, kind: str, width_px: int) -> None:
    """No script error, no request but the file itself, no sideways scrolling on a desk or a phone."""
    chromium.complaints.clear()
    chromium.requests.clear()
    file = write(CONTENT[kind], tmp_path)
    chromium.open(file, width_px=width_px)
    assert chromium.complaints == []
    assert {address for address in chromium.requests if not address.startswith("data:")} == {file.as_uri()}
    assert chromium.evaluate("document.title").startswith("Test report: ")
    assert chromium.evaluate("document.documentElement.scrollWidth") <= width_px
    assert chromium.evaluate("[...document.images].every(image => image.naturalWidth > 0)")


def test_table_sorts_by_click(chromium: Chromium, tmp_path: Path) -> None:
    """The first click on a heading sorts up, the second down; the heading says so."""
    chromium.open(write(CONTENT["plain"], tmp_path))
    assert chromium.evaluate(CLASSES) == ["eel", "cat", "dog"]
    chromium.click(".sortable th:first-child button")
    assert chromium.evaluate(CLASSES) == ["cat", "dog", "eel"]
    chromium.click(".sortable th:first-child button")
    assert chromium.evaluate(CLASSES) == ["eel", "dog", "cat"]
    assert chromium.evaluate(SORTED_BY) == [["Class", "descending"]]


def test_table_sorts_by_keyboard(chromium: Chromium, tmp_path: Path) -> None:
    """A heading reached with the tab key sorts when Enter is pressed, and keeps the focus."""
    chromium.open(write(CONTENT["plain"], tmp_path))
    chromium.evaluate("document.querySelector('.sortable th:nth-child(2) button').focus()")
    chromium.press("Tab", code=9)
    chromium.press("Enter", code=13, text="\r")
    assert chromium.evaluate(SORTED_BY) == [["Tested on", "ascending"]]
    assert chromium.evaluate(CLASSES) == ["eel", "cat", "dog"]
    assert chromium.evaluate("document.activeElement.innerText") == "Tested on"


def test_scores_without_meaning_stay_last(chromium: Chromium, tmp_path: Path) -> None:
    """A class without test images is at the end whichever way the table is sorted."""
    chromium.open(write(make_content(confusion=((5, 0, 0), (1, 4, 0), (0, 0, 0))), tmp_path))
    assert chromium.evaluate(CLASSES) == ["dog", "cat", "eel"]
    chromium.click(".sortable th:nth-child(5) button")
    assert chromium.evaluate(CLASSES) == ["cat", "dog", "eel"]


def test_matrix_switches_between_counts_and_shares(chromium: Chromium, tmp_path: Path) -> None:
    """The fields show either numbers of images or shares of the row, never both."""
    chromium.open(write(CONTENT["plain"], tmp_path))
    assert chromium.evaluate("document.querySelector('.matrix td').innerText") == "7"
    chromium.click("#show-shares")
    assert chromium.evaluate("document.querySelector('.matrix td').innerText") == "70.0\xa0%"


def test_follows_the_reader_into_the_dark(chromium: Chromium, tmp_path: Path) -> None:
    """Where the reader prefers dark, paper is dark and ink light."""
    file = write(CONTENT["plain"], tmp_path)
    brightness = []
    for dark in (False, True):
        chromium.open(file, dark=dark)
        channels = chromium.evaluate(
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
        )
        brightness.append(sum(channels) / 3)
    assert brightness[0] > 240
    assert brightness[1] < 30
