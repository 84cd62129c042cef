"""Which labels are suspected, and whether as many of them are wrong as is said."""

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor

from stages.evaluate.label_errors import _fit_rate, find_label_errors
from tests.evaluate.drawn_predictions import predict


def draw(
    *, num_images: int, num_classes: int, spread: float, rate: float, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits of a calibrated network, the true labels that follow them, and those with wrong ones."""
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(num_images, num_classes, generator=generator)
    truth = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    is_wrong = torch.rand(num_images, generator=generator) < rate
    shift = torch.randint(1, num_classes, (num_images,), generator=generator)
    return logits, truth, torch.where(is_wrong, (truth + shift) % num_classes, truth)


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.2])
def test_the_rate_is_the_most_probable_one(rate: float) -> None:
    """Bisection finds what SciPy finds as the maximum of the likelihood."""
    logits, _, labels = draw(num_images=3000, num_classes=5, spread=6, rate=rate, seed=1)
    found = logits.double().softmax(1).gather(1, labels[:, None])[:, 0].numpy()
    at_random = (1 - found) / 4

    def loss(share: float) -> float:
        return -float(np.log((1 - share) * found + share * at_random).sum())

    best = scipy.optimize.minimize_scalar(loss, bounds=(0, 0.5), method="bounded", options={"xatol": 1e-9})
    assert _fit_rate(found, at_random) == pytest.approx(best.x, abs=1e-6)
    assert _fit_rate(found, at_random) == pytest.approx(rate, abs=0.03)


@pytest.mark.parametrize(("num_classes", "rate"), [(2, 0.05), (10, 0.01), (10, 0.05), (100, 0.03)])
def test_as_many_are_wrong_as_is_said(num_classes: int, rate: float) -> None:
    """Over twenty test splits, the expected number of wrong labels is the real one but for chance."""
    expected, wrong, total = 0.0, 0, 0
    for seed in range(20):
        logits, truth, labels = draw(num_images=1000, num_classes=num_classes, spread=8, rate=rate, seed=seed)
        suspects = find_label_errors(predict(logits, labels))
        expected += float(suspects.probabilities.sum())
        wrong += int((truth != labels)[torch.from_numpy(suspects.images)].sum())
        total += len(suspects.images)
    assert total > 50
    assert wrong / total == pytest.approx(expected / total, abs=0.08)


def test_planted_errors_are_found_the_most_probable_first() -> None:
    """Of 300 images that are easy to tell apart, exactly the three with a wrong label are found."""
    truth = torch.arange(300) % 3
    logits = 8.0 * torch.nn.functional.one_hot(truth).float()
    logits[17] *= 2
    labels = truth.clone()
    labels[[5, 17, 101]] = (truth[[5, 17, 101]] + 1) % 3
    suspects = find_label_errors(predict(logits, labels))
    assert suspects.images.tolist() == [17, 5, 101]
    assert suspects.suggestions.tolist() == truth[[17, 5, 101]].tolist()
    assert suspects.expected_precision > 0.9


def test_a_predicted_label_is_never_suspected() -> None:
    """As in cleanlab: if the most probable class is the label, there is nothing to suggest."""
    for seed in range(20):
        logits, _, labels = draw(num_images=200, num_classes=4, spread=3, rate=0.4, seed=seed)
        drawn = predict(logits, labels)
        assert not drawn.is_correct[find_label_errors(drawn).images].any()


def test_no_mistakes_mean_no_suspects() -> None:
    """If each image gets its own class, none is suspected, and nothing is withheld."""
    labels = torch.arange(20) % 2
    suspects = find_label_errors(predict(10.0 * torch.eye(2)[labels], labels))
    assert (len(suspects.images), suspects.is_withheld) == (0, False)


def test_a_poor_network_does_not_know() -> None:
    """Few labels beside many mistakes are withheld: they may as well be mistakes of the network."""
    logits, _, labels = draw(num_images=3000, num_classes=10, spread=1, rate=0, seed=0)
    at = torch.arange(3)
    logits[at] = 12.0 * torch.nn.functional.one_hot((labels[at] + 1) % 10, 10).float()
    suspects = find_label_errors(predict(logits, labels))
    assert (len(suspects.images), suspects.is_withheld) == (0, True)
