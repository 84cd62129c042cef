"""The report: self-contained, safe, the same bytes every time, and right."""

import base64
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.audit.finding import FindingRow
from stages.evaluate.audit import MAX_EXAMPLES, KindOfFinding
from stages.evaluate.corruptions import list_corruptions
from stages.evaluate.intervals import Figure
from stages.evaluate.report import charts
from stages.evaluate.report.audit import MEANINGS
from stages.evaluate.report.content import ReportContent
from stages.evaluate.report.line_chart import Series, build_line_chart
from stages.evaluate.report.render import render_report
from stages.evaluate.report.sheet import build_sheet
from stages.evaluate.report.summary import render_summary
from stages.evaluate.report.wording import certainty, percent, plain
from stages.evaluate.robustness import CorruptedScore
from stages.evaluate.slices import Slice
from tests.evaluate.report_content import (
    DATASET_SHA256,
    WEIGHTS_SHA256,
    make_calibration,
    make_content,
    make_exhibit,
)
from tests.vision.documents import CALIBRATION

DASH = "\N{EN DASH}"
VOID = {"meta", "img", "input", "br", "link", "wbr"}
HOSTILE = (
    "<script>alert(1)</script>",
    "\"onload='x'",
    "new\nline",
    "\u202egnp.exe",
    "שלום",
    "</title></style>",
    "{{ 7 * 7 }}",
    " ",
    "",
)


class Page(HTMLParser):
    """What a browser would see: the elements with their attributes, and the text of each."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.words = ""
        self.script = ""
        self.feed(html)
        self.close()
        assert self.open == [], "elements left open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        self.words += " " if tag in ("dt", "dd", "p", "td", "th") else ""
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if "script" in self.open:
            self.script += data
        elif "style" not in self.open:
            self.words += data
            if {"td", "th"} & set(self.open):
                self.rows[-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(self.words.split())


def read(content: ReportContent) -> Page:
    return Page(render_report(content))


def decode(uri: str | None) -> NDArray[np.uint8]:
    """Return a data: URI's pixels, (height, width, channels), RGB."""
    assert uri is not None
    encoded = np.frombuffer(base64.b64decode(uri.split(",", 1)[1], validate=True), dtype=np.uint8)
    pixels = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED), dtype=np.uint8)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels[:, :, 2::-1]


KINDS = ("plain", "two", "one epoch", "many", "perfect", "empty class", "hostile", "single pixel", "gray")


@cache
def make_kind(kind: str) -> ReportContent:
    """Return each kind of content a report may have to cope with."""
    match kind:
        case "two":
            return make_content(classes=("a", "b"), confusion=((3, 1), (2, 4)), top_k=2)
        case "one epoch":
            return make_content(num_epochs=1)
        case "many":
            return make_many(200)
        case "perfect":
            return make_content(confusion=np.diag((4, 5, 6)))
        case "empty class":
            return make_content(confusion=((5, 0, 0), (1, 4, 0), (0, 0, 0)))
        case "hostile":
            return make_hostile()
        case "single pixel":
            return make_content(worst=[make_exhibit(np.zeros((1, 1, 3), np.uint8))])
        case "gray":
            gray = make_exhibit(np.zeros((9, 4, 1), np.uint8), heat=np.eye(3, dtype=np.float32))
            return make_content(channels=1, worst=[gray], uncertain=[gray], suspected=[gray])
    return make_content(worst=[make_exhibit()])


@cache
def render_kind(kind: str) -> str:
    return render_report(make_kind(kind))


@pytest.fixture(params=KINDS)
def html(request: pytest.FixtureRequest) -> str:
    """Return the report of each kind of content."""
    return render_kind(request.param)


def make_many(num_classes: int) -> ReportContent:
    rng = np.random.default_rng(0)
    confusion = rng.integers(0, 3, (num_classes, num_classes)) + 50 * np.eye(num_classes, dtype=np.int64)
    names = [f"{at:04d}" + "long name " * 20 for at in range(num_classes)]
    noise = rng.integers(0, 256, (60, 96, 96, 3), dtype=np.uint8)
    worst = [make_exhibit(image, path="folder/" * 500, label=names[0], predicted=names[1]) for image in noise]
    return make_content(classes=names, confusion=confusion, worst=worst, num_epochs=300, best_epoch=300)


