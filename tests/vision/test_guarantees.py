"""What the validation split promises: thresholds against a simulation, prediction sets against MAPIE."""

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from schemas.vision.checkpoint import Calibration, ConfidenceLevel
from stages.train.calibration import list_levels, thin_probabilities
from stages.vision.guarantees import (
    Bools,
    Floats,
    Ints,
    count_effective,
    explain_no_sets,
    explain_no_threshold,
    find_highest_target,
    find_set_threshold,
    find_threshold,
)


def make_level(num_images: int, num_correct: int, probability: float = 0.5) -> ConfidenceLevel:
    return ConfidenceLevel(
        probability=probability, num_images=num_images, num_correct=num_correct, num_effective=num_images
    )


def make_calibration(
    *levels: ConfidenceLevel, label_probabilities: tuple[float, ...] = (0.5,)
) -> Calibration:
    return Calibration(temperature=1.0, levels=levels, label_probabilities=label_probabilities)


def promises(num_images: int, num_correct: int, target: float, confidence: float = 0.9) -> bool:
    calibration = make_calibration(make_level(num_images, num_correct))
    return find_threshold(calibration, target_accuracy=target, confidence=confidence) is not None


def test_230_of_230_prove_99_percent() -> None:
    """229 do not, nor does one mistake more."""
    assert promises(230, 230, 0.99)
    assert not promises(229, 229, 0.99)
    assert not promises(230, 229, 0.99)
    assert not promises(10**6, 10**6, 1.0)


@pytest.mark.parametrize("num_images", [50, 800, 40_000])
@pytest.mark.parametrize("target", [0.5, 0.9, 0.99])
def test_test_is_the_binomial_one(num_images: int, target: float) -> None:
    """As many mistakes as scipy's binomial distribution says, and not one more."""
    allowed = int(stats.binom.ppf(0.1, num_images, 1 - target))
    if stats.binom.cdf(allowed, num_images, 1 - target) > 0.1:
        allowed -= 1
    assert not promises(num_images, num_images - allowed - 1, target)
    assert allowed < 0 or promises(num_images, num_images - allowed, target)


def test_sequence_ends_at_the_first_failure() -> None:
    """A lower level that would pass is not looked at; levels too small to pass do not count."""
    start, good = make_level(10, 9, 0.9), make_level(200, 200, 0.8)
    bad, late = make_level(300, 250, 0.7), make_level(10_000, 9_900, 0.6)
    found = find_threshold(make_calibration(start, good, bad, late), target_accuracy=0.95, confidence=0.9)
    assert found == 0.8
    found = find_threshold(make_calibration(start, good, late), target_accuracy=0.95, confidence=0.9)
    assert found == 0.6


def test_one_wrong_label_among_the_first_does_no_harm() -> None:
    """The sequence starts at three times the images that would do without a mistake, but at half at most."""
    wrong, more, all_of_them = (
        make_level(230, 229, 0.9),
        make_level(690, 689, 0.8),
        make_level(2000, 1998, 0.7),
    )
    calibration = make_calibration(wrong, more, all_of_them)
    assert find_threshold(calibration, target_accuracy=0.99, confidence=0.9) == 0.7
    few = make_calibration(make_level(230, 230, 0.9), make_level(300, 270, 0.8))
    assert find_threshold(few, target_accuracy=0.99, confidence=0.9) == 0.9


