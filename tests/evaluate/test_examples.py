"""Which test images the report shows."""

import numpy as np
import pytest
import torch

from stages.evaluate.examples import choose_cell_images, choose_examples, list_shown_cells, rank_mistakes
from stages.evaluate.predictions import Predictions
from tests.evaluate.drawn_predictions import draw_predictions, predict


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


@pytest.mark.parametrize("num_images", [1, 7, 300])
def test_no_image_is_an_example_twice(num_images: int) -> None:
    """Each sort takes the first of its images that no sort before it took; all are taken if there are few."""
    drawn = draw_predictions(num_images, skill=1.0)
    suspected = list(range(min(num_images, 30)))
    chosen = choose_examples(drawn, suspected=suspected, num_each=5)
    images = [image for some in chosen.values() for image in some]
    assert len(images) == len(set(images)) == min(num_images, 20)
    assert chosen["worst"] == rank_mistakes(drawn)[:5]
    assert chosen["suspected"] == [image for image in suspected if image not in chosen["worst"]][:5]


def test_the_random_sample_is_the_same_every_time() -> None:
    """It is drawn from correct and wrong predictions alike, whatever their confidence."""
    drawn = draw_predictions(2000, skill=2.0)
    samples = [choose_examples(drawn, suspected=[], num_each=200)["sample"] for _ in range(2)]
    assert samples[0] == samples[1]
    # The worst 200 mistakes and the least confident 200 are out; the rest is drawn evenly.
    assert abs(np.mean(samples[0]) - 1000) < 150


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
