"""What a comparison says, in words: on the terminal, in summary.md, as JSON."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from schemas.evaluate.test_metrics import ClassScores
from stages.evaluate.intervals import LEVEL
from stages.evaluate.predictions import Predictions
from stages.pages import wording
from stages.pages.wording import code_span
from stages.vision.binomial import Interval
from tools.compare.differences import Comparison, Difference, correct_for_many
from tools.compare.folds import compute_fold_p_value
from tools.compare.results import Configuration, FoldScore, ImageKey

Word = Literal["better", "worse", "cannot tell"]

TITLES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "log_loss": "Log loss",
    "ece": "Calibration error (ECE)",
}
_MAX_LISTED = 10
_MAX_MORE = 10_000_000
_MAX_CHANGES = 3
_MAX_CHANGES_TEXT = 120


@dataclass(frozen=True)
class Judged:
    """A configuration compared with the first."""

    configuration: Configuration
    comparison: Comparison
    p_value: float
    """Corrected for the number of comparisons."""

    fold_p_value: float | None = None
    """Of the corrected resampled t-test over folds; None without folds, or where they are all alike."""

    @property
    def word(self) -> Word:
        """Return the verdict on the accuracy."""
        if self.p_value >= LEVEL:
            return "cannot tell"
        return "better" if self.comparison.find("accuracy").value > 0 else "worse"


@dataclass(frozen=True)
class Joined:
    """The metrics of a configuration over all images, each tested in the fold that held it out."""

    configuration: Configuration
    metrics: Mapping[str, tuple[float, Interval | None]]
    pooled: Predictions
    """By the mean probabilities of the seeds."""

    per_class: Sequence[ClassScores]
    """Of these, in class order."""

    @property
    def scores(self) -> list[FoldScore]:
        """Return the accuracy of each fold of each seed, seed after seed."""
        scores = [score for result in self.configuration.results for score in result.folds]
        return sorted(scores, key=lambda each: (each.seed, each.fold))

    @property
    def text(self) -> str:
        """Return the accuracy as a sentence without the configuration's name."""
        num_folds, num_seeds = len(self.configuration.results[0].folds), len(self.configuration.results)
        accuracies = np.array([score.accuracy for score in self.scores])
        seeds = "" if num_seeds == 1 else f" and {num_seeds} seeds"
        return (
            f"accuracy {self.write('accuracy')} over {num_folds} folds{seeds}; of single folds "
            f"{100 * accuracies.min():.2f} to {100 * accuracies.max():.2f} %, standard deviation "
            f"{100 * accuracies.std(ddof=1):.2f} points"
        )

    def write(self, name: str) -> str:
        """Write a metric with its interval: `96.32 % (95 %: 95.79 to 96.85)`."""
        value, interval = self.metrics[name]
        scale, decimals = (1, 4) if name == "log_loss" else (100, 2)
        ends = interval and " to ".join(f"{scale * end:.{decimals}f}" for end in interval)
        return write_value(name, value) + (f" (95 %: {ends})" if ends else "")


@dataclass(frozen=True)
class Findings:
    """All that a comparison found, on N test images."""

    first: Configuration
    judged: Sequence[Judged]
    """The other configurations against it; empty for folds of a single one."""

    keys: Sequence[ImageKey]
    paths: Sequence[str]
    """(N,)."""

    num_judged: int
    """Models that this test split has judged."""

    joined: Sequence[Joined]
    """Of each configuration, the first too; empty without folds."""


def judge(configurations: Sequence[Configuration], comparisons: Sequence[Comparison]) -> list[Judged]:
    """Return the verdicts on all but the first configuration."""
    p_values = correct_for_many([comparison.overall.p_value for comparison in comparisons])
    first = configurations[0]
    return [
        Judged(other, comparison, p_value, compute_fold_p_value(first, other))
        for other, comparison, p_value in zip(configurations[1:], comparisons, p_values, strict=True)
    ]


def describe(judged: Judged) -> str:
    """Return the verdict on one configuration as a sentence without its name."""
    accuracy = judged.comparison.find("accuracy")
    change = f"accuracy {write_change(accuracy)}, {write_p(judged.p_value)}"
    if judged.fold_p_value is not None:
        change += f" ({write_p(judged.fold_p_value)} by the folds, Nadeau and Bengio's t-test)"
    if judged.word != "cannot tell":
        return f"{judged.word}: {change}"
    return f"cannot tell: {change}; {_say_needed(judged)}"


