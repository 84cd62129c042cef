"""The temperature, and what else of the validation split goes into a checkpoint."""

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
    MAX_LABEL_PROBABILITIES,
    MAX_LEVELS,
    calibrate,
    fit_temperature,
    list_levels,
    thin_probabilities,
)


def make_predictions(num_images: int = 400, *, scale: float = 5.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return logits (N, 4) that are too large by a scale, and labels drawn as the logits without it say."""
    generator = torch.Generator().manual_seed(seed)
    honest = 2 * torch.randn(num_images, 4, generator=generator)
    labels = torch.multinomial(honest.softmax(dim=1), 1, generator=generator).squeeze(1)
    return honest * scale, labels


def fit(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature for images that are groups of their own."""
    return fit_temperature(logits, labels, num_effective=len(labels))


@pytest.mark.parametrize("scale", [0.2, 5.0, 15.0])
def test_temperature_undoes_a_scale(scale: float) -> None:
    """Logits that are too large, or too small, by a factor get about that factor as temperature."""
    logits, labels = make_predictions(20_000, scale=scale)
    assert fit(logits, labels) == pytest.approx(scale, rel=0.05)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.floats(2, 10), st.sampled_from([60.0, 20.0]))
def test_temperature_is_the_most_probable(seed: int, scale: float, num_effective: float) -> None:
    """A search that knows nothing of derivatives finds the same maximum a posteriori."""
    logits, labels = make_predictions(60, scale=scale, seed=seed)
    found = fit_temperature(logits, labels, num_effective=num_effective)

    def loss(temperature: float) -> float:
        fitted = num_effective * functional.cross_entropy(logits.double() / temperature, labels).item()
        return float(fitted + np.log(temperature) ** 2 / (2 * 0.3**2))

    bounds = (LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE)
    reference = optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    if found != 1.0:
        assert loss(found) <= reference.fun + 1e-9
        assert found == pytest.approx(reference.x, rel=1e-4)


@pytest.mark.parametrize("num_images", [50, 1000])
def test_calibrated_network_is_left_alone(num_images: int) -> None:
    """Probabilities that are right keep their temperature of 1, but in one of ten cases."""
    found = [fit(*make_predictions(num_images, scale=1.0, seed=seed)) for seed in range(60)]
    assert 0.8 * 60 <= found.count(1.0) <= 59


def test_images_in_groups_move_the_temperature_less() -> None:
    """Images that count as fewer leave more to the prior."""
    logits, labels = make_predictions(400, scale=3.0)
    alone, grouped = (fit_temperature(logits, labels, num_effective=number) for number in (400.0, 10.0))
    assert 1 < grouped < alone - 0.3


def test_no_mistakes_say_nothing_about_mistakes() -> None:
    """If every prediction is correct, any certainty would be right; the probabilities stay as they are."""
    assert fit(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])) == 1.0


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        ([[0.0, 0.0]] * 2, [0, 1]),
        ([[9.0, 0.0]] * 3, [1, 1, 1]),
        ([[1e4, 0.0]] * 3, [0, 0, 1]),
        ([[0.001, 0.0]] * 1000, [0] * 999 + [1]),
    ],
)
def test_temperature_stays_within_bounds(logits: list[list[float]], labels: list[int]) -> None:
    """Logits that say nothing, nothing but mistakes, and extreme logits give a finite temperature."""
    assert LOWEST_TEMPERATURE <= fit(torch.tensor(logits), torch.tensor(labels)) <= HIGHEST_TEMPERATURE


def test_calibration_repeats_bit_for_bit() -> None:
    """The same logits give the same document."""
    logits, labels = make_predictions()
    groups = np.arange(400) // 4
    found = calibrate(logits, labels, groups=groups)
    assert found == calibrate(logits.clone(), labels.clone(), groups=groups)
    assert found.temperature > 2
    assert (found.levels[-1].num_images, found.levels[-1].num_effective) == (400, 100)


def test_levels_of_few_images() -> None:
    """Each counts the images at or above its probability; equal ones are never told apart."""
    confidence = np.array([0.9, 0.5, 0.8, 0.5, 0.6])
    is_correct = np.array([True, False, True, True, False])
    levels = list_levels(confidence, is_correct, np.array([0, 1, 0, 2, 3]))
    assert [level.probability for level in levels] == [0.9, 0.8, 0.6, 0.5]
    assert [level.num_images for level in levels] == [1, 2, 3, 5]
    assert [level.num_correct for level in levels] == [1, 2, 2, 3]
    assert [level.num_effective for level in levels] == [1, 1, pytest.approx(9 / 5), pytest.approx(25 / 7)]


@pytest.mark.parametrize("num_images", [1, 99, 101, 100_000])
def test_document_stays_short(num_images: int) -> None:
    """However many validation images there are; the last level has them all."""
    generator = np.random.default_rng(0)
    confidence = generator.random(num_images)
    levels = list_levels(confidence, generator.random(num_images) < confidence, np.arange(num_images))
    assert len(levels) == min(num_images, MAX_LEVELS)
    assert levels[-1].num_images == num_images
    assert len(thin_probabilities(confidence)) == min(num_images, MAX_LABEL_PROBABILITIES)


def test_quantiles_claim_no_more_than_their_share() -> None:
    """At least k thousandths of the images have a true class as probable as the k-th quantile."""
    of_label = np.random.default_rng(0).random(2345)
    for rank, quantile in enumerate(thin_probabilities(of_label), start=1):
        assert (of_label >= quantile).mean() >= rank / 1000 - 1e-12
