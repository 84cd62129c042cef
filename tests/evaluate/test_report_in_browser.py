"""The report in a real browser: nothing fails or is fetched, sorting and switching work, phones show it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from stages.evaluate.report.content import ReportContent
from stages.evaluate.report.render import render_report
from stages.evaluate.subgroups import Subgroup
from stages.vision.binomial import Interval
from tests.evaluate.chromium import Chromium
from tests.evaluate.report_content import make_content, make_example

CONTENT = {
    "plain": make_content(
        worst=[make_example(heatmap=np.eye(4, dtype=np.float32))] * 5,
        uncertain=[make_example(predicted="cat"), make_example(np.zeros((20, 9, 3), np.uint8))],
        suspected=[make_example(suggestion="eel")],
        subgroups=[
            Subgroup("brightness", None, (3.0, 90.5), 20, 0.5, Interval(0.3, 0.7), False),
            Subgroup("brightness", None, (91.0, 200.0), 15, 0.9, Interval(0.85, 0.99), False),
        ],
    ),
    "wide": make_content(
        classes=[f"class of a long name {at}" for at in range(30)],
        confusion=np.ones((30, 30), dtype=np.int64),
        worst=[make_example(path="folder" * 60, label="x" * 250)],
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
        worst=[make_example(path="<script>document.title = 'taken over'</script>")],
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
def test_opens_without_errors(chromium: Chromium, tmp_path: Path, kind: str, width_px: int) -> None:
    """No script error, no request but the file itself, no sideways scrolling on a desktop or a phone."""
    chromium.errors.clear()
    chromium.requests.clear()
    file = write(CONTENT[kind], tmp_path)
    chromium.open(file, width_px=width_px)
    assert chromium.errors == []
    assert {address for address in chromium.requests if not address.startswith("data:")} == {file.as_uri()}
    assert chromium.evaluate("document.title").startswith("Test report: ")
    assert chromium.evaluate("document.documentElement.scrollWidth") <= width_px
    assert chromium.evaluate("[...document.images].every(image => image.naturalWidth > 0)")


# Words in tables that are broken over more than one line.
BROKEN_WORDS = """
(() => {
  document.querySelectorAll("details").forEach(part => { part.open = true; });
  const broken = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode;
    if (!text.parentElement.closest("tr")) continue;
    for (const word of text.data.matchAll(/[^\\s-]+/g)) {
      const range = document.createRange();
      range.setStart(text, word.index);
      range.setEnd(text, word.index + word[0].length);
      const start = getComputedStyle(text.parentElement).writingMode === "horizontal-tb" ? "top" : "left";
      if (new Set([...range.getClientRects()].map(part => part[start])).size > 1) broken.push(word[0]);
    }
  }
  return broken;
})()
"""


@pytest.mark.parametrize("width_px", [1280, 390])
def test_no_word_of_a_table_is_broken(chromium: Chromium, tmp_path: Path, width_px: int) -> None:
    """Not on a phone either: a column keeps the width of its longest word, and the table can be scrolled."""
    classes = ("golden retriever", "Straßenbahn", "Staffordshire bullterrier")
    parts = [Subgroup("label", name, None, 20, 0.5, Interval(0.3, 0.7), False) for name in classes]
    chromium.open(write(make_content(classes=classes, subgroups=parts), tmp_path), width_px=width_px)
    assert chromium.evaluate(BROKEN_WORDS) == []


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
    assert chromium.evaluate(SORTED_BY) == [["Test images", "ascending"]]
    assert chromium.evaluate(CLASSES) == ["eel", "cat", "dog"]
    assert chromium.evaluate("document.activeElement.innerText") == "Test images"


def test_undefined_scores_stay_last(chromium: Chromium, tmp_path: Path) -> None:
    """A class without test images is at the end whichever way the table is sorted."""
    chromium.open(write(make_content(confusion=((5, 0, 0), (1, 4, 0), (0, 0, 0))), tmp_path))
    assert chromium.evaluate(CLASSES) == ["dog", "cat", "eel"]
    chromium.click(".sortable th:nth-child(5) button")
    assert chromium.evaluate(CLASSES) == ["cat", "dog", "eel"]


def test_matrix_switches_between_counts_and_percentages(chromium: Chromium, tmp_path: Path) -> None:
    """The cells show either numbers of images or percentages of the row, never both."""
    chromium.open(write(CONTENT["plain"], tmp_path))
    assert chromium.evaluate("document.querySelector('.matrix tbody td').innerText") == "7"
    chromium.click("#show-percent")
    assert chromium.evaluate("document.querySelector('.matrix tbody td').innerText") == "70.0\xa0%"


PANEL = "document.getElementById('cell-images')"
SHOWN = f"[{PANEL}.hidden, {PANEL}.innerText.split('\\n')[0], {PANEL}.querySelectorAll('li').length]"
PRESSED = "[...document.querySelectorAll('[aria-pressed=true]')].map(button => button.dataset.cell)"


def test_a_cell_shows_its_images(chromium: Chromium, tmp_path: Path) -> None:
    """A click on a number shows the images that it counts; another click shows others instead."""
    chromium.open(write(CONTENT["plain"], tmp_path))
    assert chromium.evaluate(f"{PANEL}.hidden")
    chromium.click("[data-cell='0-1']")
    assert chromium.evaluate(SHOWN) == [False, "cat predicted as dog", 2]
    assert chromium.evaluate(PRESSED) == ["0-1", "0-1"]  # in the matrix and among the pairs
    assert "2 images shown" in chromium.evaluate("document.getElementById('cell-status').innerText")
    chromium.click(".pairs [data-cell='2-1']")
    assert chromium.evaluate(SHOWN) == [False, "eel predicted as dog", 2]
    assert chromium.evaluate(PRESSED) == ["2-1", "2-1"]
    chromium.click("[data-cell='1-1']")
    assert chromium.evaluate(SHOWN) == [False, "dog, classified correctly", 2]


def test_tiles_are_the_images_of_their_cell(chromium: Chromium, tmp_path: Path) -> None:
    """A cell shows its own part of the one picture that holds them all, pixel by pixel."""
    content = CONTENT["plain"]
    chromium.open(write(content, tmp_path), width_px=900)
    for (label, predicted), shown in content.examples.cells.items():
        chromium.click(f".matrix [data-cell='{label}-{predicted}']")
        left, top, width, height = chromium.evaluate(
            "(() => { const r = document.querySelector('.cell-images .tile').getBoundingClientRect(); "
            "return [r.x + scrollX, r.y + scrollY, r.width, r.height]; })()"
        )
        shot = cv2.imdecode(np.frombuffer(chromium.screenshot(), dtype=np.uint8), cv2.IMREAD_GRAYSCALE)
        assert shot is not None
        tile = shot[round(top) + 3 : round(top + height) - 3, round(left) + 3 : round(left + width) - 3]
        assert (tile == shown[0].image[0, 0, 0]).all()
        assert width / height == pytest.approx(12 / 8, rel=0.02)


def test_the_matrix_is_operated_by_keyboard(chromium: Chromium, tmp_path: Path) -> None:
    """The matrix is one tab stop; arrows go to the next cell with images, Enter shows them."""
    chromium.open(write(CONTENT["plain"], tmp_path))
    assert chromium.evaluate("document.querySelectorAll('.matrix td button[tabindex=\"0\"]').length") == 1
    chromium.evaluate("document.querySelector('.matrix .scroll').focus()")
    chromium.press("Tab", code=9)
    focus = "document.activeElement.dataset.cell"
    assert chromium.evaluate(focus) == "0-0"
    chromium.press("ArrowRight", code=39)
    chromium.press("ArrowRight", code=39)
    assert chromium.evaluate(focus) == "0-2"
    chromium.press("ArrowDown", code=40)
    assert chromium.evaluate(focus) == "2-2"  # dog was never predicted as eel
    chromium.press("ArrowLeft", code=37)
    assert chromium.evaluate(focus) == "2-1"
    chromium.press("ArrowLeft", code=37)
    assert chromium.evaluate(focus) == "2-1"  # eel was never predicted as cat: there is no cell further on
    chromium.press("Enter", code=13, text="\r")
    assert chromium.evaluate(SHOWN) == [False, "eel predicted as dog", 2]
    assert chromium.evaluate(focus) == "2-1"
    assert chromium.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_every_cell_and_pair_has_its_images(chromium: Chromium, tmp_path: Path) -> None:
    """With many classes and with hostile names, too, each button finds images to show."""
    for kind in ("many", "hostile"):
        chromium.open(write(CONTENT[kind], tmp_path))
        numbers = chromium.evaluate(
            "[...document.querySelectorAll('button[data-cell]')].map(button => "
            f"(button.click(), {PANEL}.querySelectorAll('li').length))"
        )
        assert len(numbers) >= 9
        assert min(numbers) > 0
        assert chromium.evaluate("document.title").startswith("Test report")


def test_heatmaps_are_switched_on(chromium: Chromium, tmp_path: Path) -> None:
    """The image is alone at first; the outline lies exactly over it when it is switched on."""
    heatmap = np.eye(4, dtype=np.float32)
    chromium.open(write(make_content(worst=[make_example(heatmap=heatmap)]), tmp_path))
    visible = "document.querySelector('#worst .heatmap').checkVisibility()"
    assert not chromium.evaluate(visible)
    chromium.click("#worst .switch label:last-child input")
    assert chromium.evaluate(visible)
    boxes = chromium.evaluate(
        "[...document.querySelectorAll('#worst .picture > *')]"
        ".map(image => JSON.stringify(image.getBoundingClientRect()))"
    )
    assert len(boxes) == 2
    assert boxes[0] == boxes[1]
    chromium.press("ArrowLeft", code=37)
    assert not chromium.evaluate(visible)


def test_pictures_are_enlarged(chromium: Chromium, tmp_path: Path) -> None:
    """A click opens a picture in a dialog, arrows go on to the next of its section, Escape closes it."""
    chromium.open(write(CONTENT["plain"], tmp_path))
    is_open = "document.getElementById('enlarged').open"
    caption = "document.querySelector('#enlarged figcaption p').innerText"
    width = "document.querySelector('#enlarged img').getBoundingClientRect().width"
    chromium.click("#uncertain .picture")
    assert chromium.evaluate(is_open)
    assert chromium.evaluate(width) > 400
    assert chromium.evaluate(caption) == "cat, classified correctly"
    chromium.press("ArrowRight", code=39)
    assert chromium.evaluate(caption) == "cat predicted as dog"
    chromium.press("Escape", code=27)
    assert not chromium.evaluate(is_open)


def test_the_pointer_names_the_dots_of_the_overview(chromium: Chromium, tmp_path: Path) -> None:
    """Over the picture of many classes the page says which two classes a dot is, and how many images."""
    confusion = 3 * np.eye(40, dtype=np.int64)
    confusion[3, 5] = 1
    names = [f"class {at}" for at in range(40)]
    chromium.open(write(make_content(classes=names, confusion=confusion), tmp_path))
    said = []
    for label, predicted in ((3, 5), (3, 3), (0, 39)):
        x, y = chromium.evaluate(
            "(() => { const p = document.querySelector('.overview img'); "
            "p.scrollIntoView({behavior: 'instant'}); const r = p.getBoundingClientRect(); "
            f"return [r.x + r.width * {(predicted + 0.5) / 40}, r.y + r.height * {(label + 0.5) / 40}]; }})()"
        )
        chromium.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        said.append(chromium.evaluate("document.querySelector('.pointed').textContent"))
    assert said == [
        "class 3 predicted as class 5: 1 image",
        "class 3, classified correctly: 3 images",
        "class 0 predicted as class 39: 0 images",
    ]


def test_follows_dark_mode(chromium: Chromium, tmp_path: Path) -> None:
    """If the reader prefers dark, the page is dark and the text light."""
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
