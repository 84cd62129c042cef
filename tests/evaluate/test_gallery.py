"""Which images the fields of the confusion matrix show."""

import numpy as np
import pytest
import torch

from stages.evaluate.answers import Answers, decide_answers
from stages.evaluate.confusion import choose_matrix_classes, rank_confused_pairs
from stages.evaluate.gallery import choose_examples, list_shown_fields
from tests.vision.documents import CALIBRATION


def make_answers(labels: list[int], predicted: list[int], sureness: list[float], num_classes: int) -> Answers:
    logits = torch.zeros(len(labels), num_classes)
    logits[range(len(labels)), predicted] = torch.tensor(sureness, dtype=torch.float32)
    return decide_answers(logits, torch.tensor(labels), calibration=CALIBRATION)


def test_the_telling_images_come_first() -> None:
    """Of mistakes the surest come first, of right answers the least sure."""
    answers = make_answers([0, 0, 0, 0, 1], [0, 0, 1, 1, 1], [3, 2, 2, 4, 1], num_classes=3)
    assert choose_examples(answers, fields=list_shown_fields(answers.confusion)) == {
        (0, 0): [1, 0],
        (0, 1): [3, 2],
        (1, 1): [4],
    }


@pytest.mark.parametrize(("num_classes", "num_images"), [(2, 5000), (10, 5000), (30, 20_000), (300, 20_000)])
def test_images_are_bounded_and_shared_out(num_classes: int, num_images: int) -> None:
    """At most twelve of a field and 900 in all, but at least one of every field that is shown."""
    generator = np.random.default_rng(0)
    labels, predicted = (generator.integers(0, num_classes, num_images).tolist() for _ in range(2))
    sureness = generator.uniform(1, 5, num_images).tolist()
    answers = make_answers(labels, predicted, sureness, num_classes)
    fields = list_shown_fields(answers.confusion)
    chosen = choose_examples(answers, fields=fields)
    assert list(chosen) == fields
    assert all(1 <= len(images) <= 12 for images in chosen.values())
    assert sum(len(images) for images in chosen.values()) <= 900
    for (label, answer), images in chosen.items():
        assert {(labels[at], predicted[at]) for at in images} == {(label, answer)}


def test_of_many_classes_those_of_the_most_frequent_mistakes_are_shown() -> None:
    """Above thirty classes at most twenty have a row, and every listed pair can be asked for."""
    confusion = np.eye(100, dtype=np.int64) * 50
    confusion[7, 70], confusion[70, 3] = 9, 4
    confusion[20:40, 41] = 1
    shown = choose_matrix_classes(confusion)
    assert {3, 7, 70} <= set(shown)
    assert len(shown) <= 20
    assert shown == sorted(shown)
    pairs = {(pair.label, pair.predicted) for pair in rank_confused_pairs(confusion)}
    assert (7, 70) in pairs
    assert pairs <= set(list_shown_fields(confusion))