def make_hostile() -> ReportContent:
    worst = [
        make_exhibit(path=f"{name}/\udce9.png", label=name, predicted=HOSTILE[at - 1])
        for at, name in enumerate(HOSTILE)
    ]
    confusion = np.ones((len(HOSTILE), len(HOSTILE)), dtype=np.int64)
    return make_content(classes=HOSTILE, confusion=confusion, worst=worst)


def test_needs_nothing_from_outside(html: str) -> None:
    """No address of anything but itself, and a policy that would stop the browser from following one."""
    page = Page(html)
    for _, attributes in page.elements:
        for key in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
            value = attributes.get(key)
            assert value is None or value.startswith(("data:image/", "#")), value
    without_pictures = re.sub(r"data:image/\w+;base64,[A-Za-z0-9+/=]+", "", html.replace(page.script, ""))
    without_pictures = without_pictures.replace("url()", "")
    assert not re.search(r"https?:|//|@import|url\(|fetch|XMLHttp", without_pictures)
    assert not re.search(r"https?:|import|fetch|XMLHttp|eval|innerHTML", page.script)
    policy = page.all("meta")[1]["content"] or ""
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_links_and_labels_lead_somewhere(html: str) -> None:
    """Every id stands once; every link, label and description names one that is there."""
    page = Page(html)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        named = [(attributes.get("href") or "").removeprefix("#")]
        for key in ("aria-labelledby", "aria-describedby"):
            named += (attributes.get(key) or "").split()
        assert {name for name in named if name} <= set(ids)


def test_is_well_formed_utf8(html: str) -> None:
    """Elements nest properly, and the text can be stored, file names that are not UTF-8 included."""
    assert html.startswith("<!DOCTYPE html>\n")
    Page(html)
    html.encode("utf-8")


@pytest.mark.parametrize("kind", ["plain", "hostile", "gray"])
def test_same_content_same_bytes(kind: str) -> None:
    """Two renderings are equal."""
    assert render_report(make_kind(kind)) == render_kind(kind)


def test_reader_software_finds_its_way(html: str) -> None:
    """One h1, no level left out, one main part, a scope for each table heading, words for each picture."""
    page = Page(html)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert len(page.all("main")) == 1
    assert page.all("html") == [{"lang": "en"}]
    assert all(heading.get("scope") in ("col", "row") for heading in page.all("th"))
    assert all(image.get("alt") for image in page.all("img") if image.get("class") != "heat")
    assert all(button.get("type") == "button" for button in page.all("button"))
    assert all(tile.get("aria-label") for tile in page.all("span") if tile.get("role") == "img")
    drawings = [drawing for drawing in page.all("svg") if "aria-hidden" not in drawing]
    assert len(drawings) == 4
    assert all(drawing["role"] == "img" and drawing["aria-labelledby"] for drawing in drawings)


def test_hostile_names_are_only_text() -> None:
    """Names of classes and files become neither elements nor attributes nor template code."""
    page = Page(render_kind("hostile"))
    assert len(page.all("script")) == 1
    assert not any(key.startswith("on") for _, attributes in page.elements for key in attributes)
    assert "<script>alert(1)</script> taken for" in page.text
    assert "{{ 7 * 7 }} taken for </title></style>" in page.text


def test_hostile_names_stay_in_their_place() -> None:
    """What turns the reading direction or breaks the line is shown as an escape; each name stands apart."""
    html = render_kind("hostile")
    assert not re.search("[\u202a-\u202e\u2066-\u2069\ud800-\udfff]", html)
    assert '<bdi class="name"><i>\\u202e</i>gnp.exe</bdi>' in html
    assert '<bdi class="name">new<i>\\n</i>line</bdi>' in html
    assert '<bdi class="name">שלום</bdi>' in html
    assert '<bdi class="name"><i>␠</i></bdi>' in html
    assert '<bdi class="name"><i>(empty)</i></bdi>' in html
    assert "<i>\\udce9</i>.png</bdi>" in html


def test_calibration_is_told_in_words() -> None:
    """The report says what calibration changed, what the threshold withholds, and draws both."""
    text = read(make_content()).text
    assert "miss the share of right answers by 2.0 % on average" in text
    assert "divided by the temperature 1.25, which was fitted to the validation split, it was 9.5 %." in text
    assert "For 90.0 % right answers, those below 66.7 % are withheld" in text
    assert "answers 80.0 % of the images, and 95.0 % of these answers are right." in text
    assert "threshold for 90.0 %" in text


