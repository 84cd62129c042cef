"""The summary in Markdown: short, correct, and safe from hostile names."""

import re
from pathlib import Path

import pytest

from schemas.audit.finding import FindingRow
from stages.evaluate.loading import AuditFindings
from stages.evaluate.report.summary import render_closing, render_summary
from tests.evaluate.report_content import make_calibration, make_content, make_example


def test_lists_the_metrics_with_their_intervals() -> None:
    """A table holds every metric with its interval, and the accuracy of predicting the largest class."""
    content = make_content()
    lines = render_summary(content).splitlines()
    assert lines[0] == "# Test report"
    assert "**29 of 35 test images are classified correctly." in lines[2]
    table = [line.strip("|").split("|") for line in lines if line.startswith("|")]
    baseline = ["Accuracy of always predicting the largest class", "57.1 %", ""]
    assert [cell.strip() for cell in table[3]] == baseline
    assert len(table) == len(content.estimates) + 3
    for row in table[4:]:
        assert re.fullmatch(r" [\d.<> %]+ to [\d.<> %]+ ", row[2])


def test_lists_pairs_classes_threshold_and_run_details() -> None:
    """The most confused pairs, the hardest classes, the threshold, and what was trained on what."""
    row = FindingRow(kind="blank", path="p", label="cat", detail="d", became="used")
    content = make_content(
        findings=[AuditFindings("blank", 3, 1, 0, [row])], suspected=[make_example(suggestion="eel")]
    )
    text = render_summary(content)
    for words in (
        "- `eel` predicted as `dog`: 3 images, 60.0 % of the class",
        "- `eel`: recall 40.0 % of 5 test images, precision 66.7 %",
        "The validation split promises 90.0 % accuracy (confidence 80 %)",
        "- 3 classes; images: 303 training, 30 validation, 15 test; 12 × 8 px, rgb",
        "- Network `cnn`, epoch 1 of 3, seed 7",
        "- Dataset hash `dddddddddddd`, weights hash `eeeeeeeeeeee`",
        "- Data audit: blank 3 (1 left out)",
        "- Test images whose label may be wrong: 1; about 67 % of such labels are wrong",
    ):
        assert words in text
    assert len(text.splitlines()) < 60


def test_no_mistakes_no_threshold_no_findings() -> None:
    """What is not there is stated in words."""
    unset = make_calibration(threshold=None)
    content = make_content(confusion=((4, 0), (0, 5)), classes=("a", "b"), calibration=unset)
    text = render_summary(content)
    for words in (
        "No class was confused with another.",
        "Every class has a recall of 100 %.",
        "So no threshold is set",
        "- Data audit: no findings",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain", "`plain`"),
        ("<script>|@user #1 [a](b) *x* https://x.y", "`<script>|@user #1 [a](b) *x* https://x.y`"),
        ("a`b", "``a`b``"),
        ("`", "`` ` ``"),
        ("``x```", "```` ``x``` ````"),
        ("two\nlines", "`two\\nlines`"),
        ("\u202eexe", "`\\u202eexe`"),
        (" edge ", "`␠edge␠`"),
        ("  ", "`␠␠`"),
        ("", "`(empty)`"),
        ("\\", "`\\`"),
    ],
)
def test_names_stand_in_code_spans(name: str, shown: str) -> None:
    """A name is literal text to Markdown: its backticks are outnumbered, its edges visible, its lines one."""
    text = render_summary(make_content(classes=(name, "other"), confusion=((4, 1), (2, 3))))
    assert f"- {shown} predicted as `other`: 1 image, 20.0 % of the class\n" in text
    assert f"- `other` predicted as {shown}: 2 images, 40.0 % of the class\n" in text


def test_long_names_are_cut() -> None:
    """A name keeps its beginning and its end."""
    text = render_summary(make_content(classes=("a" * 300 + "z", "other"), confusion=((4, 1), (2, 3))))
    assert f"`{'a' * 24}…{'a' * 22}z`" in text


def test_closing_names_accuracy_pair_and_page() -> None:
    """The stage ends with accuracy and its interval, the pair most often confused, and the page to open."""
    accuracy, pair, page = render_closing(make_content(), page=Path("data/report.html")).splitlines()
    assert re.fullmatch(
        r"evaluate: accuracy 82\.9 % \(95 % interval: [\d.]+ % to [\d.]+ %\) on 35 test images", accuracy
    )
    assert pair == "evaluate: most often confused: eel, 3 of 5 images taken for dog"
    assert page == "evaluate: open data/report.html"


@pytest.mark.parametrize(
    ("confusion", "said"),
    [
        (((4, 1), (2, 3)), "that is not distinguishable from always predicting one class: 50.0 %"),
        (((0, 40), (40, 0)), "that is worse than always predicting one class: 50.0 %"),
        (((40, 0), (1, 39)), ""),
    ],
)
def test_closing_compares_with_one_class(confusion: tuple[tuple[int, ...], ...], said: str) -> None:
    """The terminal, too, says that a network has learned nothing."""
    text = render_closing(make_content(confusion=confusion, classes=("a", "b")), page=Path("report.html"))
    assert (said or "open") in text
    assert ("one class" in text) == bool(said)


def test_closing_without_mistakes() -> None:
    """No pair is named where no class was confused with another."""
    content = make_content(confusion=((4, 0), (0, 5)), classes=("a", "b"))
    assert "confused" not in render_closing(content, page=Path("report.html"))