def write_change(difference: Difference) -> str:
    """Write `98.3 % -> 97.8 %, -0.5 points (95 %: -1.2 to +0.2)`."""
    before, after = (write_value(difference.name, each) for each in (difference.first, difference.other))
    return f"{before} -> {after}, {write_points(difference)}"


def write_points(difference: Difference) -> str:
    """Write a difference with its interval: `-0.5 points (95 %: -1.2 to +0.2)`."""
    unit = "" if difference.name == "log_loss" else " points"
    number = _write_signed(difference.name, difference.value)
    return f"{number}{unit}" + (f" (95 %: {_write_interval(difference)})" if difference.interval else "")


def write_value(name: str, value: float) -> str:
    """Write the value of a metric."""
    return f"{value:.4f}" if name == "log_loss" else f"{100 * value:.2f} %"


def write_p(p_value: float) -> str:
    """Write a p-value with two digits: `p = 0.012`."""
    return "p < 0.0001" if p_value < 0.0001 else f"p = {p_value:.2g}"


def render_json(findings: Findings) -> str:
    """Return everything that was found, as JSON."""

    def interval(found: Interval | None) -> list[float] | None:
        return None if found is None else [found.low, found.high]

    classes = findings.first.results[0].classes
    document = {
        "first": [result.revision for result in findings.first.results],
        "num_images": len(findings.paths),
        "num_models_judged_on_this_split": findings.num_judged,
        "folds": [
            {
                "revisions": [result.revision for result in each.configuration.results],
                "metrics": {
                    name: {"value": value, "interval": interval(found)}
                    for name, (value, found) in each.metrics.items()
                },
                "scores": [asdict(score) for score in each.scores],
                "confusion": each.pooled.confusion.tolist(),
            }
            for each in findings.joined
        ],
        "comparisons": [
            {
                "revisions": [result.revision for result in each.configuration.results],
                "verdict": each.word,
                "p_value": each.p_value,
                "fold_p_value": each.fold_p_value,
                "num_images_needed": each.comparison.overall.num_images_needed,
                "differences": {
                    found.name: {
                        "first": found.first,
                        "other": found.other,
                        "difference": found.value,
                        "interval": interval(found.interval),
                    }
                    for found in each.comparison.differences
                },
                "recall": {
                    classes[label]: {"first": found.first, "other": found.other, "p_value": found.p_value}
                    for label, found in each.comparison.classes.items()
                },
                "parameters": {
                    key: {"first": before, "other": after}
                    for key, before, after in list_changed_parameters(findings.first, each.configuration)
                },
                "fixed": [findings.paths[image] for image in each.comparison.fixed.tolist()],
                "broken": [findings.paths[image] for image in each.comparison.broken.tolist()],
            }
            for each in findings.judged
        ],
    }
    return json.dumps(document, indent=2) + "\n"


def render_summary(findings: Findings) -> str:
    """Return the comparison in Markdown, for a pull request."""
    images = wording.plural(len(findings.paths), "test image")
    against = f", against {_name(findings.first)}" if findings.judged else ""
    lines = ["# Comparison", "", f"On {images}{against}.", ""]
    lines += [f"- {_name(each.configuration)}: **{each.word}**. {_rest(each)}" for each in findings.judged]
    lines += [f"- {_name(each.configuration)}: {each.text}" for each in findings.joined]
    lines += ["", say_judged(findings)]
    if findings.joined:
        names = [_name(each.configuration) for each in findings.joined]
        lines += ["", f"| Metric | {' | '.join(names)} |", f"|---|{'--:|' * len(names)}"]
        for name, title in TITLES.items():
            lines.append(f"| {title} | {' | '.join(each.write(name) for each in findings.joined)} |")
    for each in findings.judged:
        lines += ["", f"## {_name(each.configuration)}", "", *_tabulate(each)]
        lines += _list_changes(each, findings.first)
        lines += _list_images("Fixed", each.comparison.fixed.tolist(), findings.paths)
        lines += _list_images("Broken", each.comparison.broken.tolist(), findings.paths)
    return "\n".join(lines) + "\n"