def test_calibration_that_changed_nothing() -> None:
    """A validation split without mistakes, a threshold out of reach and one of 0 are each said."""
    uncalibrated = make_calibration(temperature=1.0, threshold=None)
    text = read(make_content(calibration=uncalibrated)).text
    assert "The validation split has no mistakes to calibrate them by." in text
    assert "No threshold made 90.0 % of the answers right on the validation split, so none is set." in text
    assert "threshold for 90.0 %" not in text
    nothing_withheld = make_calibration(threshold=CALIBRATION.thresholds[0])
    assert "none need be withheld" in read(make_content(calibration=nothing_withheld)).text


def test_verdict_counts_and_compares() -> None:
    """The first sentences say how many answers were right, and what guessing the largest class would get."""
    page = read(make_content())
    assert (
        "29 of 35 test images were answered correctly. "
        "Always answering the largest class would get 57.1 %." in page.text
    )
    assert "The hardest class is eel: 40.0 % of its images were recognised." in page.text


def test_verdict_does_not_flatter() -> None:
    """A network no better than always giving one answer is told so."""
    page = read(make_content(confusion=((0, 5, 0), (0, 20, 0), (0, 5, 0))))
    assert "That is no better than always answering the largest class, which would get 66.7 %." in page.text


def test_headline_figures() -> None:
    """The cards show the metrics given."""
    content = make_content()
    top_k = next(figure for figure in content.figures if figure.name == "top_k_accuracy")
    page = read(content)
    for words in (
        "Accuracy 82.9 %",
        "Balanced accuracy 70.0 %",
        "Macro F1 0.737",
        f"Top-2 accuracy {percent(top_k.value)}".replace("\xa0", " "),
        "0 is best; guessing evenly gets 1.099",
        "All figures, and what they mean",
        "Cohen's kappa",
    ):
        assert words in page.text


def test_top_k_of_all_classes_is_no_achievement() -> None:
    """With no more classes than k, the card says that the figure means nothing."""
    assert "Says nothing here: there are only 3 classes" in read(make_content(top_k=3)).text


def test_tells_what_was_trained_on_what() -> None:
    """Counts, image form, network, epochs, short hashes; tested weights that are not the best are named."""
    page = read(make_content(tested_epoch=3))
    for words in (
        "Training images 303",
        "Largest class eel, 102 images",
        "Smallest class cat, 100 images",
        "Validation images 30",
        "Test images 15",
        "12 × 8 px, rgb, squished to size",
        "Channels 16, 32 Kernel size 5 Dropout 0.25",
        "ToTensor, Normalize (mean 0.5, 0.5, 0.5, std 0.25, 0.25, 0.25)",
        "weights after epoch 3, not the best: by validation balanced accuracy that was epoch 1",
        f"Hash of the data {DATASET_SHA256[:12]} ",
        f"Hash of the weights {WEIGHTS_SHA256[:12]} ",
        "numpy 2.4.6, torch 2.14.1",
    ):
        assert words in page.text
    assert "weights after epoch 1, the best of 3 by validation balanced accuracy" in read(make_content()).text


def test_tells_the_parameters_of_training() -> None:
    """Keys stand as in params.yaml, the variants that were not chosen do not."""
    rows = read(make_content()).rows
    start = rows.index(["Key in params.yaml", "Value"])
    assert rows[start + 1 : start + 8] == [
        ["transforms", "RandomCrop (padding 2), ToTensor"],
        ["loss.name", "focal"],
        ["loss.class_weights", "none"],
        ["loss.focal.gamma", "2"],
        ["optimizer.name", "sgd"],
        ["optimizer.lr", "0.1"],
        ["optimizer.sgd.momentum", "0.9"],
    ]
    assert all(row[0] != "optimizer.adam.betas" for row in rows)


def test_tells_of_groups_in_the_intervals() -> None:
    """Where images belong together the note says that groups were drawn."""
    assert "(bootstrap over the test images)" in read(make_content()).text
    grouped = replace(make_content(), num_units=12)
    assert "(bootstrap over 12 groups of the 35 test images," in read(grouped).text


