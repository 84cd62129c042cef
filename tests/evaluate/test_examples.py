"""Which test images the report shows; label errors as the paper defines them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stages.evaluate.examples import (
    choose_cell_images,
    choose_examples,
    find_label_errors,
    list_shown_cells,
    rank_mistakes,
)
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
    suspected = find_label_errors(drawn).images.tolist()
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


def read_the_paper(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[int, int]:
    """Return the class of each image off the diagonal of the confident joint, image by image."""
    suspects = {}
    for image, (row, label) in enumerate(zip(probabilities, labels, strict=True)):
        confident = [
            (row[other], -other)
            for other in range(len(row))
            if (labels == other).any() and row[other] >= probabilities[labels == other, other].mean()
        ]
        if confident and -max(confident)[1] != label:
            suspects[image] = -max(confident)[1]
    return suspects


@given(seed=st.integers(0, 10_000), num_images=st.integers(1, 40), num_classes=st.integers(2, 6))
def test_suspects_are_those_of_the_paper(seed: int, num_images: int, num_classes: int) -> None:
    """Images and classes are those that equations 1 and 2 give, also if a class has no image."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(num_images, num_classes, generator=generator)
    labels = torch.randint(num_classes, (num_images,), generator=generator)
    drawn = predict(logits, labels)
    suspects = find_label_errors(drawn)
    found = dict(zip(suspects.images.tolist(), suspects.suggestions.tolist(), strict=True))
    assert found == read_the_paper(drawn.probabilities(slice(None)).numpy(), labels.numpy())


def test_planted_errors_are_found_the_most_confident_first() -> None:
    """Of 300 images that are easy to tell apart, exactly the three with a wrong label are found."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(300) % 3
    logits = torch.randn(300, 3, generator=generator) * 0.3
    logits[range(300), truth] += 4
    for image, more in ((5, 2), (17, 6), (101, 2)):
        logits[image, truth[image]] += more
    labels = truth.clone()
    labels[[5, 17, 101]] = (truth[[5, 17, 101]] + 1) % 3
    suspects = find_label_errors(predict(logits, labels))
    assert suspects.images[0] == 17
    assert sorted(suspects.images.tolist()) == [5, 17, 101]
    assert (suspects.suggestions == truth.numpy()[suspects.images]).all()


def test_confident_and_correct_means_no_suspects() -> None:
    """If each image gets its own class, none is suspected."""
    labels = torch.arange(20) % 2
    assert len(find_label_errors(predict(10.0 * torch.eye(2)[labels], labels)).images) == 0