def test_groups_count_as_fewer_images() -> None:
    """Ten images of one group are worth one; groups of a hundred and a few single ones hardly more."""
    assert count_effective(np.arange(30)) == 30
    assert count_effective(np.arange(300) // 10) == 30
    assert count_effective(np.array([0] * 100 + [1, 2])) == pytest.approx(102**2 / 10_002)
    grouped = make_level(3000, 3000).model_copy(update={"num_effective": 30.0})
    assert find_threshold(make_calibration(grouped), target_accuracy=0.99, confidence=0.9) is None


def test_what_can_be_promised_is_said() -> None:
    """Too few images, too many mistakes, and groups are told apart."""
    few = make_calibration(make_level(19, 18))
    assert explain_no_threshold(few, target_accuracy=0.99, confidence=0.9) == (
        "19 validation images are too few to promise 99 % accuracy; the most that can be promised is 81 %"
    )
    wrong = make_calibration(make_level(1000, 900))
    assert explain_no_threshold(wrong, target_accuracy=0.95, confidence=0.9) == (
        "predictions for 1,000 validation images are not accurate enough to promise 95 % accuracy; the most "
        "that can be promised is 88.6 %"
    )
    grouped = make_calibration(make_level(190, 190).model_copy(update={"num_effective": 19.4}))
    assert "190 validation images in groups, worth 19, are too few" in explain_no_threshold(
        grouped, target_accuracy=0.99, confidence=0.9
    )
    nothing = make_calibration(make_level(3, 0))
    assert explain_no_threshold(nothing, target_accuracy=0.99, confidence=0.9).endswith(
        "nothing can be promised"
    )


def test_highest_target_is_the_last_that_holds() -> None:
    """Clopper and Pearson's lower bound for 95 of 100, rounded down to a tenth of a percent."""
    bound = stats.beta.ppf(0.1, 95, 6)
    found = find_highest_target(make_calibration(make_level(100, 95)), confidence=0.9)
    assert found == pytest.approx(np.floor(1000 * bound) / 1000)


def draw_validation(
    num_images: int, grouping: str, generator: np.random.Generator
) -> tuple[Floats, Bools, Ints]:
    """Return confidences that are true probabilities, correctness, and groups that share both."""
    groups = np.arange(num_images)
    if grouping == "tens":
        groups //= 10
    if grouping == "heavy":
        sizes = np.minimum(np.ceil(generator.pareto(1.2, num_images)).astype(int), num_images // 5)
        groups = np.repeat(np.arange(num_images), sizes)[:num_images]
    mistake = generator.beta(0.3, 2.7, num_images)[groups]
    return 1 - mistake, generator.random(num_images)[groups] >= mistake, groups


@pytest.mark.parametrize("grouping", ["single", "tens", "heavy"])
def test_promise_is_kept(grouping: str) -> None:
    """At least nine of ten networks keep the promise of 95 %, whatever the groups."""
    generator = np.random.default_rng(0)
    everyone = np.sort(draw_validation(200_000, "single", generator)[0])[::-1]
    accuracy = np.cumsum(everyone) / np.arange(1, len(everyone) + 1)
    num_kept = num_promised = 0
    for _ in range(100):
        confidence, is_correct, groups = draw_validation(2000, grouping, generator)
        calibration = make_calibration(*list_levels(confidence, is_correct, groups))
        threshold = find_threshold(calibration, target_accuracy=0.95, confidence=0.9)
        if threshold is not None:
            num_promised += 1
            num_kept += bool(accuracy[(everyone >= threshold).sum() - 1] >= 0.95)
    assert num_promised >= (10 if grouping == "heavy" else 80)
    assert num_kept >= 0.9 * num_promised


# By MAPIE 1.6.0, which is no dependency: SplitConformalClassifier(conformity_score="lac", prefit=True) on the
# first 40 images, prediction sets of the other 20.
MAPIE_SETS = {
    0.8: "c a bcd ad ab ac c ac d bc a ad bcd cd a c d ab ab a",
    0.9: "ac a bcd ad ab abc bc ac ad bcd abcd ad bcd cd a cd abd abcd ab ad",
    0.95: "abc a abcd ad abcd abcd bc ac ad abcd abcd acd abcd bcd ac cd abd abcd abc acd",
}


@pytest.mark.parametrize("coverage", MAPIE_SETS)
def test_sets_are_those_of_mapie(coverage: float) -> None:
    """Where no set is empty, ours are the same."""
    generator = np.random.default_rng(7)
    probabilities = generator.dirichlet([0.4] * 4, size=60)
    labels = (probabilities.cumsum(axis=1) > generator.random((60, 1))).argmax(axis=1)
    of_label = probabilities[np.arange(40), labels[:40]]
    calibration = make_calibration(make_level(40, 40), label_probabilities=thin_probabilities(of_label))
    threshold = find_set_threshold(calibration, coverage=coverage)
    assert threshold is not None
    found = ["".join("abcd"[at] for at in np.flatnonzero(row >= threshold)) for row in probabilities[40:]]
    assert found == MAPIE_SETS[coverage].split()


def test_sets_need_enough_images() -> None:
    """Of 19 images the highest coverage is 19 of 20."""
    calibration = make_calibration(make_level(19, 19), label_probabilities=tuple(np.linspace(1, 0.05, 19)))
    assert find_set_threshold(calibration, coverage=0.95) == pytest.approx(0.05)
    assert find_set_threshold(calibration, coverage=0.96) is None
    assert explain_no_sets(calibration, coverage=0.96) == (
        "19 validation images are too few for prediction sets of 96 % coverage; the highest coverage is 95 %"
    )


@pytest.mark.parametrize("grouping", ["single", "tens", "heavy"])
def test_sets_hold_the_truth_as_often_as_asked(grouping: str) -> None:
    """On average over many validation splits, whatever their groups."""
    generator, held = np.random.default_rng(0), []
    for _ in range(100):
        # The label's probability is all that a set's threshold looks at.
        of_label, _, groups = draw_validation(500, grouping, generator)
        level = make_level(500, 500).model_copy(update={"num_effective": count_effective(groups)})
        calibration = make_calibration(level, label_probabilities=thin_probabilities(of_label))
        threshold = find_set_threshold(calibration, coverage=0.9)
        fresh, _, _ = draw_validation(2000, "single", generator)
        held.append(1.0 if threshold is None else float((fresh >= threshold).mean()))
    assert np.mean(held) >= 0.9 - 2 * np.std(held) / 10


@pytest.mark.parametrize(
    "levels",
    [
        (),
        (make_level(5, 6),),
        (make_level(5, 5, 0.5), make_level(9, 9, 0.6)),
        (make_level(9, 5, 0.5), make_level(9, 9, 0.4)),
    ],
)
def test_impossible_calibrations_are_refused(levels: tuple[ConfidenceLevel, ...]) -> None:
    """A document whose levels are none, out of order, or more often correct than there are images."""
    with pytest.raises(ValidationError):
        make_calibration(*levels)
    with pytest.raises(ValidationError):
        make_calibration(make_level(1, 1), label_probabilities=(0.4, 0.5))
