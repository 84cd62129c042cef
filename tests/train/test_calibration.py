"""The temperature and the thresholds fitted to the validation split."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from torch import Tensor
from torch.nn import functional

from stages.train.calibration import (
    HIGHEST_TEMPERATURE,
    LOWEST_TEMPERATURE,
    calibrate,
    fit_temperature,
    list_thresholds,
)


def make_predictions(num_images: int = 400, *, scale: float = 5.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return logits (N, 4) that are too large by a scale, and labels drawn as the logits without it say."""
    generator = torch.Generator().manual_seed(seed)
    honest = 2 * torch.randn(num_images, 4, generator=generator)
    labels = torch.multinomial(honest.softmax(dim=1), 1, generator=generator).squeeze(1)
    return honest * scale, labels


@pytest.mark.parametrize("scale", [0.2, 1.0, 5.0, 15.0])
def test_temperature_undoes_a_scale(scale: float) -> None:
    """Logits that are too large, or too small, by a factor get about that factor as temperature."""
    logits, labels = make_predictions(20_000, scale=scale)
    assert fit_temperature(logits, labels) == pytest.approx(scale, rel=0.05)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.floats(0.2, 10))
def test_temperature_is_the_minimum_of_the_loss(seed: int, scale: float) -> None:
    """A search for the lowest cross-entropy that knows nothing of derivatives finds the same."""
    logits, labels = make_predictions(60, scale=scale, seed=seed)
    found = fit_temperature(logits, labels)

    def loss(temperature: float) -> float:
        return functional.cross_entropy(logits.double() / temperature, labels).item()

    bounds = (LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE)
    reference = optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    assert loss(found) <= reference.fun + 1e-12
    assert found == pytest.approx(reference.x, rel=1e-4)


def test_no_mistakes_say_nothing_about_mistakes() -> None:
    """If every prediction is correct, any certainty would be right; the probabilities stay as they are."""
    assert fit_temperature(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])) == 1.0


@pytest.mark.parametrize(
    ("logits", "labels", "expected"),
    [
        ([[0.0, 0.0]] * 2, [0, 1], 1.0),
        ([[9.0, 0.0]] * 3, [1, 1, 1], HIGHEST_TEMPERATURE),
        ([[1e4, 0.0]] * 3, [0, 0, 1], HIGHEST_TEMPERATURE),
        ([[0.001, 0.0]] * 1000, [0] * 999 + [1], LOWEST_TEMPERATURE),
    ],
)
def test_temperature_stays_within_bounds(
    logits: list[list[float]], labels: list[int], expected: float
) -> None:
    """Logits that say nothing, nothing but mistakes, and extreme logits give a finite temperature."""
    assert fit_temperature(torch.tensor(logits), torch.tensor(labels)) == pytest.approx(expected)


def test_predictions_stay_the_same() -> None:
    """Calibration is of certainty only, and repeats bit for bit."""
    logits, labels = make_predictions()
    assert calibrate(logits, labels) == calibrate(logits.clone(), labels.clone())
    assert calibrate(logits, labels).temperature > 2


def test_thresholds_of_few_images() -> None:
    """Each threshold counts its predictions and one more that is wrong; those no better are left out."""
    probabilities = torch.tensor([0.9, 0.5, 0.8, 0.7, 0.6, 0.95], dtype=torch.float64)
    is_correct = torch.tensor([True, False, True, False, True, True])
    thresholds = list_thresholds(probabilities, is_correct)
    assert [step.probability for step in thresholds] == [0.0, 0.6, 0.8]
    assert [step.coverage for step in thresholds] == [1.0, 5 / 6, 3 / 6]
    assert [step.accuracy for step in thresholds] == [4 / 7, 4 / 6, 3 / 4]


def test_equal_probabilities_stand_on_one_side() -> None:
    """No threshold tells images of the same probability apart."""
    probabilities = torch.tensor([0.9] * 50 + [0.5] * 4, dtype=torch.float64)
    is_correct = torch.tensor([True] * 50 + [True, False, False, False])
    assert [step.probability for step in list_thresholds(probabilities, is_correct)] == [0.0, 0.9]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=1, max_size=80))
def test_thresholds_do_what_they_say(predictions: list[tuple[int, bool]]) -> None:
    """On the images that they come from each has its share and its accuracy, and no lower one is as good."""
    probabilities = torch.tensor([number / 40 for number, _ in predictions], dtype=torch.float64)
    is_correct = torch.tensor([right for _, right in predictions])
    thresholds = list_thresholds(probabilities, is_correct)
    for step in thresholds:
        is_above = probabilities >= step.probability
        assert step.coverage == pytest.approx(is_above.double().mean().item())
        expected = is_correct[is_above].sum().item() / (is_above.sum().item() + 1)
        assert step.accuracy == pytest.approx(expected)
    for value in np.unique(probabilities.numpy()):
        is_above = probabilities >= value
        accuracy = is_correct[is_above].sum().item() / (is_above.sum().item() + 1)
        at_least_as_low = [step for step in thresholds if step.probability <= value]
        assert at_least_as_low[-1].accuracy > accuracy - 1e-3


def test_list_stays_short() -> None:
    """A hundred thousand validation images leave at most a thousand thresholds."""
    probabilities = torch.linspace(0.1, 1, 100_000, dtype=torch.float64)
    is_correct = torch.rand(100_000, generator=torch.Generator().manual_seed(0)) < probabilities
    assert 100 < len(list_thresholds(probabilities, is_correct)) <= 1000