def say_judged(findings: Findings) -> str:
    """Say how many models this test split has judged."""
    split, number = "the first of these folds" if findings.joined else "this test split", findings.num_judged
    if number < 2:
        return f"This is the first model that {split} has judged."
    return (
        f"{split[0].upper()}{split[1:]} has judged {number:,} models so far. The best of them on it is "
        "chosen with chance's help: only images that none has seen would test it."
    )


def list_changed_parameters(first: Configuration, other: Configuration) -> list[tuple[str, str, str]]:
    """Return the parameters that differ, with both values as YAML writes them."""
    both = (first.parameters, other.parameters)
    keys = sorted(set().union(*both))
    rows = [(key, _write_parameter(both[0], key), _write_parameter(both[1], key)) for key in keys]
    return [row for row in rows if row[1] != row[2]]


def name_changes(first: Configuration, other: Configuration) -> str:
    """Return ` (optimizer.lr: 0.004 -> 0.03)` behind a name, if that is not too long; else nothing."""
    changed = list_changed_parameters(first, other)
    text = ", ".join(f"{key}: {before} -> {after}" for key, before, after in changed)
    return f" ({text})" if text and len(changed) <= _MAX_CHANGES and len(text) <= _MAX_CHANGES_TEXT else ""


def _write_parameter(parameters: Mapping[str, Any], key: str) -> str:
    return json.dumps(parameters[key], ensure_ascii=False) if key in parameters else "absent"


def _say_needed(judged: Judged) -> str:
    comparison, overall = judged.comparison, judged.comparison.overall
    if overall.num_images_needed is None:
        same = len(comparison.fixed) == len(comparison.broken) == 0
        return "every prediction is correct in both or wrong in both" if same else "equally many are correct"
    more = overall.num_images_needed - overall.num_images
    if more > _MAX_MORE:
        return "no test set would tell so small a difference"
    # Where few groups decide, the estimate is below what is there.
    step = 10 ** max(0, math.floor(math.log10(max(more, 1))) - 1)
    return f"about {max(math.ceil(more / step) * step, 100):,} more test images would tell"


def _rest(judged: Judged) -> str:
    _, _, rest = describe(judged).partition(": ")
    return rest[0].upper() + rest[1:]


def _name(configuration: Configuration) -> str:
    results = configuration.results
    names = ", ".join(code_span(result.revision) for result in results)
    return names if len(results) == 1 else f"{names} (one configuration, {len(results)} seeds)"


def _write_signed(name: str, value: float) -> str:
    return f"{value:+.4f}" if name == "log_loss" else f"{100 * value:+.2f}"


def _write_interval(difference: Difference) -> str:
    assert difference.interval is not None
    return " to ".join(_write_signed(difference.name, end) for end in difference.interval)


def _tabulate(judged: Judged) -> list[str]:
    rows = []
    for each in judged.comparison.differences:
        before, after = (write_value(each.name, value) for value in (each.first, each.other))
        rows.append(f"| {TITLES[each.name]} | {before} | {after} | {write_points(each)} |")
    return ["| Metric | First | This | Difference |", "|---|--:|--:|--:|", *rows]


def _list_images(title: str, images: Sequence[int], paths: Sequence[str]) -> list[str]:
    if not images:
        return []
    shown = [f"- {code_span(paths[image])}" for image in images[:_MAX_LISTED]]
    more = len(images) - len(shown)
    lines = ["", f"{title}: {wording.plural(len(images), 'image')}", "", *shown]
    return lines + ([f"- and {more:,} more"] if more else [])


def _list_changes(judged: Judged, first: Configuration) -> list[str]:
    """Return the classes whose recall changed by more than chance, and the parameters that differ."""
    lines = []
    for label, each in judged.comparison.classes.items():
        if each.p_value < LEVEL:
            name = code_span(first.results[0].classes[label])
            recalls = f"{100 * each.first:.1f} % -> {100 * each.other:.1f} %"
            lines.append(f"- recall of {name}: {recalls}, {write_p(each.p_value)}")
    lines += [
        f"- `{key}`: {code_span(before)} -> {code_span(after)}"
        for key, before, after in list_changed_parameters(first, judged.configuration)
    ]
    return ["", "What differs:", "", *lines] if lines else []
