"""The report: self-contained, safe, the same bytes every time, and correct."""

import re
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from schemas.audit.finding import FindingRow
from stages.evaluate.calibration import Share
from stages.evaluate.corruptions import CorruptedAccuracy, list_corruptions
from stages.evaluate.loading import MAX_EXAMPLES, AuditFindings
from stages.evaluate.metrics import Estimate, LeakReport
from stages.evaluate.report.content import ReportContent, describe_calibration, describe_selective
from stages.evaluate.report.render import render_report
from stages.evaluate.report.summary import render_summary
from stages.evaluate.subgroups import Subgroup
from stages.pages.wording import FINDING_MEANINGS, percent
from stages.vision.binomial import Interval
from tests.evaluate.report_content import (
    DATASET_SHA256,
    WEIGHTS_SHA256,
    make_calibration,
    make_content,
    make_example,
    make_label_errors,
)
from tests.evaluate.report_page import Page, decode, read

DASH = "\N{EN DASH}"
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
            return make_content(worst=[make_example(np.zeros((1, 1, 3), np.uint8))])
        case "gray":
            gray = make_example(np.zeros((9, 4, 1), np.uint8), heatmap=np.eye(3, dtype=np.float32))
            return make_content(channels=1, worst=[gray], uncertain=[gray], suspected=[gray])
    return make_content(worst=[make_example()])


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
    worst = [make_example(image, path="folder/" * 500, label=names[0], predicted=names[1]) for image in noise]
    return make_content(classes=names, confusion=confusion, worst=worst, num_epochs=300, best_epoch=300)


