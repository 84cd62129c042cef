"""What to do next: each rule speaks where it holds, and nowhere else."""

from dataclasses import replace

import numpy as np
import pytest

from schemas.audit.finding import FindingRow
from stages.evaluate.baseline import Comparison, NoBaseline
from stages.evaluate.loading import AuditFindings
from stages.evaluate.report.content import ReportContent
from stages.evaluate.report.next_steps import list_next_steps
from stages.evaluate.report.summary import render_summary
from tests.evaluate.report_content import make_baseline, make_content, make_example
from tests.evaluate.report_page import read

GOOD = 1000 * np.eye(3, dtype=np.int64) + 2


def write_steps(content: ReportContent) -> list[str]:
    return [str(step) for step in list_next_steps(content)]


def set_losses(content: ReportContent, val: list[float], train: list[float]) -> ReportContent:
    """Return the content with these losses, of as many epochs."""
    epochs = tuple(
        record.model_copy(
            update={"train_loss": train[at], "val": record.val.model_copy(update={"loss": val[at]})}
        )
        for at, record in enumerate(content.history.epochs)
    )
    return replace(content, history=content.history.model_copy(update={"epochs": epochs}))


def make_good(**arguments: object) -> ReportContent:
    """Return a report of eight epochs in which nothing is left to do."""
    content = make_content(confusion=GOOD, num_epochs=8, **arguments)  # type: ignore[arg-type]
    return set_losses(content, [2.0, 1.0, *[0.5] * 6], [1.0] * 8)


def test_nothing_to_do() -> None:
    """A good network on enough images of clean data gets no advice."""
    assert write_steps(make_good()) == []
    assert "Next steps" not in read(make_good()).text
    assert "Next steps" not in render_summary(make_good())


def test_findings_that_were_kept() -> None:
    """Images with conflicting labels are to be corrected, unless they were left out."""
    row = FindingRow(kind="conflicting_labels", path="p", label="cat", detail="d", became="used")
    kept = AuditFindings("conflicting_labels", 5, 1, 2, [row])
    advice = "correct the labels, or set audit.conflicting_labels: exclude."
    assert write_steps(make_good(findings=[kept])) == [f"4 images with conflicting labels: {advice}"]
    assert write_steps(make_good(findings=[AuditFindings("conflicting_labels", 5, 5, 0, [row])])) == []


@pytest.mark.parametrize(
    ("val", "advice"),
    [
        ([8, 7, 6, 5, 4, 3, 2.5, 2.4], ["Validation loss still falls: raise training.num_epochs above 8."]),
        ([8, 7, 6, 5, 4, 3, 2.41, 2.4], ["Validation loss still falls: raise training.num_epochs above 8."]),
        ([8, 7, 6, 5, 2.41, 2.41, 2.4, 2.4], []),
        ([8, 7, 6, 5, 4, 3, 2.4, 2.44], []),
        ([8, 7, 2, 2.5, 3, 3, 3, 3], ["After epoch 3 validation loss rises while training loss falls"]),
    ],
)
def test_learning_curves(val: list[float], advice: list[str]) -> None:
    """More epochs if validation loss falls to the end, less overfitting if it rises; not for a wiggle."""
    steps = write_steps(set_losses(make_good(), val, [8, 7, 6, 5, 4, 3, 2, 1]))
    assert len(steps) == len(advice)
    assert all(step.startswith(words) for step, words in zip(steps, advice, strict=True))


def test_no_more_epochs_after_early_stopping() -> None:
    """Where something else ended training, more epochs are no advice."""
    content = set_losses(make_good(), [8, 7, 6, 5, 4, 3, 2, 1], [1.0] * 8)
    stopped = content.history.model_copy(update={"ended_by": "early_stopping"})
    assert write_steps(replace(content, history=stopped)) == []


def test_a_class_that_is_harder() -> None:
    """A class is named if its recall is lower by more than chance, with the class it is taken for."""
    confusion = GOOD.copy()
    confusion[2] = (10, 640, 350)
    content = make_content(confusion=confusion, hardest=2)
    assert write_steps(content)[1].startswith("eel: recall 35.0\xa0%, 640 of 1000 taken for dog: look at")
    assert write_steps(make_good()) == []


def test_few_images() -> None:
    """A wide interval asks for more images."""
    few = make_content(confusion=3 * np.eye(3, dtype=np.int64) + np.eye(3, k=1, dtype=np.int64))
    assert any("test more images" in step for step in write_steps(few))


@pytest.mark.parametrize(
    ("confusion", "words"),
    [
        (((0, 5, 0), (0, 20, 0), (0, 5, 0)), "No better than always predicting one class: train"),
        (
            ((1, 1, 1), (1, 14, 4), (0, 3, 5)),
            "Not shown to be better than always predicting one class: train",
        ),
        (((1, 0, 0), (0, 2, 0), (0, 0, 1)), "Validation loss still falls"),
    ],
)
def test_advice_where_the_baseline_is_in_the_interval(
    confusion: tuple[tuple[int, ...], ...], words: str
) -> None:
    """An accuracy above the baseline is not called no better; where all is right, it is left out."""
    assert write_steps(make_content(confusion=confusion))[0].startswith(words)


def test_labels_to_check() -> None:
    """Suspected label errors are to be checked."""
    content = make_good(suspected=[make_example(suggestion="eel")])
    assert write_steps(content) == ["1 test image may be mislabeled: check the labels."]


def test_names_are_only_text() -> None:
    """A class name is literal text in the page and in Markdown, braces and tags included."""
    confusion = GOOD.copy()
    confusion[2] = (10, 640, 350)
    content = make_content(classes=("<b>", "`{0}`", "{}\u202e"), confusion=confusion, hardest=2)
    assert "{}\\u202e: recall 35.0 %, 640 of" in read(content).text
    assert "`{}\\u202e`: recall" in render_summary(content)
    assert "taken for `` `{0}` ``" in render_summary(content)


@pytest.mark.parametrize(
    ("is_frozen", "advice"),
    [
        (True, "train for more epochs, or raise optimizer.lr"),
        (False, "lower optimizer.lr or transfer.backbone_lr_factor, or freeze the backbone for longer"),
    ],
)
def test_worse_than_the_pretrained_features(is_frozen: bool, advice: str) -> None:
    """Training lost what the features knew: the remedy depends on whether they were trained."""
    worse = make_baseline(against=Comparison(3, 20, "worse"), is_frozen=is_frozen)
    expected = f"Worse than 75.0\N{NO-BREAK SPACE}%, the pretrained features alone: {advice}."
    assert write_steps(make_good(baseline=worse)) == [expected]
    assert write_steps(make_good(baseline=replace(worse, against_better=Comparison(9, 9, "")))) == []
    assert write_steps(make_good(baseline=NoBaseline("the network started from random weights"))) == []
