"""What the report says: everything that was measured, and the texts and rows made of it.

The HTML page and the Markdown summary both draw on this, so that they never disagree.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from markupsafe import Markup

from schemas.evaluate.test_metrics import ClassScores, TestMetrics
from schemas.shared.manifest import SplitCounts
from schemas.vision.checkpoint import Checkpoint, History
from stages.evaluate.calibration import CalibrationReport, PredictionSets, SelectivePrediction, Share
from stages.evaluate.corruptions import CorruptedAccuracy
from stages.evaluate.curves import ClassCurves
from stages.evaluate.examples import Examples
from stages.evaluate.label_errors import LabelErrors
from stages.evaluate.loading import AuditFindings
from stages.evaluate.metrics import Estimate, LeakReport
from stages.evaluate.predictions import Ints
from stages.evaluate.subgroups import Subgroup
from stages.pages import wording
from stages.pages.wording import Sentence
from stages.vision.binomial import Interval

_METRIC_MEANINGS = {
    "accuracy": "Fraction of the test images classified correctly",
    "balanced_accuracy": "Mean recall over the classes: small classes count as much as large ones",
    "macro_f1": "Harmonic mean of precision and recall, averaged over the classes; 1 is best",
    "weighted_f1": "F1 averaged over the images: large classes count for more; 1 is best",
    "matthews_correlation": "Correlation of true and predicted classes, robust to class sizes: "
    "0 for guessing, 1 for no mistakes",
    "cohens_kappa": "Agreement beyond chance: 0 for guessing, 1 for no mistakes",
    "roc_auc": "Probability that a class scores higher on its own image than on another; 0.5 for guessing",
    "average_precision": "Area under the precision-recall curve, averaged over the classes; 1 is best",
    "log_loss": "Mean negative log-probability of the true class; 0 is best",
}
_CARDS = ("accuracy", "balanced_accuracy", "macro_f1", "top_k_accuracy", "log_loss")
_CARDS_OF_FEW_CLASSES = ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "log_loss")

_MIN_SUBGROUP_IMAGES = 10
_ATTRIBUTE_UNITS = {"brightness": "of 255", "image_size": "px", "height_px": "px", "width_px": "px"}
_ATTRIBUTE_TITLES = {
    "image_size": "Image size: side of a square of equal area",
    "brightness": "Brightness: mean pixel value",
    "height_px": "Height of the original image",
    "width_px": "Width of the original image",
}
_CORRUPTION_TITLES = {
    "noise": "Noise",
    "blur": "Blur",
    "brightness": "Brighter",
    "contrast": "Lower contrast",
    "jpeg": "JPEG compression",
    "rotation": "Rotation",
}


@dataclass(frozen=True)
class ReportContent:
    """What was measured, and on what."""

    checkpoint: Checkpoint
    history: History
    counts: SplitCounts
    """Images of each class in each split."""

    metrics: TestMetrics
    leaks: LeakReport
    estimates: Sequence[Estimate]
    """Metrics with their confidence intervals."""

    per_class: Sequence[ClassScores]
    """In class order."""

    hardest: int | None
    """Position of the class with the lowest recall, if more than chance sets it apart."""

    confusion: Ints
    """(num_classes, num_classes), rows true classes, columns predicted classes."""

    calibration: CalibrationReport
    top_k: int
    num_groups: int
    """Groups of test images; as many as images if each image is its own."""

    curves: Sequence[ClassCurves]
    subgroups: Sequence[Subgroup]
    """Accuracy by the attributes in evaluation.slices."""

    corrupted: Sequence[CorruptedAccuracy]
    """Accuracy on corrupted images; empty if evaluation.corruptions is null."""

    examples: Examples
    findings: Sequence[AuditFindings]

    @property
    def accuracy_interval(self) -> Interval:
        """Return the confidence interval of the accuracy."""
        (interval,) = (each.interval for each in self.estimates if each.name == "accuracy")
        assert interval is not None, "a share of images always has one"
        return interval

    @property
    def num_mistakes(self) -> int:
        """Return how many test images were classified wrongly."""
        return int(self.confusion.sum() - np.trace(self.confusion))


@dataclass(frozen=True)
class MetricRow:
    """A metric in words."""

    title: str
    value: str
    interval: str
    meaning: str


@dataclass(frozen=True)
class ClassRow:
    """A class and its scores; a score that is undefined is None."""

    position: int
    label: str
    num_train: int
    support: int
    precision: float | None
    recall: float | None
    recall_interval: Interval | None
    f1: float | None
    average_precision: float | None


@dataclass(frozen=True)
class SubgroupRow:
    """A subgroup and how its accuracy compares."""

    label: str
    """Text, or safe HTML."""

    num_images: int
    accuracy: float
    low: float
    high: float
    verdict: str
    """`lower` or `higher` than the accuracy on all images; empty if that may be chance."""


@dataclass(frozen=True)
class SubgroupTable:
    """All subgroups by one attribute."""

    title: str
    rows: Sequence[SubgroupRow]
    num_small: int
    """Subgroups of too few images, which are not among the rows."""


def build_verdict(content: ReportContent) -> Sentence:
    """Say how many test images are classified correctly, what guessing would give, and what leaks do."""
    compared = _compare_with_guessing(content)
    leaks = describe_leaks(content)
    return Sentence(f"{compared.text} {leaks}".strip(), compared.names)


def describe_leaks(content: ReportContent) -> str:
    """Say how many test images training knew, and what accuracy the others have; empty if it knew none."""
    leaks, accuracy = content.leaks, content.metrics.accuracy_without_leaks
    if not leaks.num_images:
        return ""
    known = wording.describe_leaks(leaks.counts, content.metrics.num_images)
    if accuracy is None:
        return f"{known}, so nothing is known of new images."
    return f"{known}; accuracy without them is {wording.percent(accuracy)}."


def _compare_with_guessing(content: ReportContent) -> Sentence:
    metrics, (low, high) = content.metrics, content.accuracy_interval
    num_correct = metrics.num_images - content.num_mistakes
    if num_correct == metrics.num_images:
        correct = f"All {wording.plural(num_correct, 'test image')} are classified correctly."
    else:
        are = "is" if num_correct == 1 else "are"
        images = wording.plural(metrics.num_images, "test image")
        correct = f"{wording.count(num_correct)} of {images} {are} classified correctly."
    largest, names = _name_largest_class(content)
    baseline = wording.percent(metrics.majority_accuracy)
    if low > metrics.majority_accuracy:
        return Sentence(f"{correct} Always predicting {largest} would give {baseline}.", names)
    if high < metrics.majority_accuracy:
        compared = f"That is worse than always predicting {largest}, which gives {baseline}."
    else:
        interval = f"{wording.percent(low)} to {wording.percent(high)}"
        compared = (
            f"That is not distinguishable from always predicting {largest}, which gives {baseline}: the "
            f"95 % confidence interval of the accuracy is {interval}."
        )
    return Sentence(f"{correct} {compared}", names)


def describe_run(content: ReportContent) -> str:
    """Say in a line what was trained on what: images, network, epochs."""
    checkpoint = content.checkpoint
    num_images = sum(map(sum, (content.counts.train, content.counts.val, content.counts.test)))
    epoch = f"epoch {checkpoint.epoch.epoch} of {checkpoint.num_epochs}"
    return (
        f"{wording.plural(num_images, 'image')} of {wording.count(len(checkpoint.classes))} classes "
        f"(data set {wording.short_hash(checkpoint.dataset_sha256)}) · {checkpoint.network.name} · {epoch}"
    )


def _name_largest_class(content: ReportContent) -> tuple[str, tuple[str, ...]]:
    """Return how the class with the most test images is called, and its name if no other has as many."""
    support = content.confusion.sum(axis=1)
    largest = np.flatnonzero(support == support.max())
    if len(largest) > 1:
        return "one class", ()
    return "{}", (content.checkpoint.classes[largest[0]],)


def describe_intervals(content: ReportContent) -> str:
    """Say what the intervals are, what counts as one observation, and why some are missing."""
    text = "95 % confidence intervals"
    if content.num_groups < content.metrics.num_images:
        text += (
            f" over {wording.plural(content.num_groups, 'group')} of the {content.metrics.num_images:,} test "
            "images, since images of one group tend to be right or wrong together"
        )
    if any(estimate.interval is None for estimate in content.estimates):
        text += (
            ". Some metrics have none: there are too few mistakes, too few groups, or too few images of some "
            "class to tell how much they vary"
        )
    return text + "."


def build_cards(content: ReportContent) -> list[MetricRow]:
    """Return the few metrics that a reader wants first; of top_k classes or fewer, ROC AUC says more."""
    estimates = {estimate.name: estimate for estimate in content.estimates}
    names = _CARDS if content.top_k < len(content.per_class) else _CARDS_OF_FEW_CLASSES
    return [_describe_metric(estimates[name], content, is_card=True) for name in names]


def build_metric_rows(content: ReportContent) -> list[MetricRow]:
    """Return every metric but a top-k accuracy of k or fewer classes, which is always 100 %."""
    is_trivial = content.top_k >= len(content.per_class)
    estimates = (each for each in content.estimates if not (is_trivial and each.name == "top_k_accuracy"))
    return [_describe_metric(estimate, content) for estimate in estimates]


def _describe_metric(estimate: Estimate, content: ReportContent, *, is_card: bool = False) -> MetricRow:
    name, num_classes = estimate.name, len(content.per_class)
    meaning = _METRIC_MEANINGS.get(name, "")
    if name == "top_k_accuracy":
        meaning = f"The true class is among the {content.top_k} most probable"
    elif name == "log_loss" and is_card:
        meaning = f"0 is best; uniform guessing gives {math.log(num_classes):.3f}"

    def show(value: float) -> str:
        if name.endswith("accuracy"):
            return wording.percent(value)
        return f"{value:.3f}" if name == "log_loss" else wording.score(value)

    return MetricRow(
        title=_title_metric(name, top_k=content.top_k),
        value=show(estimate.value),
        interval=" to ".join(map(show, estimate.interval)) if estimate.interval else "\N{EN DASH}",
        meaning=meaning,
    )


def _title_metric(name: str, *, top_k: int) -> str:
    """Write `macro_f1` as `Macro F1`, `top_k_accuracy` as `Top-3 accuracy`."""
    words = name.replace("top_k", f"top-{top_k}").replace("_", " ").replace("cohens", "Cohen's")
    for short, written in (("f1", "F1"), ("roc auc", "ROC AUC")):
        words = words.replace(short, written)
    return words[0].upper() + words[1:]


def build_class_rows(content: ReportContent) -> list[ClassRow]:
    """Return the classes, lowest recall first, those without test images last."""
    num_predicted = content.confusion.sum(axis=0)
    rows = [
        ClassRow(
            position=position,
            label=scores.label,
            num_train=content.counts.train[position],
            support=scores.support,
            precision=scores.precision if num_predicted[position] else None,
            recall=scores.recall if scores.support else None,
            recall_interval=_take_recall_interval(scores),
            average_precision=scores.average_precision,
            f1=scores.f1 if scores.support or num_predicted[position] else None,
        )
        for position, scores in enumerate(content.per_class)
    ]
    return sorted(rows, key=lambda row: (row.recall is None, row.recall or 0.0, row.position))


def _take_recall_interval(scores: ClassScores) -> Interval | None:
    if scores.recall_low is None or scores.recall_high is None:
        return None
    return Interval(scores.recall_low, scores.recall_high)


def describe_calibration(calibration: CalibrationReport) -> str:
    """State the calibration error, what chance makes of it, and what temperature scaling did."""
    ece = calibration.ece
    text = (
        f"The expected calibration error, the mean gap between confidence and accuracy, is "
        f"{wording.percent(ece.value)} (95 % confidence interval: {_span(ece)}). On as many images, a "
        f"calibrated network shows up to {wording.percent(calibration.ece_by_chance)} by chance."
    )
    if calibration.temperature == 1.0:
        return (
            f"{text} The validation split does not show that the probabilities are wrong, so the temperature "
            "stays 1."
        )
    before, after = calibration.before.error, calibration.after.error
    verdict = "worse here" if after > before else "better here" if after < before else "the same here"
    return (
        f"{text} Before temperature scaling it was {wording.percent(before)}: {verdict} "
        f"(temperature {calibration.temperature:.3g}, fitted to the validation split)."
    )


def describe_label_errors(suspected: LabelErrors) -> str:
    """Say how many labels are suspected, and how many of them are expected to be wrong."""
    if suspected.is_withheld:
        return "unknown: the network makes too many mistakes to tell a wrong label from one of them"
    if not len(suspected.images):
        return "none: wherever prediction and label differ, a mistake of the network is the likelier reason"
    share = wording.certainty(suspected.expected_precision)
    return f"{wording.count(len(suspected.images))}; about {share} of such labels are wrong"


def describe_selective(selective: SelectivePrediction) -> str:
    """Say what the confidence threshold for the target accuracy does."""
    target, sure = wording.percent(selective.target_accuracy), f"{100 * selective.confidence:g} %"
    if selective.threshold is None:
        why = selective.why_none[0].upper() + selective.why_none[1:]
        return f"{why} (confidence {sure}). So no threshold is set, and no prediction is rejected."
    text = (
        f"The validation split promises {target} accuracy (confidence {sure}) for predictions with a "
        f"probability of at least {selective.threshold:.4g}."
    )
    kept = f"On the test split this keeps {wording.percent(selective.coverage)} of the images"
    if selective.accuracy is None:
        return f"{text} {kept}."
    accuracy = selective.accuracy
    value = wording.percent_beside(accuracy.value, selective.target_accuracy)
    verdict = ""
    if accuracy.high < selective.target_accuracy:
        verdict = ": the promise is broken here"
    return f"{text} {kept}, at {value} accuracy ({_span(accuracy)}){verdict}."


def describe_sets(sets: Sequence[PredictionSets]) -> str:
    """Say what prediction sets are, and which are out of reach."""
    text = (
        "A prediction set lists every class that is probable enough, so that it holds the true one as often "
        "as asked for (split conformal prediction; python -m tools.predict --coverage)."
    )
    out_of_reach = [each for each in sets if each.why_none]
    if out_of_reach:
        text += f" {out_of_reach[0].why_none[0].upper()}{out_of_reach[0].why_none[1:]}."
    return text


def _span(share: Share) -> str:
    """Write an interval."""
    return f"{wording.percent(share.low)} to {wording.percent(share.high)}"


def build_subgroup_tables(content: ReportContent) -> list[SubgroupTable]:
    """Return a table for each attribute that divides the images.

    A subgroup of fewer than ten images is counted, not listed: its interval spans half of the scale.
    """
    tables = []
    for attribute, some in groupby(content.subgroups, key=lambda each: each.attribute):
        subgroups = list(some)
        rows = [
            _compare_subgroup(each, accuracy=content.metrics.accuracy)
            for each in subgroups
            if each.num_images >= _MIN_SUBGROUP_IMAGES
        ]
        if len(subgroups) > 1:
            title = _ATTRIBUTE_TITLES.get(attribute, attribute.replace("_", " ").capitalize())
            tables.append(SubgroupTable(title, rows, num_small=len(subgroups) - len(rows)))
    return tables


def list_constant_attributes(content: ReportContent) -> list[str]:
    """Return the attributes that are the same for all test images."""
    return [
        attribute.replace("_", " ")
        for attribute, some in groupby(content.subgroups, key=lambda each: each.attribute)
        if len(list(some)) == 1
    ]


def _compare_subgroup(subgroup: Subgroup, *, accuracy: float) -> SubgroupRow:
    verdict = ""
    if subgroup.differs:
        verdict = "lower" if subgroup.accuracy < accuracy else "higher"
    return SubgroupRow(
        label=_label_subgroup(subgroup),
        num_images=subgroup.num_images,
        accuracy=subgroup.accuracy,
        low=subgroup.interval.low,
        high=subgroup.interval.high,
        verdict=verdict,
    )


def _label_subgroup(subgroup: Subgroup) -> str | Markup:
    if subgroup.bounds is not None:
        first, last = (f"{bound:,.0f}" for bound in subgroup.bounds)
        unit = _ATTRIBUTE_UNITS.get(subgroup.attribute, "")
        return f"{first if first == last else f'{first} to {last}'} {unit}".strip()
    if subgroup.value is None:
        return "all others"
    return wording.name(subgroup.value) if subgroup.value else f"no {subgroup.attribute}"


def build_corruption_rows(content: ReportContent) -> list[tuple[str, list[CorruptedAccuracy]]]:
    """Return the title of each corruption and its accuracies, the mildest severity first."""
    return [
        (_CORRUPTION_TITLES.get(name, name), list(some))
        for name, some in groupby(content.corrupted, key=lambda each: each.corruption.name)
    ]
