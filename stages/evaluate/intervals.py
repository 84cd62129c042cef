"""Figures with what they are worth: 95 % intervals by the percentile bootstrap.

Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.vision.scores import Counts

NUM_RESAMPLES = 1000
_SEED = 0
_BOUNDS_PERCENT = (2.5, 97.5)
_NUMBERS_AT_ONCE = 2**22

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Figure:
    """A figure on the test split, and its 95 % interval."""

    name: str
    value: float
    low: float
    high: float


def accuracy(confusions: Counts) -> Numbers:
    """Return the share of right answers of each confusion matrix (..., C, C), rows true classes."""
    return _divide(_right(confusions).sum(axis=-1), confusions.sum(axis=(-2, -1)))


def balanced_accuracy(confusions: Counts) -> Numbers:
    """Return the mean recall over the classes that have images."""
    support = confusions.sum(axis=-1)
    recall = _divide(_right(confusions), support)
    return _divide(recall.sum(axis=-1), (support > 0).sum(axis=-1))


def macro_f1(confusions: Counts) -> Numbers:
    """Return the mean F1 over the classes that have images or answers."""
    seen = (confusions.sum(axis=-1) + confusions.sum(axis=-2)) > 0
    return _divide(_f1(confusions).sum(axis=-1), seen.sum(axis=-1))


def weighted_f1(confusions: Counts) -> Numbers:
    """Return the mean F1 over the images: large classes count for more."""
    support = confusions.sum(axis=-1)
    return _divide((_f1(confusions) * support).sum(axis=-1), support.sum(axis=-1))


def matthews_correlation(confusions: Counts) -> Numbers:
    """Return the correlation of true classes and answers; 0 where one of them is always the same.

    Source: Gorodkin 2004, Comparing two K-category assignments by a K-category correlation coefficient.
    """
    support, answers, total = _margins(confusions)
    agreement = _right(confusions).sum(axis=-1) * total - (support * answers).sum(axis=-1)
    spread = (total**2 - (support**2).sum(axis=-1)) * (total**2 - (answers**2).sum(axis=-1))
    return _divide(agreement, np.sqrt(spread))


def cohens_kappa(confusions: Counts) -> Numbers:
    """Return the agreement of true classes and answers beyond chance; 0 where chance explains it all.

    Source: Cohen 1960, A coefficient of agreement for nominal scales.
    """
    support, answers, total = _margins(confusions)
    by_chance = (support * answers).sum(axis=-1)
    return _divide(_right(confusions).sum(axis=-1) * total - by_chance, total**2 - by_chance)


OF_CONFUSION: Mapping[str, Callable[[Counts], Numbers]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "weighted_f1": weighted_f1,
    "matthews_correlation": matthews_correlation,
    "cohens_kappa": cohens_kappa,
}


def measure_figures(confusion: Counts, *, is_in_top_k: NDArray[np.bool_], losses: Numbers) -> list[Figure]:
    """Return every figure with its interval, the same on every run.

    Args:
        confusion: int64 (C, C), rows true classes.
        is_in_top_k: bool (N,), whether the true class is among the most probable.
        losses: float64 (N,), of each image.
    """
    generator = np.random.default_rng(_SEED)
    resampled = _resample_confusion(confusion, generator)
    figures = [
        _figure(name, float(measure(confusion)), resampled[name]) for name, measure in OF_CONFUSION.items()
    ]
    # The mean of drawn yes and no is a binomial share.
    num_images = len(losses)
    share = float(is_in_top_k.mean())
    shares = generator.binomial(num_images, share, NUM_RESAMPLES) / num_images
    figures.append(_figure("top_k_accuracy", share, shares))
    figures.append(_figure("loss", float(losses.mean()), _resample_mean(losses, generator)))
    return figures


def _resample_confusion(confusion: Counts, generator: np.random.Generator) -> dict[str, Numbers]:
    """Return every figure of the confusion matrix on each resample.

    Drawing images and counting them is drawing the counts, cell by cell, from a multinomial distribution.
    """
    cells = np.flatnonzero(confusion)
    counts = confusion.ravel()[cells]
    num_images = int(counts.sum())
    at_once = max(1, _NUMBERS_AT_ONCE // confusion.size)
    parts: dict[str, list[Numbers]] = {name: [] for name in OF_CONFUSION}
    for start in range(0, NUM_RESAMPLES, at_once):
        drawn = np.zeros((min(at_once, NUM_RESAMPLES - start), confusion.size), dtype=np.int64)
        drawn[:, cells] = generator.multinomial(num_images, counts / num_images, len(drawn))
        resamples = drawn.reshape(-1, *confusion.shape)
        for name, measure in OF_CONFUSION.items():
            parts[name].append(measure(resamples))
    return {name: np.concatenate(some) for name, some in parts.items()}


def _resample_mean(values: Numbers, generator: np.random.Generator) -> Numbers:
    at_once = max(1, _NUMBERS_AT_ONCE // len(values))
    means = [
        values[generator.integers(len(values), size=(min(at_once, NUM_RESAMPLES - start), len(values)))].mean(
            1
        )
        for start in range(0, NUM_RESAMPLES, at_once)
    ]
    return np.concatenate(means)


def _figure(name: str, value: float, resampled: Numbers) -> Figure:
    low, high = np.percentile(resampled, _BOUNDS_PERCENT).tolist()
    return Figure(name, value, low, high)


def _right(confusions: Counts) -> Counts:
    return np.diagonal(confusions, axis1=-2, axis2=-1)


def _margins(confusions: Counts) -> tuple[Numbers, Numbers, Numbers]:
    """Return images of each class, answers of each class and the number of images, as float64."""
    support, answers = confusions.sum(axis=-1).astype(float), confusions.sum(axis=-2).astype(float)
    return support, answers, support.sum(axis=-1)


def _f1(confusions: Counts) -> Numbers:
    return _divide(2 * _right(confusions), confusions.sum(axis=-1) + confusions.sum(axis=-2))


def _divide(numerator: NDArray[np.generic], denominator: NDArray[np.generic]) -> Numbers:
    """Divide, with 0 where there is nothing to divide by."""
    above, below = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=below != 0)


def write_figures(path: Path, figures: Sequence[Figure]) -> None:
    """Write a line for each figure with its interval."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["metric", "value", "low", "high"])
        writer.writerows(
            (each.name, *(f"{number:.9g}" for number in (each.value, each.low, each.high)))
            for each in figures
        )