def test_exhibits_say_what_was_answered() -> None:
    """Right answers, mistakes and suspected labels each have their words, and the probabilities."""
    right, wrong = make_exhibit(predicted="cat"), make_exhibit()
    page = read(make_content(uncertain=[right, wrong], suspected=[make_exhibit(suggestion="eel")]))
    assert "The 2 test images whose answer had the lowest probability, right or wrong." in page.text
    assert "cat, answered correctly cat (answer and label) 98 % fox 1 % raw/cat/1.png" in page.text
    assert "1 test image may be labelled wrongly" in page.text
    assert "Labelled cat, seems eel" in page.text
    assert "arXiv:1911.00068" in page.text


def test_explanations_that_cannot_be_are_explained() -> None:
    """Without heat maps the report says why, and offers no switch; with an empty map the image says so."""
    page = read(make_content(worst=[make_exhibit()], not_explained="it ends in attention"))
    assert "cannot be shown: Grad-CAM explains networks that end in convolutions" in page.text
    assert "it ends in attention." in page.text
    assert not [element for element in page.all("fieldset") if element.get("class") == "switch"]
    empty = make_exhibit(heat=np.zeros((2, 2), dtype=np.float32))
    assert "Grad-CAM finds no place" in read(make_content(worst=[empty])).text


@pytest.mark.parametrize("not_explained", ["", "it ends in attention"])
def test_heat_maps_are_explained_once(not_explained: str) -> None:
    """Below the first heading with pictures: without mistakes that is the one of the least certain."""
    heat = None if not_explained else np.eye(2, dtype=np.float32)
    shown = [make_exhibit(heat=heat)]
    said = "What the answers rest on cannot be shown" if not_explained else "The glow marks the places"
    for worst, confusion in (([], np.diag((4, 5, 6))), (shown, ((7, 2, 1), (0, 20, 0), (0, 3, 2)))):
        text = read(
            make_content(worst=worst, uncertain=shown, confusion=confusion, not_explained=not_explained)
        ).text
        assert text.count(said) == 1
        assert "The 1 test image whose answer had the lowest probability" in text


def test_heat_is_denser_where_it_is_hotter() -> None:
    """The overlay keeps the map's shape, transparent where it is cold, densest where it is hottest."""
    heat = np.array([[0.0, 0.25, 1.0], [0.5, 0.0, 0.75]], dtype=np.float32)
    page = read(make_content(worst=[make_exhibit(heat=heat)]))
    (uri,) = [image["src"] for image in page.all("img") if image.get("class") == "heat"]
    assert uri is not None
    encoded = np.frombuffer(base64.b64decode(uri.split(",", 1)[1]), dtype=np.uint8)
    alpha = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED))[:, :, 3].astype(float)
    np.testing.assert_allclose(alpha / alpha.max(), heat, atol=0.01)
    assert 100 < alpha.max() < 230


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


def test_slices_are_told_apart_only_where_they_differ() -> None:
    """A part is lower or higher if its interval leaves out the whole; properties without parts are named."""
    slices = [
        Slice("image_size", None, (28.0, 28.0), 35, 0.829, 0.7, 0.9),
        Slice("brightness", None, (3.4, 90.0), 10, 0.5, 0.3, 0.7),
        Slice("brightness", None, (91.0, 200.0), 25, 0.9, 0.8, 0.95),
        Slice("group", "", None, 10, 1.0, 0.9, 1.0),
        Slice("group", "<b>", None, 11, 0.8, 0.7, 0.9),
        Slice("group", "small", None, 9, 0.8, 0.7, 0.9),
        Slice("group", None, None, 15, 0.8, 0.7, 0.9),
    ]
    page = read(make_content(slices=slices))
    assert "All test images are alike in image size." in page.text
    assert "1 part of fewer than ten images is not listed" in page.text
    rows = [row for row in page.rows if row[-1] in ("lower", "higher", DASH)]
    assert [(row[0], row[-1]) for row in rows if len(row) == 5] == [
        ("3 to 90 of 255", "lower"),
        ("91 to 200 of 255", DASH),
        ("no group", "higher"),
        ("<b>", DASH),
        ("all others", DASH),
    ]


def test_corruptions_stand_in_a_row_each() -> None:
    """Each corruption has its three strengths; without any the report says how to have them."""
    scores = [CorruptedScore(each, 1 - each.strength / 10, 0.1, 0.9) for each in list_corruptions()]
    page = read(make_content(corrupted=scores))
    assert ["Noise", "90.0\xa0%", "80.0\xa0%", "70.0\xa0%"] in page.rows
    assert "evaluation.corruptions: standard" in read(make_content()).text


