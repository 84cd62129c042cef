"""ROC AUC and average precision against scikit-learn, and what each image has to do with them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from stages.evaluate.answers import Answers
from stages.evaluate.ranking import measure_ranking, rank_images
from tests.evaluate.drawn_answers import answers, decide, draw_answers


def expected(
    found: Answers, label: int, weights: list[float] | None = None
) -> tuple[float | None, float | None]:
    """Return scikit-learn's AUC and average precision of a class, None where it has none."""
    is_positive, scores = found.labels == label, found.probabilities_of(slice(None))[:, label]
    if not is_positive.any():
        return None, None
    precision = reference.average_precision_score(is_positive, scores, sample_weight=weights)
    if is_positive.all():
        return None, float(precision)
    return float(reference.roc_auc_score(is_positive, scores, sample_weight=weights)), float(precision)


@settings(deadline=None)
@given(st.one_of(answers(), answers(with_equals=True)))
def test_figures_are_those_of_scikit_learn(found: Answers) -> None:
    """Each class and the means agree, also with equal probabilities and classes without images."""
    ranking = measure_ranking(found)
    areas, precisions = zip(*(expected(found, label) for label in range(found.num_classes)), strict=True)
    for separation, wanted in ((ranking.roc_auc, areas), (ranking.average_precision, precisions)):
        assert [value is None for value in separation.by_class] == [value is None for value in wanted]
        known = [value for value in wanted if value is not None]
        assert [value for value in separation.by_class if value is not None] == pytest.approx(known)
        if known:
            assert separation.mean == pytest.approx(np.mean(known))


def test_all_classes_there_is_what_scikit_learn_calls_ovr() -> None:
    """With images of every class the mean AUC is `roc_auc_score(multi_class="ovr")`."""
    found = draw_answers(200, num_classes=5)
    probabilities = found.probabilities_of(slice(None)).numpy()
    wanted = reference.roc_auc_score(found.labels, probabilities, multi_class="ovr", average="macro")
    assert measure_ranking(found).roc_auc.mean == pytest.approx(wanted)


def test_perfect_answers_score_one() -> None:
    """Nothing is left to gain, and no image has anything to do with it."""
    ranking = measure_ranking(decide(20 * torch.eye(3).repeat(4, 1), torch.arange(3).repeat(4)))
    for separation in (ranking.roc_auc, ranking.average_precision):
        assert (separation.mean, set(separation.by_class)) == (1.0, {1.0})
        assert separation.influence.tolist() == pytest.approx([0.0] * 12)


def test_one_image_leaves_nothing_to_tell_apart() -> None:
    """The AUC of a single class is chance; its precision is full."""
    ranking = measure_ranking(decide(torch.tensor([[1.0, 0.0]]), torch.tensor([0])))
    assert (ranking.roc_auc.mean, ranking.roc_auc.by_class) == (0.5, (None, None))
    assert (ranking.average_precision.mean, ranking.average_precision.by_class) == (1.0, (1.0, None))


@pytest.mark.parametrize("with_equals", [False, True])
def test_influence_is_the_derivative(with_equals: bool) -> None:
    """Counting one image a little more changes scikit-learn's weighted figures as its influence says."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(25, 3, generator=generator)
    if with_equals:
        logits = logits.round()
    found = decide(logits, torch.randint(3, (25,), generator=generator))
    ranking = measure_ranking(found)
    for image in range(found.num_images):
        ends = []
        for change in (-1e-4, 1e-4):
            weights = [1.0 + change * (other == image) for other in range(found.num_images)]
            pairs = [expected(found, label, weights) for label in range(3)]
            ends.append(np.mean(np.array(pairs, dtype=float), axis=0))
        slope = (ends[1] - ends[0]) / 2e-4
        found_slope = (ranking.roc_auc.influence[image], ranking.average_precision.influence[image])
        assert found_slope == pytest.approx(slope, abs=1e-7)


def test_influences_add_up_to_nothing() -> None:
    """Counting every image twice changes no figure."""
    ranking = measure_ranking(draw_answers(500))
    assert ranking.roc_auc.influence.sum() == pytest.approx(0, abs=1e-12)
    assert ranking.average_precision.influence.sum() == pytest.approx(0, abs=1e-12)


def test_steps_take_equal_scores_together() -> None:
    """Lowering a threshold takes in all images of one score at once."""
    steps = rank_images(np.array([0.5, 0.9, 0.5, 0.1]), np.array([True, True, False, False]))
    assert steps.lengths.tolist() == [1, 2, 1]
    assert steps.num_positive.tolist() == [1, 2, 2]
    assert steps.num_taken.tolist() == [1, 3, 4]
