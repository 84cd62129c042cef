"""What fresh seeds say of the best of some trials."""

import numpy as np
import pytest
from scipy.stats import ttest_rel

from tools.tune.confirmation import confirm, describe


def simulate(lead: float, *, num: int, num_trials: int = 3, num_seeds: int = 3) -> list[str]:
    """Return the words on searches whose trials all lead by so many standard deviations of the seed."""
    rng = np.random.default_rng(0)
    words: list[str] = []
    for _ in range(num):
        values = rng.normal(size=(num_trials + 1, num_seeds)) + rng.normal(size=num_seeds)
        trials = {number: list(values[number] + lead) for number in range(num_trials)}
        words.append(confirm(trials, list(values[-1]), direction="maximize").word)
    return words


def test_chance_is_seldom_called_better() -> None:
    """Of searches that found nothing, at most 2.5 % are said to have: the winner is the best of three."""
    words = simulate(0.0, num=1500)
    assert words.count("better") <= 0.025 * 1500 + 2 * np.sqrt(0.025 * 1500)
    assert words.count("cannot tell") > 0


def test_a_clear_lead_is_told() -> None:
    """Three seeds tell a lead of five standard deviations nearly always."""
    assert simulate(5.0, num=200).count("better") >= 190


def test_of_one_trial_it_is_the_paired_t_test() -> None:
    """The same interval, by another way."""
    trial, committed = [0.9, 0.95, 0.93, 0.97], [0.8, 0.9, 0.81, 0.92]
    found = confirm({7: trial}, committed, direction="maximize")
    interval = ttest_rel(trial, committed).confidence_interval(0.95)
    assert found.half_width is not None
    assert found.lead - found.half_width == pytest.approx(interval.low)
    assert found.lead + found.half_width == pytest.approx(interval.high)


def test_the_winner_has_the_best_mean() -> None:
    """Of a loss the smallest; of equals the first that was tried."""
    values = {4: [0.3, 0.3], 1: [0.1, 0.3], 2: [0.2, 0.2]}
    found = confirm(values, [0.5, 0.6], direction="minimize")
    assert found.winner == 1
    assert found.mean == pytest.approx(0.2)
    assert found.lead == pytest.approx(0.35)


@pytest.mark.parametrize(
    ("trial", "expected"),
    [
        ([0.10, 0.11, 0.12], "better than the committed parameters by 0.2 on 3 fresh seeds"),
        ([0.29, 0.32, 0.31], "cannot tell whether it is better"),
        ([0.40, 0.41, 0.42], "does not beat the committed parameters on 3 fresh seeds"),
    ],
)
def test_the_verdict_in_words(trial: list[float], expected: str) -> None:
    """Each has the means, from which one can see it."""
    found = confirm({0: trial}, [0.30, 0.31, 0.32], direction="minimize")
    said = describe(found, "val.loss", num_seeds=3)
    assert said.startswith(expected)
    assert "against 0.31" in said


def test_one_seed_cannot_tell() -> None:
    """It has no spread."""
    found = confirm({0: [0.1]}, [0.9], direction="minimize")
    assert (found.word, found.half_width) == ("cannot tell", None)
    assert "on 1 fresh seed (" in describe(found, "val.loss", num_seeds=1)
