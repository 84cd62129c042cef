"""Which test images the report shows."""

import numpy as np
import pytest
import torch

from stages.evaluate.examples import choose_cell_images, list_shown_cells, rank_mistakes
from stages.evaluate.predictions import Predictions
from tests.evaluate.drawn_predictions import predict


def make_predictions_of(
    labels: list[int], predicted: list[int], logits: list[float], num_classes: int
) -> Predictions:
    """Return predictions with this logit for the predicted class, 0 for the others."""
    all_logits = torch.zeros(len(labels), num_classes)
    all_logits[range(len(labels)), predicted] = torch.tensor(logits, dtype=torch.float32)
    return predict(all_logits, torch.tensor(labels))


def test_worst_mistakes_come_first() -> None:
    """Only mistakes are listed, the least probable true class first; ties keep their order."""
    probabilities = torch.tensor([[0.9, 0.1], [0.3, 0.7], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]])
    labels = torch.tensor([0, 0, 0, 0, 1])
    assert rank_mistakes(predict(probabilities.log(), labels)) == [2, 1, 3, 4]
    assert rank_mistakes(predict(probabilities[:1].log(), labels[:1])) == []


def test_the_most_telling_images_come_first() -> None:
    """Of mistakes the most confident come first, of correct predictions the least confident."""
    drawn = make_predictions_of([0, 0, 0, 0, 1], [0, 0, 1, 1, 1], [3, 2, 2, 4, 1], num_classes=3)
    assert choose_cell_images(drawn, cells=list_shown_cells(drawn.confusion)) == {
        (0, 0): [1, 0],
        (0, 1): [3, 2],
        (1, 1): [4],
    }


@pytest.mark.parametrize(("num_classes", "num_images"), [(2, 5000), (10, 5000), (30, 20_000), (300, 20_000)])
def test_cell_images_are_bounded(num_classes: int, num_images: int) -> None:
    """At most twelve per cell and 900 in all, but at least one of every cell that is shown."""
    generator = np.random.default_rng(0)
    labels, predicted = (generator.integers(0, num_classes, num_images).tolist() for _ in range(2))
    logits = generator.uniform(1, 5, num_images).tolist()
    drawn = make_predictions_of(labels, predicted, logits, num_classes)
    cells = list_shown_cells(drawn.confusion)
    chosen = choose_cell_images(drawn, cells=cells)
    assert list(chosen) == cells
    assert all(1 <= len(images) <= 12 for images in chosen.values())
    assert sum(len(images) for images in chosen.values()) <= 900
    for (label, prediction), images in chosen.items():
        assert {(labels[at], predicted[at]) for at in images} == {(label, prediction)}
