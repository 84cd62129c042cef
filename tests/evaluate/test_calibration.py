"""Reliability, withheld answers and the risk they leave."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from schemas.vision.calibration import Calibration, Threshold
from stages.evaluate.calibration import (
    NUM_BINS,
    Reliability,
    bin_answers,
    measure_calibration,
    trace_risk,
)
from tests.evaluate.drawn_answers import decide, draw_answers


def calibration_of(*steps: tuple[float, float], temperature: float = 2.0) -> Calibration:
    """Return a calibration with thresholds (probability, accuracy)."""
    return Calibration(
        temperature=temperature,
        thresholds=tuple(
            Threshold(probability=probability, answered_fraction=0.5, accuracy=accuracy)
            for probability, accuracy in steps
        ),
    )


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(0, 1000))
def test_bins_are_those_of_scikit_learn(num_images: int, seed: int) -> None:
    """Fifteen bins of equal width hold the means that scikit-learn's calibration_curve finds."""
    generator = np.random.default_rng(seed)
    probabilities = generator.random(num_images)
    is_right = generator.random(num_images) < probabilities
    bins = bin_answers(probabilities, is_right)
    accuracies, means = calibration_curve(is_right, probabilities, n_bins=NUM_BINS)
    np.testing.assert_allclose([each.accuracy for each in bins], accuracies)
    np.testing.assert_allclose([each.probability for each in bins], means)
    assert sum(each.num_images for each in bins) == num_images


def test_error_is_the_weighted_distance() -> None:
    """Three answers at 0.9 of which all are right, and one at 0.5 that is wrong."""
    found = Reliability(bin_answers(np.array([0.9, 0.9, 0.9, 0.5]), np.array([True, True, True, False])))
    assert found.error == pytest.approx((3 * 0.1 + 1 * 0.5) / 4)
    assert Reliability(bin_answers(np.array([1.0]), np.array([True]))).error == 0.0


def test_risk_follows_the_most_probable_answers() -> None:
    """Each place gives the share of wrong answers among those at least as probable."""
    curve = trace_risk(np.array([0.9, 0.5, 0.8, 0.5]), np.array([True, False, False, True]))
    assert curve == [(0.25, 0.0), (0.5, 0.5), (1.0, 0.5)]


def test_risk_of_many_images_is_thinned() -> None:
    """Two hundred places are enough, both ends among them."""
    generator = np.random.default_rng(0)
    probabilities = generator.random(5000)
    curve = trace_risk(probabilities, generator.random(5000) < probabilities)
    assert len(curve) == 200
    assert curve[0][0] == 1 / 5000
    assert curve[-1][0] == 1.0


def test_threshold_is_the_one_of_the_validation_split() -> None:
    """The test split says what comes of it, it does not choose it."""
    drawn = draw_answers(300)
    logits, labels = drawn.logits, torch.from_numpy(drawn.labels)
    calibration = calibration_of((0.0, 0.3), (0.6, 0.8))
    figures = measure_calibration(decide(logits, labels, calibration=calibration), target_accuracy=0.75)
    probabilities, answers = torch.softmax(logits.double() / 2, dim=1).max(dim=1)
    given_answers = probabilities >= 0.6
    assert figures.withholding.answered_fraction == pytest.approx(given_answers.double().mean().item())
    right = (answers == labels)[given_answers].double().mean().item()
    assert figures.withholding.accuracy == pytest.approx(right)
    raw = torch.softmax(logits.double(), dim=1).max(dim=1).values
    mean_raw = sum(each.probability * each.num_images for each in figures.before.bins) / 300
    mean_after = sum(each.probability * each.num_images for each in figures.after.bins) / 300
    assert mean_raw == pytest.approx(raw.mean().item())
    assert mean_after == pytest.approx(probabilities.mean().item())


def test_target_out_of_reach_answers_nothing() -> None:
    """Without a threshold that is accurate enough no answer is given."""
    drawn = draw_answers(30)
    answers = decide(drawn.logits, torch.from_numpy(drawn.labels), calibration=calibration_of((0.0, 0.3)))
    figures = measure_calibration(answers, target_accuracy=0.9)
    assert figures.withholding.threshold is None
    assert (figures.withholding.answered_fraction, figures.withholding.accuracy) == (0.0, 0.0)
