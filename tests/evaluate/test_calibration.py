"""Reliability against scikit-learn, selective prediction and its risk."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from schemas.vision.checkpoint import Calibration, Threshold
from stages.evaluate.calibration import (
    NUM_BINS,
    Reliability,
    bin_predictions,
    measure_calibration,
    trace_risk_coverage,
)
from tests.evaluate.drawn_predictions import draw_predictions, predict


def calibration_of(*steps: tuple[float, float], temperature: float = 2.0) -> Calibration:
    """Return a calibration with thresholds (probability, accuracy)."""
    return Calibration(
        temperature=temperature,
        thresholds=tuple(
            Threshold(probability=probability, coverage=0.5, accuracy=accuracy)
            for probability, accuracy in steps
        ),
    )


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(0, 1000))
def test_bins_are_those_of_scikit_learn(num_images: int, seed: int) -> None:
    """Fifteen bins of equal width hold the means that scikit-learn's calibration_curve finds."""
    generator = np.random.default_rng(seed)
    probabilities = generator.random(num_images)
    is_correct = generator.random(num_images) < probabilities
    bins = bin_predictions(probabilities, is_correct)
    accuracies, means = calibration_curve(is_correct, probabilities, n_bins=NUM_BINS)
    np.testing.assert_allclose([each.accuracy for each in bins], accuracies)
    np.testing.assert_allclose([each.confidence for each in bins], means)
    assert sum(each.num_images for each in bins) == num_images


def test_error_is_the_weighted_distance() -> None:
    """Three correct predictions at 0.9, and a wrong one at 0.5."""
    found = Reliability(bin_predictions(np.array([0.9, 0.9, 0.9, 0.5]), np.array([True, True, True, False])))
    assert found.error == pytest.approx((3 * 0.1 + 1 * 0.5) / 4)
    assert Reliability(bin_predictions(np.array([1.0]), np.array([True]))).error == 0.0


def test_risk_is_that_of_the_most_confident() -> None:
    """Each point gives the error rate of the predictions that are at least as confident."""
    curve = trace_risk_coverage(np.array([0.9, 0.5, 0.8, 0.5]), np.array([True, False, False, True]))
    assert curve == [(0.25, 0.0), (0.5, 0.5), (1.0, 0.5)]


def test_risk_of_many_images_is_thinned() -> None:
    """Two hundred points are kept, both ends among them."""
    generator = np.random.default_rng(0)
    probabilities = generator.random(5000)
    curve = trace_risk_coverage(probabilities, generator.random(5000) < probabilities)
    assert len(curve) == 200
    assert curve[0][0] == 1 / 5000
    assert curve[-1][0] == 1.0


def test_threshold_is_the_one_of_the_validation_split() -> None:
    """The test split measures it but does not choose it."""
    drawn = draw_predictions(300)
    logits, labels = drawn.logits, torch.from_numpy(drawn.labels)
    calibration = calibration_of((0.0, 0.3), (0.6, 0.8))
    measured = measure_calibration(predict(logits, labels, calibration=calibration), target_accuracy=0.75)
    probabilities, predicted = torch.softmax(logits.double() / 2, dim=1).max(dim=1)
    is_kept = probabilities >= 0.6
    assert measured.selective.coverage == pytest.approx(is_kept.double().mean().item())
    accuracy = (predicted == labels)[is_kept].double().mean().item()
    assert measured.selective.accuracy == pytest.approx(accuracy)
    raw = torch.softmax(logits.double(), dim=1).max(dim=1).values
    mean_raw = sum(each.confidence * each.num_images for each in measured.before.bins) / 300
    mean_after = sum(each.confidence * each.num_images for each in measured.after.bins) / 300
    assert mean_raw == pytest.approx(raw.mean().item())
    assert mean_after == pytest.approx(probabilities.mean().item())


def test_target_out_of_reach_keeps_nothing() -> None:
    """Without a threshold that is accurate enough, no prediction is kept."""
    drawn = draw_predictions(30)
    found = predict(drawn.logits, torch.from_numpy(drawn.labels), calibration=calibration_of((0.0, 0.3)))
    measured = measure_calibration(found, target_accuracy=0.9)
    assert measured.selective.threshold is None
    assert (measured.selective.coverage, measured.selective.accuracy) == (0.0, 0.0)