def test_findings_are_counted_and_shown() -> None:
    """Each kind of finding has a line with its numbers and meaning, and its worst below."""
    row = FindingRow(kind="blank", path="a/<1>.png", label="a", detail="deviates by 0.2", became="used")
    page = read(make_content(findings=[KindOfFinding("blank", 1234, 3, 5, [row])]))
    assert ["Blank", "1,234", "3", "5", "Images of one colour, or nearly"] in page.rows
    assert "a/<1>.png deviates by 0.2" in page.text


def test_confusion_matrix_holds_counts_and_shares() -> None:
    """Rows are true classes; hits and mistakes differ in class, and an empty row divides nothing by zero."""
    page = read(make_content(confusion=((7, 2, 1), (0, 20, 0), (0, 0, 0))))
    assert ["cat", "7" + "70.0\xa0%", "2" + "20.0\xa0%", "1" + "10.0\xa0%"] in page.rows
    assert ["dog", "0", "20" + "100.0\xa0%", "0"] in page.rows
    assert ["eel", "0", "0", "0"] in page.rows
    cells = [
        cell.get("class") for cell in page.all("td") if cell.get("class") in ("hit", "hit strong", "miss")
    ]
    assert cells == ["hit", "miss", "miss", "hit strong"]


def test_most_confused_pairs_come_first() -> None:
    """Pairs are ordered by their number of images, then by their share of the true class."""
    page = read(make_content(confusion=((8, 2, 0), (0, 30, 2), (3, 0, 3))))
    start = page.rows.index(["True class", "Taken for", "Images", "Share of class"])
    assert page.rows[start + 1 : start + 4] == [
        ["eel", "cat", "3", "50.0\xa0%"],
        ["cat", "dog", "2", "20.0\xa0%"],
        ["dog", "eel", "2", "6.2\xa0%"],
    ]


def test_classes_stand_by_recall() -> None:
    """The class with the lowest recall is first; one without test images is last, with dashes for scores."""
    page = read(make_content(confusion=((5, 0, 0), (1, 4, 0), (0, 0, 0))))
    heading = ["Class", "Trained on", "Tested on", "Precision", "Recall", "F1", "Average precision"]
    start = page.rows.index(heading)
    assert page.rows[start + 1 : start + 4] == [
        ["dog", "101", "5", "1.000", "0.800", "0.889", "0.500"],
        ["cat", "100", "5", "0.833", "1.000", "0.909", "0.500"],
        ["eel", "102", "0", *["\N{EN DASH}"] * 4],
    ]
    values = [cell["data-value"] for cell in page.all("td") if "data-value" in cell]
    assert values[-4:] == [""] * 4


@pytest.mark.parametrize("shape", [(28, 28, 1), (28, 28, 3), (1, 1, 1), (1, 1, 3), (5, 90, 3)])
def test_pictures_are_the_pixels_given(shape: tuple[int, int, int]) -> None:
    """Small pictures come out of the report pixel by pixel, colours in their order."""
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    page = read(make_content(worst=[make_exhibit(image) for image in images], channels=shape[2]))
    for image, shown in zip(images, page.all("img"), strict=True):
        np.testing.assert_array_equal(decode(shown["src"]), image)
        assert (shown["height"], shown["width"]) == (str(shape[0]), str(shape[1]))


def test_large_pictures_are_shrunk() -> None:
    """Sixty photographs stay within a few megabytes and keep their proportions."""
    noise = np.random.default_rng(0).integers(0, 256, (224, 448, 3), dtype=np.uint8)
    html = render_report(make_content(worst=[make_exhibit(noise)] * 60))
    assert len(html) < 4_000_000
    height, width, _ = decode(Page(html).all("img")[0]["src"]).shape
    assert width == 2 * height


def test_mistakes_are_told_in_words() -> None:
    """A caption says what was taken for what, how sure the network was, and which file it is."""
    page = read(make_content(worst=[make_exhibit()]))
    assert "cat taken for dog dog (answer) 98 % fox 1 % cat (label) 1 % raw/cat/1.png" in page.text
    assert "1 of 6 mistakes, the worst first:" in page.text


def test_no_mistakes() -> None:
    """A perfect score is said in words, in every place that would list mistakes."""
    page = read(make_content(confusion=np.diag((4, 5, 6))))
    assert "All 15 test images were answered correctly." in page.text
    assert "No class was taken for another." in page.text
    assert "There are none: every test image was answered correctly." in page.text
    assert "hardest" not in page.text


