"""The learning rate falls when validation no longer improves."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn, optim

from schemas.train.lr_scheduler import Plateau as PlateauParams
from schemas.vision.history import Scores
from stages.train.plateau import Plateau


def make_plateau(*, patience_epochs: int = 1, min_delta: float = 0.0, metric: str = "loss") -> Plateau:
    """Return a plateau that halves, down to 0.2."""
    arguments = PlateauParams(
        patience_epochs=patience_epochs, min_delta=min_delta, gamma=0.5, min_lr_fraction=0.2
    )
    return Plateau(arguments, metric=metric)


def make_scores(value: float, metric: str) -> Scores:
    """Return scores whose named one has a value."""
    others = {"loss": 1.0, "accuracy": 0.5, "balanced_accuracy": 0.5, "macro_f1": 0.5}
    return Scores.model_validate({**others, metric: value})


def follow(plateau: Plateau, values: list[float], *, metric: str = "loss") -> list[float]:
    """Return the factor after each epoch."""
    factors = []
    for value in values:
        plateau.watch(make_scores(value, metric))
        factors.append(plateau.factor)
    return factors


@settings(deadline=None)
@given(
    values=st.lists(st.integers(0, 20).map(lambda number: number / 20), min_size=1, max_size=25),
    patience_epochs=st.integers(0, 4),
    min_delta=st.sampled_from([0.0, 0.07]),
    metric=st.sampled_from(["loss", "accuracy"]),
)
def test_factor_is_that_of_torch(
    values: list[float], patience_epochs: int, min_delta: float, metric: str
) -> None:
    """For any course of the metric the factor is that of ReduceLROnPlateau."""
    optimizer = optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        mode="min" if metric == "loss" else "max",
        factor=0.5,
        patience=patience_epochs,
        threshold=min_delta,
        threshold_mode="abs",
        min_lr=0.2,
        eps=0.0,
    )
    expected = []
    for value in values:
        reference.step(value)
        expected.append(optimizer.param_groups[0]["lr"])
    plateau = make_plateau(patience_epochs=patience_epochs, min_delta=min_delta, metric=metric)
    assert follow(plateau, values, metric=metric) == pytest.approx(expected)


@pytest.mark.parametrize("num_before", [0, 1, 3, 5])
def test_resumed_plateau_goes_on(num_before: int) -> None:
    """A copy made from the saved state sees the rest of the run as the unbroken one does."""
    values = [1.0, 0.9, 0.95, 0.96, 0.97, 0.8, 0.85, 0.86, 0.87, 0.88]
    unbroken, first, resumed = make_plateau(), make_plateau(), make_plateau()
    expected = follow(unbroken, values)
    before = follow(first, values[:num_before])
    resumed.load_state_dict(first.state_dict())
    assert before + follow(resumed, values[num_before:]) == expected
    assert expected[-1] < 0.5
