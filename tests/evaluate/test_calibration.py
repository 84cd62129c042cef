"""Reliability against scikit-learn, the interval of its error, selective prediction and prediction sets."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from schemas.vision.checkpoint import Calibration
from stages.evaluate.calibration import (
    NUM_BINS,
    Reliability,
    bin_predictions,
    estimate_ece,
    measure_calibration,
    trace_risk_coverage,
)
from tests.evaluate.drawn_predictions import draw_predictions, predict
from tests.vision.documents import CALIBRATION


@settings(deadline=None)
@given(st.integers(1, 600), st.integers(0, 1000))
def test_bins_are_those_of_scikit_learn(num_images: int, seed: int) -> None:
    """Bins of equally many images, at least 20, hold the means of scikit-learn's calibration_curve."""
    generator = np.random.default_rng(seed)
    probabilities = generator.random(num_images)
    is_correct = generator.random(num_images) < probabilities
    bins = bin_predictions(probabilities, is_correct)
    num_bins = min(NUM_BINS, max(1, num_images // 20))
    accuracies, means = calibration_curve(is_correct, probabilities, n_bins=num_bins, strategy="quantile")
    np.testing.assert_allclose([each.accuracy for each in bins], accuracies)
    np.testing.assert_allclose([each.confidence for each in bins], means)
    assert sum(each.num_images for each in bins) == num_images


def test_error_is_the_weighted_distance() -> None:
    """Forty correct predictions at 0.9, and twenty wrong ones at 0.5; equal confidences share a bin."""
    is_correct = np.arange(60) < 40
    found = Reliability(bin_predictions(np.where(is_correct, 0.9, 0.5), is_correct))
    assert found.error == pytest.approx((40 * 0.1 + 20 * 0.5) / 60)
    assert Reliability(bin_predictions(np.array([1.0]), np.array([True]))).error == 0.0


@pytest.mark.parametrize(("num_images", "size_of_group"), [(100, 1), (1000, 1), (1000, 10)])
@pytest.mark.parametrize(("gap", "shortfall"), [(0.0, 0.0), (0.1, 0.1)])
def test_interval_holds_the_true_error(
    num_images: int, size_of_group: int, gap: float, shortfall: float
) -> None:
    """In nine of ten samples, of a calibrated network and of one that is a tenth too sure of itself."""
    generator, num_held, num_samples = np.random.default_rng(0), 0, 40
    groups = np.arange(num_images) // size_of_group
    for _ in range(num_samples):
        confidence = (0.5 + 0.5 * generator.random(groups.max() + 1))[groups]
        is_correct = generator.random(groups.max() + 1)[groups] < confidence - gap
        share, _ = estimate_ece(confidence, is_correct, groups)
        num_held += share.low <= shortfall <= share.high
    assert num_held >= 0.9 * num_samples


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


def test_threshold_and_sets_are_those_of_the_validation_split() -> None:
    """The test split measures them but does not choose them."""
    drawn = draw_predictions(300)
    logits, labels = drawn.logits, torch.from_numpy(drawn.labels)
    found = predict(logits, labels, calibration=CALIBRATION)
    measured = measure_calibration(found, np.arange(300), target_accuracy=0.95, confidence=0.9)
    probabilities = torch.softmax(logits.double() / 1.25, dim=1)
    confidence, predicted = probabilities.max(dim=1)
    is_kept = confidence >= 2 / 3
    assert measured.selective.coverage == pytest.approx(is_kept.double().mean().item())
    assert measured.selective.accuracy is not None
    accuracy = (predicted == labels)[is_kept].double().mean().item()
    assert measured.selective.accuracy.value == pytest.approx(accuracy)

    sets = measured.sets[0]  # of 90 %: the last of four probabilities, 0.1
    in_sets = probabilities >= 0.1
    assert sets.coverage is not None
    held = in_sets.gather(1, labels[:, None]).double().mean().item()
    assert sets.coverage.value == pytest.approx(held)
    assert sets.mean_size == pytest.approx(in_sets.sum(dim=1).double().mean().item())


def test_reliability_is_measured_before_and_after() -> None:
    """Mean confidences are those of the plain softmax, and of the softmax at the temperature."""
    drawn = draw_predictions(300)
    found = predict(drawn.logits, torch.from_numpy(drawn.labels), calibration=CALIBRATION)
    measured = measure_calibration(found, np.arange(300), target_accuracy=0.5, confidence=0.9)
    for reliability, temperature in ((measured.before, 1.0), (measured.after, 1.25)):
        mean = sum(each.confidence * each.num_images for each in reliability.bins) / 300
        confidence = torch.softmax(drawn.logits.double() / temperature, dim=1).max(dim=1).values
        assert mean == pytest.approx(confidence.mean().item())
    assert measured.ece.value == pytest.approx(measured.after.error)


def few_images(calibration: Calibration) -> Calibration:
    """Return a calibration by 19 of its images."""
    level = calibration.levels[0].model_copy(
        update={"num_images": 19, "num_correct": 19, "num_effective": 19.0}
    )
    return calibration.model_copy(update={"levels": (level,)})


def test_target_out_of_reach_keeps_nothing() -> None:
    """What the validation split cannot promise has no accuracy, and the reason is given."""
    drawn = draw_predictions(30)
    found = predict(drawn.logits, torch.from_numpy(drawn.labels), calibration=few_images(CALIBRATION))
    measured = measure_calibration(found, np.arange(30), target_accuracy=0.99, confidence=0.9)
    selective = measured.selective
    assert (selective.threshold, selective.coverage, selective.accuracy) == (None, 0.0, None)
    assert "19 validation images are too few to promise 99 %" in selective.why_none
    assert "19 validation images are too few for prediction sets of 99 %" in measured.sets[2].why_none