def test_no_pictures_asked_for() -> None:
    """Mistakes without pictures are counted, not denied."""
    assert "6 mistakes in all; the parameters ask for no pictures" in read(make_content()).text


def test_long_paths_keep_both_ends() -> None:
    """A path too long to show keeps its beginning and its end, and more of both in its title."""
    path = "raw/" + "very/" * 300 + "end.png"
    html = render_report(make_content(worst=[make_exhibit(path=path)]))
    title = re.findall(r'class="path" dir="ltr" title="(.*?)"', html)[0]
    assert (len(title), title[:80], title[-7:]) == (160, path[:80], "end.png")
    shown = re.findall(r'class="path" dir="ltr" title[^>]*>(.*?)</bdi>', html)[0]
    assert len(shown) == 120
    assert shown.startswith("raw/very/")
    assert shown.endswith("/end.png")


def test_many_classes_are_bounded() -> None:
    """Beyond thirty classes a picture shows the matrix, and only the twenty most confused have fields."""
    html = render_kind("many")
    assert len(html.encode()) < 5_000_000
    page = Page(html)
    drawn = decode(page.all("img")[0]["src"])
    assert drawn.shape == (200, 200, 3)
    assert "The 30 most frequent of 26," in page.text
    assert len([cell for cell in page.all("td") if (cell.get("class") or "").startswith("hit")]) == 20


def make_largest() -> ReportContent:
    """Return a report of everything at its most: 100,000 images, 1,000 classes, long and hostile names."""
    rng = np.random.default_rng(0)
    num_classes = 1000
    names = [f"{at:04}" + "<&\u202e" * 80 for at in range(num_classes)]
    path = "<&\u202e/" * 1000
    labels, answers = rng.integers(0, num_classes, (2, 100_000))
    confusion = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(confusion, (labels, np.where(rng.random(100_000) < 0.5, labels, answers)), 1)
    noise = rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)
    heat = rng.random((96, 96), dtype=np.float32)
    exhibits = [
        make_exhibit(noise, path=path, label=names[0], predicted=names[1], suggestion=names[2], heat=heat)
    ] * 100
    row = FindingRow(kind="blank", path=path, label=names[0], detail=path, became="used")
    return make_content(
        classes=names,
        confusion=confusion,
        worst=exhibits,
        uncertain=exhibits,
        suspected=exhibits,
        path=path,
        gallery_image=noise,
        num_epochs=10_000,
        figures=[
            Figure(name, 0.5, 0.4, 0.6)
            for name in ("accuracy", "balanced_accuracy", "macro_f1", "top_k_accuracy", "loss")
        ],
        findings=[KindOfFinding(kind, 99, 0, 9, [row] * MAX_EXAMPLES) for kind in MEANINGS],
        slices=[Slice("group", path, None, 100, 0.5, 0.4, 0.6)] * 100,
        corrupted=[CorruptedScore(each, 0.5, 0.4, 0.6) for each in list_corruptions()],
    )


def test_the_largest_report_is_bounded() -> None:
    """100,000 images, 1,000 classes, all pictures there may be and the longest names stay within 5 MB."""
    content = make_largest()
    assert len(render_report(content).encode()) <= 5_000_000
    assert len(render_summary(content).encode()) <= 20_000


def test_matrix_picture_tells_hits_from_mistakes() -> None:
    """In the picture of the matrix, hits are blue, mistakes orange, the rest transparent."""
    confusion = np.eye(40, dtype=np.int64)
    confusion[3, 5] = 1
    page = read(make_content(classes=[str(at) for at in range(40)], confusion=confusion))
    drawn = decode(page.all("img")[0]["src"]).astype(int)
    red_over_blue = drawn[:, :, 0] - drawn[:, :, 2]
    assert (np.diag(red_over_blue) < -50).all()
    assert red_over_blue[3, 5] > 50
    assert np.count_nonzero(red_over_blue) == 41


def test_thousands_of_classes_are_bounded() -> None:
    """Two thousand classes give a matrix of at most 500 pixels a side and the 300 hardest classes."""
    content = make_content(
        classes=[f"class {at}" for at in range(2000)], confusion=np.eye(2000, dtype=np.int64)
    )
    page = read(content)
    assert decode(page.all("img")[0]["src"]).shape == (500, 500, 3)
    assert "The 300 classes with the lowest recall, of 2,000;" in page.text


