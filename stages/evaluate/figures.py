"""Headline figures of answers, from counts of the classes alone: many resamples of them at once."""

from collections.abc import Callable, Mapping

import numpy as np

from stages.vision.scores import Numbers, Tally, accuracy, balanced_accuracy, divide, f1, macro_f1


def weighted_f1(tally: Tally) -> Numbers:
    """Return the mean F1 over the images: large classes count for more."""
    return divide((f1(tally) * tally.support).sum(axis=-1), tally.total)


def matthews_correlation(tally: Tally) -> Numbers:
    """Return the correlation of true classes and answers; 0 where one of them is always the same.

    Source: Gorodkin 2004, Comparing two K-category assignments by a K-category correlation coefficient.
    """
    agreement = tally.right.sum(axis=-1) * tally.total - (tally.support * tally.answers).sum(axis=-1)
    of_labels, of_answers = (
        tally.total**2 - (counts**2).sum(axis=-1) for counts in (tally.support, tally.answers)
    )
    return divide(agreement, np.sqrt(of_labels * of_answers))


def cohens_kappa(tally: Tally) -> Numbers:
    """Return the agreement of true classes and answers beyond chance; 0 where chance explains it all.

    Source: Cohen 1960, A coefficient of agreement for nominal scales.
    """
    by_chance = (tally.support * tally.answers).sum(axis=-1)
    return divide(tally.right.sum(axis=-1) * tally.total - by_chance, tally.total**2 - by_chance)


OF_TALLY: Mapping[str, Callable[[Tally], Numbers]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "weighted_f1": weighted_f1,
    "matthews_correlation": matthews_correlation,
    "cohens_kappa": cohens_kappa,
}