def make_hostile() -> ReportContent:
    worst = [
        make_example(path=f"{name}/\udce9.png", label=name, predicted=HOSTILE[at - 1])
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
    assert all(heading.get("scope") in ("col", "colgroup", "row") for heading in page.all("th"))
    assert all(image.get("alt") for image in page.all("img"))
    assert all(button.get("type") == "button" for button in page.all("button"))
    assert all(tile.get("aria-label") for tile in page.all("span") if tile.get("role") == "img")
    drawings = [drawing for drawing in page.all("svg") if "aria-hidden" not in drawing]
    assert len(drawings) == 7
    assert all(drawing["role"] == "img" and drawing["aria-labelledby"] for drawing in drawings)


def test_landmarks_have_names_of_their_own(html: str) -> None:
    """No two sections or regions are named alike, or by the same heading."""
    page = Page(html)
    landmarks = [
        attributes.get("aria-labelledby") or attributes.get("aria-label")
        for tag, attributes in page.elements
        if tag in ("section", "nav") or attributes.get("role") == "region"
    ]
    assert None not in landmarks
    assert len(landmarks) == len(set(landmarks)) == 14


def test_hostile_names_are_only_text() -> None:
    """Names of classes and files become neither elements nor attributes nor template code."""
    page = Page(render_kind("hostile"))
    assert len(page.all("script")) == 1
    assert not any(key.startswith("on") for _, attributes in page.elements for key in attributes)
    assert "<script>alert(1)</script> predicted as" in page.text
    assert "{{ 7 * 7 }} predicted as </title></style>" in page.text


def test_hostile_names_stay_in_their_place() -> None:
    """What turns the reading direction or breaks the line is shown as an escape, in a bdi of its own."""
    html = render_kind("hostile")
    assert not re.search("[\u202a-\u202e\u2066-\u2069\ud800-\udfff]", html)
    assert '<bdi class="name"><i>\\u202e</i>gnp.exe</bdi>' in html
    assert '<bdi class="name">new<i>\\n</i>line</bdi>' in html
    assert '<bdi class="name">שלום</bdi>' in html
    assert '<bdi class="name"><i>␠</i></bdi>' in html
    assert '<bdi class="name"><i>(empty)</i></bdi>' in html
    assert "<i>\\udce9</i>.png</bdi>" in html


def test_calibration_is_described() -> None:
    """The report says what calibration changed and what the threshold rejects, and draws both."""
    text = read(make_content()).text
    assert (
        "the mean gap between confidence and accuracy, is 2.0 % (95 % confidence interval: 0.0 % to 5.0 %)"
        in text
    )
    assert "On as many images, a calibrated network shows up to 4.0 % by chance." in text
    assert "Before temperature scaling it was 9.5 %: better here (temperature 1.25" in text
    assert (
        "The validation split promises 90.0 % accuracy (confidence 80 %) for predictions with a probability "
        "of at least 0.6667. On the test split this keeps 80.0 % of the images, at 95.0 % accuracy (91.0 % "
        "to 97.0 %)."
    ) in text
    assert "threshold for 90.0 % accuracy" in text
    assert "90.0 % 92.0 % 89.0 % to 94.0 % 1.25" in text


def test_what_calibration_did_not_reach() -> None:
    """A temperature that stays, a target and sets out of reach are each stated."""
    calibration = make_calibration(temperature=1.0, threshold=None, why_no_sets="12 images are too few")
    text = read(make_content(calibration=calibration)).text
    assert "The validation split does not show that the probabilities are wrong" in text
    assert (
        "19 validation images are too few to promise 90 % accuracy (confidence 80 %). So no threshold" in text
    )
    assert "threshold for 90.0 % accuracy" not in text
    assert "12 images are too few." in text


def test_temperature_that_did_harm_is_called_worse() -> None:
    """Scaling that raises the error on the test split is not praised."""
    good = make_calibration()
    swapped = replace(good, before=good.after, after=good.before)
    assert "it was 2.0\N{NO-BREAK SPACE}%: worse here" in describe_calibration(swapped)


def test_broken_promise_is_named() -> None:
    """An accuracy whose whole interval is below the target is not passed over."""
    selective = replace(make_calibration().selective, accuracy=Share(0.8, 0.75, 0.85))
    assert "85.0\N{NO-BREAK SPACE}%): the promise is broken here." in describe_selective(selective)


def test_verdict_counts_and_compares() -> None:
    """The first sentences give the number of correct predictions and the accuracy of the largest class."""
    page = read(make_content())
    assert (
        "29 of 35 test images are classified correctly. Always predicting dog would give 57.1 %." in page.text
    )


@pytest.mark.parametrize(
    ("confusion", "words"),
    [
        (
            ((0, 5, 0), (0, 20, 0), (0, 5, 0)),
            "not distinguishable from always predicting dog, which gives 66.7",
        ),
        (
            ((1, 1, 1), (1, 14, 4), (0, 3, 5)),
            "not distinguishable from always predicting dog, which gives 63.3",
        ),
        (((5, 0, 0), (19, 1, 0), (0, 0, 5)), "worse than always predicting dog, which gives 66.7"),
        (((9, 1, 0), (1, 9, 0), (0, 0, 10)), "Always predicting one class would give 33.3"),
    ],
)
def test_verdict_does_not_flatter(confusion: tuple[tuple[int, ...], ...], words: str) -> None:
    """A network is better than a constant prediction only if the interval of its accuracy says so."""
    content = make_content(confusion=confusion)
    assert words in read(content).text
    assert words.replace("dog", "`dog`") in render_summary(content)


def test_says_what_was_trained_on_what() -> None:
    """Below the title stand the images, the network and the epoch."""
    words = "348 images of 3 classes (data set dddddddddddd) · cnn · epoch 1 of 3"
    assert words in read(make_content()).text


@pytest.mark.parametrize("kind", KINDS)
def test_navigation_names_the_headings(kind: str) -> None:
    """The links are the headings of the sections, in the order of the page."""
    html = render_kind(kind)
    headings = re.findall(r'<section id="([\w-]+)"[^>]*>\s*<h2[^>]*>(.*?)</h2>', html)
    navigation = html[html.index("<nav") : html.index("</nav>")]
    assert re.findall(r'<a href="#([\w-]+)">(.*?)</a>', navigation) == headings


@pytest.mark.parametrize("kind", KINDS)
def test_no_table_of_a_single_row(kind: str) -> None:
    """What would be a table of fewer than two rows is a sentence."""
    tables = re.findall(r"<tbody>(.*?)</tbody>", render_kind(kind), flags=re.DOTALL)
    assert min(table.count("<tr") for table in tables) > 1


def test_one_of_a_kind_is_a_sentence() -> None:
    """One confused pair, one finding and one subgroup that is large enough are not tables."""
    subgroups = [
        Subgroup("brightness", None, (3.0, 90.0), 20, 0.5, Interval(0.3, 0.7), False),
        Subgroup("brightness", None, (91.0, 200.0), 5, 0.9, Interval(0.8, 0.95), False),
    ]
    row = FindingRow(kind="blank", path="a.png", label="a", detail="flat", became="used")
    content = make_content(
        confusion=np.diag((4, 5, 6)) + np.eye(3, k=2, dtype=np.int64),
        subgroups=subgroups,
        findings=[AuditFindings("blank", 1234, 3, 5, [row])],
    )
    text = read(content).text
    assert "cat predicted as eel: 1 image, 20.0 % of the class. It is the only pair." in text
    assert "3 to 90 of 255: 50.0 % of 20 images (30.0 % to 70.0 %)." in text
    assert "Blank: 1,234 found, 3 left out, 5 in the test split." in text


@pytest.mark.parametrize(
    ("leaks", "told"),
    [
        (LeakReport({"copy": 15}, 0.5), "15 of 35 test images have a copy in training or validation; "),
        (LeakReport({"copy": 15}, 0.5), "accuracy without them is 50.0 %."),
        (
            LeakReport({"copy": 1, "group": 2}, 0.25),
            "3 of 35 test images have a copy (1), an image of their ",
        ),
        (LeakReport({"group": 35}, None), "or validation, so nothing is known of new images."),
    ],
)
def test_verdict_tells_of_leaks(leaks: LeakReport, told: str) -> None:
    """Page and summary say how many test images training knew, and what the accuracy is without them."""
    content = make_content(leaks=leaks)
    assert told in read(content).text
    assert told in render_summary(content)


def test_headline_metrics() -> None:
    """The cards show the metrics given."""
    content = make_content()
    top_k = next(each for each in content.estimates if each.name == "top_k_accuracy")
    page = read(content)
    for words in (
        "Accuracy 82.9 %",
        "Balanced accuracy 70.0 %",
        "Macro F1 0.737",
        f"Top-2 accuracy {percent(top_k.value)}".replace("\xa0", " "),
        "0 is best; uniform guessing gives 1.099",
        "All metrics and what they mean",
        "Cohen's kappa",
    ):
        assert words in page.text


def test_top_k_of_all_classes_is_no_achievement() -> None:
    """With no more classes than k, it is left out, and a card shows the ROC AUC instead."""
    content = make_content(top_k=3)
    html = render_report(content)
    cards = html.split('<dl class="cards">')[1].split("</dl>")[0]
    titles = ["Accuracy", "Balanced accuracy", "Macro F1", "ROC AUC", "Log loss"]
    assert re.findall("<dt>(.*?)</dt>", cards) == titles
    assert "Top-3 accuracy" not in html + render_summary(content)


def test_run_details() -> None:
    """Counts, image size, network, epochs, short hashes; a checkpoint that is not the best is called that."""
    page = read(make_content(tested_epoch=3))
    for words in (
        "Training images 303",
        "Largest class eel, 102 images",
        "Smallest class cat, 100 images",
        "Validation images 30",
        "Test images 15",
        "12 × 8 px, rgb, stretched to fit",
        "Channels 16, 32 Kernel size 5 Dropout 0.25",
        "ToTensor, Normalize (mean 0.5, 0.5, 0.5, std 0.25, 0.25, 0.25)",
        "Checkpoint epoch 3; the best by validation balanced accuracy is epoch 1",
        f"Dataset hash {DATASET_SHA256[:12]} ",
        f"Weights hash {WEIGHTS_SHA256[:12]} ",
        "numpy 2.4.6, torch 2.14.1",
    ):
        assert words in page.text
    assert "epoch 1, the best of 3 by validation balanced accuracy" in read(make_content()).text


def test_training_parameters() -> None:
    """Keys are those of params.yaml; variants that were not chosen are left out."""
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


def test_intervals_say_what_is_one_observation() -> None:
    """If images form groups, the note says so; where there are no intervals it says why."""
    assert "over 12 groups of the 35 test images" in read(replace(make_content(), num_groups=12)).text
    assert "groups of" not in read(make_content()).text
    perfect = read(make_content(confusion=np.diag((4, 5, 6)))).text
    assert "Some metrics have none: there are too few mistakes" in perfect
    cards = [
        Estimate(name, 0.5, Interval(0.4, 0.6))
        for name in ("accuracy", "balanced_accuracy", "macro_f1", "top_k_accuracy", "log_loss")
    ]
    assert "Some metrics have none" not in read(make_content(estimates=cards)).text


def test_the_hardest_class_is_named_only_where_there_is_one() -> None:
    """Its recall stands beside its interval."""
    page = read(make_content(hardest=2))
    assert "The hardest class is eel, with a recall of 40.0 % (25.0 % to 75.0 %)." in page.text
    assert "hardest" not in read(make_content()).text


def test_examples_say_what_was_predicted() -> None:
    """Correct predictions, mistakes and suspected labels each have a caption, and the probabilities."""
    correct, wrong = make_example(predicted="cat"), make_example()
    page = read(
        make_content(
            uncertain=[correct, wrong], suspected=[make_example(suggestion="eel")], sample=[correct, wrong]
        )
    )
    assert "The 2 test images with the lowest confidence that are not shown above, whether" in page.text
    assert "2 test images drawn at random from those not shown above" in page.text
    assert "cat, classified correctly cat (predicted, label) 98 % fox 1 % raw/cat/1.png" in page.text
    assert "Test images whose label may be wrong: 1; about 67 % of such labels are wrong." in page.text
    assert "Labeled cat, looks like eel" in page.text


def test_suspected_labels_are_marked_where_they_are_shown() -> None:
    """An image that is among the worst mistakes is not shown again; there it is marked."""
    worst = [make_example(suggestion="dog"), make_example(suggestion="eel"), make_example()]
    content = make_content(worst=worst)
    text = read(replace(content, examples=replace(content.examples, label_errors=make_label_errors(2)))).text
    assert "All of them are among the worst mistakes and marked there." in text
    assert text.count("Suspected label error ") == 1
    assert text.count("Suspected label error: looks like eel") == 1


def test_missing_heatmaps_are_explained() -> None:
    """Without heatmaps the report says why, and offers no switch; an empty heatmap is labeled."""
    page = read(make_content(worst=[make_example()], why_no_heatmaps="it has no feature map"))
    assert "There are no Grad-CAM heatmaps for this network, since it has no feature map." in page.text
    assert not [element for element in page.all("fieldset") if element.get("class") == "switch"]
    empty = make_example(heatmap=np.zeros((2, 2), dtype=np.float32))
    assert "Empty heatmap" in read(make_content(worst=[empty])).text


@pytest.mark.parametrize("why_no_heatmaps", ["", "it has no feature map"])
def test_heatmaps_are_explained_once(why_no_heatmaps: str) -> None:
    """Below the first heading with pictures: without mistakes that is the one of the least confident."""
    heatmap = None if why_no_heatmaps else np.eye(2, dtype=np.float32)
    shown = [make_example(heatmap=heatmap)]
    words = "There are no Grad-CAM heatmaps" if why_no_heatmaps else "The outline encloses the regions"
    for worst, confusion in (([], np.diag((4, 5, 6))), (shown, ((7, 2, 1), (0, 20, 0), (0, 3, 2)))):
        text = read(
            make_content(worst=worst, uncertain=shown, confusion=confusion, why_no_heatmaps=why_no_heatmaps)
        ).text
        assert text.count(words) == 1
        assert "The 1 test image with the lowest confidence" in text


def test_subgroups_are_compared() -> None:
    """A subgroup that differs is marked as lower or higher; others are not marked."""
    interval = Interval(0.3, 0.9)
    subgroups = [
        Subgroup("image_size", None, (28.0, 28.0), 35, 0.829, interval, False),
        Subgroup("brightness", None, (3.4, 90.0), 10, 0.5, interval, True),
        Subgroup("brightness", None, (91.0, 200.0), 25, 0.9, interval, False),
        Subgroup("group", "", None, 10, 1.0, interval, True),
        Subgroup("group", "<b>", None, 11, 0.8, interval, False),
        Subgroup("group", "small", None, 9, 0.8, interval, False),
        Subgroup("group", None, None, 15, 0.8, interval, False),
    ]
    page = read(make_content(subgroups=subgroups))
    assert "The same for all test images: image size." in page.text
    assert "Not listed: 1 subgroup of fewer than 10 images" in page.text
    rows = [row for row in page.rows if row[-1] in ("lower", "higher", DASH)]
    assert [(row[0], row[-1]) for row in rows if len(row) == 5] == [
        ("3 to 90 of 255", "lower"),
        ("91 to 200 of 255", DASH),
        ("no group", "higher"),
        ("<b>", DASH),
        ("all others", DASH),
    ]


def test_corruptions_have_a_row_each() -> None:
    """Each corruption has its three severities; without any the report says how to measure them."""
    scores = [
        CorruptedAccuracy(each, 1 - each.severity / 10, Interval(0.1, 0.9)) for each in list_corruptions()
    ]
    page = read(make_content(corrupted=scores))
    assert ["Noise", "90.0\xa0%", "80.0\xa0%", "70.0\xa0%"] in page.rows
    assert "evaluation.corruptions: standard" in read(make_content()).text


def test_findings_are_counted_and_shown() -> None:
    """Each kind of finding has a row with its counts and meaning, and its worst below."""
    row = FindingRow(kind="blank", path="a/<1>.png", label="a", detail="deviates by 0.2", became="used")
    findings = [AuditFindings("blank", 1234, 3, 5, [row]), AuditFindings("copies", 2, 0, 1, [row])]
    page = read(make_content(findings=findings))
    assert ["Blank", "1,234", "3", "5", "Images of a single color, or nearly so"] in page.rows
    assert "a/<1>.png deviates by 0.2" in page.text


def test_confusion_matrix_holds_counts_and_shares() -> None:
    """Rows are true classes; the diagonal is styled differently, and an empty row divides nothing by zero."""
    page = read(make_content(confusion=((7, 2, 1), (0, 20, 0), (0, 0, 0))))
    assert ["cat", "7" + "70.0\xa0%", "2" + "20.0\xa0%", "1" + "10.0\xa0%"] in page.rows
    assert ["dog", "", "20" + "100.0\xa0%", ""] in page.rows
    assert ["eel", "", "", ""] in page.rows
    cells = [cell.get("class") for cell in page.all("td") if cell.get("class") in ("correct", "mistake")]
    assert cells == ["correct", "mistake", "mistake", "correct"]


def test_most_confused_pairs_come_first() -> None:
    """Pairs are sorted by their number of images, then by their fraction of the true class."""
    page = read(make_content(confusion=((8, 2, 0), (0, 30, 2), (3, 0, 3))))
    start = page.rows.index(["True class", "Predicted as", "Images", "% of class"])
    assert page.rows[start + 1 : start + 4] == [
        ["eel", "cat", "3", "50.0\xa0%"],
        ["cat", "dog", "2", "20.0\xa0%"],
        ["dog", "eel", "2", "6.2\xa0%"],
    ]


def test_names_that_stand_upright_are_not_turned() -> None:
    """Above the matrix, names in Chinese, Japanese or Korean run from top to bottom; others are turned."""
    html = render_report(make_content(classes=("金毛寻回犬", "golden retriever", "חתול")))
    headings = re.findall(r'<th scope="col"( class="upright")?><span><bdi class="name">(.*?)</bdi>', html)
    assert headings == [(' class="upright"', "金毛寻回犬"), ("", "golden retriever"), ("", "חתול")]


def test_classes_are_sorted_by_recall() -> None:
    """The class with the lowest recall is first; one without test images is last, with dashes for scores."""
    page = read(make_content(confusion=((5, 0, 0), (1, 4, 0), (0, 0, 0))))
    heading = ["Class", "Training images", "Test images", "Precision", "Recall", "95 % interval", "F1"]
    heading.append("Average precision")
    start = page.rows.index(heading)
    assert page.rows[start + 1 : start + 4] == [
        ["dog", "101", "5", "1.000", "0.800", "0.250 to 0.750", "0.889", "0.500"],
        ["cat", "100", "5", "0.833", "1.000", "0.250 to 0.750", "0.909", "0.500"],
        ["eel", "102", "0", *["\N{EN DASH}"] * 5],
    ]
    values = [cell["data-value"] for cell in page.all("td") if "data-value" in cell]
    assert values[-5:] == [""] * 5


def test_mistakes_have_captions() -> None:
    """A caption says what was predicted, with what probabilities, and which file it is."""
    page = read(make_content(worst=[make_example()]))
    assert "cat predicted as dog dog (predicted) 98 % fox 1 % cat (label) 1 % raw/cat/1.png" in page.text
    assert "1 of 6 mistakes, starting with" in page.text


def test_no_mistakes() -> None:
    """A perfect score is stated wherever mistakes would be listed."""
    page = read(make_content(confusion=np.diag((4, 5, 6))))
    assert "All 15 test images are classified correctly." in page.text
    assert "No class was confused with another." in page.text
    assert "None: every test image is classified correctly." in page.text
    assert "hardest" not in page.text


def test_pictures_turned_off() -> None:
    """Mistakes without pictures are counted, not denied."""
    assert "6 mistakes in total; pictures are turned off" in read(make_content()).text


def test_long_paths_keep_both_ends() -> None:
    """A path too long to show keeps its beginning and its end, and more of both in its title."""
    path = "raw/" + "very/" * 300 + "end.png"
    html = render_report(make_content(worst=[make_example(path=path)]))
    title = re.findall(r'class="path" dir="ltr" title="(.*?)"', html)[0]
    assert (len(title), title[:80], title[-7:]) == (160, path[:80], "end.png")
    shown = re.findall(r'class="path" dir="ltr" title[^>]*>(.*?)</bdi>', html)[0]
    assert len(shown) == 120
    assert shown.startswith("raw/very/")
    assert shown.endswith("/end.png")


def test_many_classes_are_bounded() -> None:
    """Beyond thirty classes a picture shows the matrix, and only the twenty most confused have cells."""
    html = render_kind("many")
    assert len(html.encode()) < 5_000_000
    page = Page(html)
    drawn = decode(page.all("img")[0]["src"])
    assert drawn.shape == (200, 200, 3)
    assert "Showing the 30 most frequent of 26," in page.text
    assert len([cell for cell in page.all("td") if (cell.get("class") or "").startswith("correct")]) == 20


def make_largest() -> ReportContent:
    """Return a report of everything at its most: 100,000 images, 1,000 classes, long and hostile names."""
    rng = np.random.default_rng(0)
    num_classes = 1000
    names = [f"{at:04}" + "<&\u202e" * 80 for at in range(num_classes)]
    path = "<&\u202e/" * 1000
    labels, others = rng.integers(0, num_classes, (2, 100_000))
    confusion = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(confusion, (labels, np.where(rng.random(100_000) < 0.5, labels, others)), 1)
    noise = rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)
    heatmap = rng.random((96, 96), dtype=np.float32)
    examples = [
        make_example(
            noise, path=path, label=names[0], predicted=names[1], suggestion=names[2], heatmap=heatmap
        )
    ] * 100
    row = FindingRow(kind="blank", path=path, label=names[0], detail=path, became="used")
    return make_content(
        classes=names,
        confusion=confusion,
        worst=examples,
        uncertain=examples,
        suspected=examples,
        sample=examples,
        path=path,
        cell_image=noise,
        num_epochs=10_000,
        estimates=[
            Estimate(name, 0.5, Interval(0.4, 0.6))
            for name in ("accuracy", "balanced_accuracy", "macro_f1", "top_k_accuracy", "log_loss")
        ],
        findings=[AuditFindings(kind, 99, 0, 9, [row] * MAX_EXAMPLES) for kind in FINDING_MEANINGS],
        subgroups=[Subgroup("group", path, None, 100, 0.5, Interval(0.4, 0.6), True)] * 100,
        corrupted=[CorruptedAccuracy(each, 0.5, Interval(0.4, 0.6)) for each in list_corruptions()],
    )


def test_the_largest_report_is_bounded() -> None:
    """100,000 images, 1,000 classes, all pictures there may be and the longest names stay within 5 MB."""
    content = make_largest()
    assert len(render_report(content).encode()) <= 5_000_000
    assert len(render_summary(content).encode()) <= 20_000


def test_thousands_of_classes_are_bounded() -> None:
    """Two thousand classes give a matrix of at most 500 pixels a side and the 250 hardest classes."""
    content = make_content(
        classes=[f"class {at}" for at in range(2000)], confusion=np.eye(2000, dtype=np.int64)
    )
    page = read(content)
    assert decode(page.all("img")[0]["src"]).shape == (500, 500, 3)
    assert "Showing the 250 classes with the lowest recall, of 2,000;" in page.text