def _points(chart: charts.LineChart, line: int) -> Iterator[tuple[float, float]]:
    for point in chart.lines[line].points.split():
        across, down = point.split(",")
        yield float(across), float(down)


@pytest.mark.parametrize("values", [[0.5], [0.0], [1.0, 1.0], [0.31, 0.9, 0.55], [1e-7, 3e-7]])
@pytest.mark.parametrize(("is_percent", "factor"), [(True, 1), (False, 1), (False, 4e6), (False, -2)])
def test_chart_stays_inside_its_frame(values: list[float], is_percent: bool, factor: float) -> None:
    """Lines of any range, flat or a single point, stay inside the axes; labels differ and rise."""
    values = [factor * value for value in values]
    epochs = list(range(1, len(values) + 1))
    chart = build_line_chart(
        [Series("a", "train", values), Series("b", "val", values)],
        key="k",
        title="t",
        description="d",
        meaning="m",
        epochs=epochs,
        marked_epoch=epochs[-1],
        percent=is_percent,
    )
    for across, down in _points(chart, 1):
        assert charts.LEFT <= across <= charts.RIGHT
        assert charts.TOP - 0.1 <= down <= charts.BOTTOM + 0.1
    labels = [float(tick.label.removesuffix(" %")) for tick in chart.y_ticks]
    assert 2 <= len(labels) <= 7
    assert labels == sorted(set(labels))
    if is_percent:
        assert labels[0] >= 0
        assert labels[-1] <= 100


def test_chart_measures_true() -> None:
    """Heights are in proportion to the values, and higher values stand higher."""
    chart = build_line_chart(
        [Series("a", "val", [1.0, 0.0, 4.0])],
        key="k",
        title="t",
        description="d",
        meaning="m",
        epochs=[1, 2, 3],
        marked_epoch=2,
        percent=False,
    )
    (x1, y1), (x2, y2), (x3, y3) = _points(chart, 0)
    assert y2 - y3 == pytest.approx(4 * (y2 - y1))
    assert y1 < y2
    assert x2 - x1 == pytest.approx(x3 - x2)
    assert chart.marked_x == f"{x2:.1f}"


@pytest.mark.parametrize("num_epochs", [1, 2, 12, 13, 90, 1000])
def test_epoch_labels_do_not_crowd(num_epochs: int) -> None:
    """However many epochs, the axis names the first one and at most a dozen."""
    page = render_report(make_content(num_epochs=num_epochs))
    labels = re.findall(rf'y="{charts.BOTTOM + 20}"[^>]*>(\d+)<', page)
    assert labels[0] == "1"
    assert len(labels) // 2 <= 12


def test_resumed_history_may_begin_late() -> None:
    """The epochs are named by their numbers, not by their place in the list."""
    content = make_content(num_epochs=6, best_epoch=5)
    late = content.history.model_copy(update={"epochs": content.history.epochs[3:]})
    html = render_report(replace(content, history=late))
    assert re.findall(rf'y="{charts.BOTTOM + 20}"[^>]*>(\d+)<', html)[:3] == ["4", "5", "6"]


@pytest.mark.parametrize(
    ("fraction", "written"),
    [
        (0, "0.0 %"),
        (0.0004, "< 0.1 %"),
        (0.5, "50.0 %"),
        (0.9996, "> 99.9 %"),
        (0.9994, "99.9 %"),
        (1, "100.0 %"),
    ],
)
def test_percentages_do_not_round_to_certainty(fraction: float, written: str) -> None:
    """Only none is 0 % and only all is 100 %."""
    assert percent(fraction).replace("\xa0", " ") == written


@pytest.mark.parametrize(
    ("probability", "written"),
    [
        (0.976, "98 %"),
        (0.9962, "99.6 %"),
        (0.99999, "> 99.9 %"),
        (0.004, "0.4 %"),
        (1e-9, "< 0.1 %"),
        (1.0, "100.0 %"),
    ],
)
def test_certainty_is_exact_where_it_matters(probability: float, written: str) -> None:
    """Near none and near all there is one decimal, between them there is none."""
    assert certainty(probability).replace("\xa0", " ") == written


def test_plain_names_hide_nothing() -> None:
    """In an attribute, too, control characters are visible, and nothing is empty."""
    assert plain("a\u202eb\n") == "a\\u202eb\\n"
    assert plain("") == "(empty)"
