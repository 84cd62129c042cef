"""What to do next: at most three steps, each from a rule over what was measured."""

import math
from collections.abc import Iterator, Mapping
from itertools import chain, islice

from stages.evaluate.baseline import Baseline
from stages.evaluate.report.content import ReportContent
from stages.pages.wording import Sentence, percent, plural

_NUM_STEPS = 3
_REMEDIES: Mapping[str, tuple[str, str, str]] = {
    "leaks": ("leak", "leaks", "set split.leaks: exclude"),
    "conflicting_labels": (
        "image with conflicting labels",
        "images with conflicting labels",
        "correct the labels, or set audit.conflicting_labels: exclude",
    ),
}
"""Of findings that make the metrics wrong: one, many, what to do."""

_FALL = 0.01
"""Of the loss of guessing: by so much validation loss falls in the last quarter if more epochs may help."""

_RISE = 0.05
"""Of the same: by so much it has risen since its best where the network overfits."""

_MAX_INTERVAL = 0.1
_MAX_IMBALANCE_COST = 0.1


def list_next_steps(content: ReportContent) -> list[Sentence]:
    """Return the first three steps of which the rules hold, the most urgent first."""
    rules = (
        _mend_data,
        _beat_guessing,
        _beat_features,
        _train_longer,
        _overfit_less,
        _help_class,
        _balance,
        _test_more,
        _check_labels,
    )
    return list(islice(chain.from_iterable(rule(content) for rule in rules), _NUM_STEPS))


def _mend_data(content: ReportContent) -> Iterator[Sentence]:
    for findings in content.findings:
        num_kept = findings.num_found - findings.num_left_out
        if findings.kind in _REMEDIES and num_kept:
            one, many, remedy = _REMEDIES[findings.kind]
            yield Sentence(f"{plural(num_kept, one, many)}: {remedy}.")


def _beat_guessing(content: ReportContent) -> Iterator[Sentence]:
    """Ask for another network, unless no test image is left that it could get right."""
    low, _ = content.accuracy_interval
    accuracy, by_largest = content.metrics.accuracy, content.metrics.majority_accuracy
    if low <= by_largest and accuracy < 1:
        found = "No" if accuracy <= by_largest else "Not shown to be"
        yield Sentence(
            f"{found} better than always predicting one class: train for more epochs, try other values of "
            "optimizer.lr, start from pretrained weights, or add images."
        )


def _beat_features(content: ReportContent) -> Iterator[Sentence]:
    """Say what to change where training the network lost what its pretrained features knew."""
    baseline = content.baseline
    if isinstance(baseline, Baseline) and baseline.against_better.verdict == "worse":
        advice = (
            "train for more epochs, or raise optimizer.lr"
            if baseline.is_frozen
            else "lower optimizer.lr or transfer.backbone_lr_factor, or freeze the backbone for longer"
        )
        yield Sentence(f"Worse than {percent(baseline.best.value)}, the pretrained features alone: {advice}.")


def _train_longer(content: ReportContent) -> Iterator[Sentence]:
    losses = [each.val.loss for each in content.history.epochs]
    earlier = losses[math.floor(0.75 * (len(losses) - 1))]
    is_falling = losses[-1] == min(losses) and losses[-1] < earlier - _FALL * _guess(content)
    if is_falling and content.history.ended_by == "num_epochs":
        yield Sentence(f"Validation loss still falls: raise training.num_epochs above {len(losses)}.")


def _guess(content: ReportContent) -> float:
    """Return the loss of uniform guessing, the scale of all differences of losses."""
    return math.log(len(content.per_class))


def _overfit_less(content: ReportContent) -> Iterator[Sentence]:
    epochs = content.history.epochs
    best = min(epochs, key=lambda each: each.val.loss)
    is_rising = epochs[-1].val.loss > best.val.loss + _RISE * _guess(content)
    if is_rising and epochs[-1].train_loss < best.train_loss:
        yield Sentence(
            f"After epoch {best.epoch} validation loss rises while training loss falls: add random "
            "transforms, raise optimizer.weight_decay, or add images."
        )


def _help_class(content: ReportContent) -> Iterator[Sentence]:
    """Name the class of the lowest recall, if more than chance sets it apart, and what it is taken for."""
    if (label := content.hardest) is None:
        return
    others = content.confusion[label].copy()
    others[label] = 0
    predicted = int(others.argmax())
    taken = f"{others[predicted]} of {content.per_class[label].support} taken for"
    yield Sentence(
        f"{{}}: recall {percent(content.per_class[label].recall)}, {taken} {{}}: look at these images, and "
        "add more of both.",
        (content.checkpoint.classes[label], content.checkpoint.classes[predicted]),
    )


def _balance(content: ReportContent) -> Iterator[Sentence]:
    metrics = content.metrics
    if metrics.accuracy - metrics.balanced_accuracy > _MAX_IMBALANCE_COST:
        yield Sentence(
            f"Balanced accuracy, {percent(metrics.balanced_accuracy)}, is far below the accuracy: small "
            "classes suffer. Set loader.sampling: balanced, or loss.class_weights: balanced."
        )


def _test_more(content: ReportContent) -> Iterator[Sentence]:
    low, high = content.accuracy_interval
    if high - low > _MAX_INTERVAL:
        yield Sentence(
            f"The accuracy may be anything from {percent(low)} to {percent(high)}: test more images, by "
            "split.test_fraction or in turns by split.folds."
        )


def _check_labels(content: ReportContent) -> Iterator[Sentence]:
    if num_suspected := len(content.examples.label_errors.images):
        yield Sentence(f"{plural(num_suspected, 'test image')} may be mislabeled: check the labels.")
