"""The top of the report: a verdict in words, and the headline figures with what they are worth."""

import math
from dataclasses import dataclass

from stages.evaluate.intervals import Figure
from stages.evaluate.report import wording
from stages.evaluate.report.content import ReportContent

_MEANINGS = {
    "accuracy": "Share of the test images answered correctly",
    "balanced_accuracy": "Mean over the classes: small ones count as much as large ones",
    "macro_f1": "Precision and recall in one, mean over the classes; 1 is best",
    "weighted_f1": "The same, mean over the images: large classes count for more",
    "matthews_correlation": "0 for guessing, whatever the classes' sizes; 1 for no mistakes",
    "cohens_kappa": "Agreement beyond what chance alone would bring: 0 for guessing, 1 for no mistakes",
    "roc_auc": "Chance that a class is more probable for its own image than another; 0.5 for guessing",
    "average_precision": "How well sorting by probability finds each class, mean over them; 1 is best",
    "loss": "Mean of minus the logarithm of the true class's probability; 0 is best",
}


@dataclass(frozen=True)
class Card:
    """A headline figure."""

    title: str
    value: str
    interval: str
    """Its 95 % interval."""

    note: str
    """What it means."""


def build_verdict(content: ReportContent) -> str:
    """Say in plain words how good the answers are, and what they must be compared with."""
    metrics = content.metrics
    num_right = metrics.num_images - content.num_mistakes
    if num_right == metrics.num_images:
        answered = f"All {wording.plural(num_right, 'test image')} were answered correctly."
    else:
        were = "was" if num_right == 1 else "were"
        answered = (
            f"{wording.count(num_right)} of {wording.plural(metrics.num_images, 'test image')} "
            f"{were} answered correctly."
        )
    baseline = wording.percent(metrics.majority_accuracy)
    if metrics.accuracy > metrics.majority_accuracy:
        return f"{answered} Always answering the largest class would get {baseline}."
    return (
        f"{answered} That is no better than always answering the largest class, which would get {baseline}."
    )


def describe_resampling(content: ReportContent) -> str:
    """Say what was drawn for the intervals."""
    if content.num_units == content.metrics.num_images:
        return "bootstrap over the test images"
    groups, images = wording.count(content.num_units), wording.count(content.metrics.num_images)
    return (
        f"bootstrap over {groups} groups of the {images} test images, "
        "for what belongs together is right or wrong together"
    )


def build_cards(content: ReportContent) -> list[Card]:
    """Return the few figures that a reader wants first."""
    num_classes = len(content.per_class)
    cards = []
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "top_k_accuracy", "loss"):
        figure = next(each for each in content.figures if each.name == name)
        note = _meaning(name, content)
        if name == "loss":
            note = f"0 is best; guessing evenly gets {math.log(num_classes):.3f}"
        cards.append(Card(name_figure(name, content), show_value(figure), show_interval(figure), note))
    return cards


def build_figure_rows(content: ReportContent) -> list[Card]:
    """Return every figure there is."""
    return [
        Card(
            name_figure(each.name, content),
            show_value(each),
            show_interval(each),
            _meaning(each.name, content),
        )
        for each in content.figures
    ]


def name_figure(name: str, content: ReportContent) -> str:
    """Write `macro_f1` as `Macro F1`, `top_k_accuracy` as `Top-3 accuracy`."""
    words = name.replace("top_k", f"top-{content.top_k}").replace("_", " ").replace("cohens", "Cohen's")
    for written, short in (("F1", "f1"), ("ROC AUC", "roc auc")):
        words = words.replace(short, written)
    return words[0].upper() + words[1:]


def show_value(figure: Figure) -> str:
    """Write the figure as a share or as a number."""
    return _number(figure, figure.value)


def show_interval(figure: Figure) -> str:
    """Write its interval the same way."""
    return f"{_number(figure, figure.low)} to {_number(figure, figure.high)}"


def _number(figure: Figure, value: float) -> str:
    return wording.percent(value) if figure.name.endswith("accuracy") else f"{value:.3f}"


def _meaning(name: str, content: ReportContent) -> str:
    if name != "top_k_accuracy":
        return _MEANINGS.get(name, "")
    num_classes = len(content.per_class)
    if content.top_k >= num_classes:
        return f"Says nothing here: there are only {num_classes} classes"
    return f"The true class is among the {content.top_k} most probable"
