"""Suspected label errors: those of a plain reading of the paper, and those that were planted."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from schemas.vision.calibration import Calibration
from stages.evaluate.answers import Answers, decide_answers
from stages.evaluate.label_errors import find_label_errors
from tests.vision.documents import CALIBRATION


def make_answers(logits: torch.Tensor, labels: torch.Tensor) -> Answers:
    """Return answers with the plain softmax as probabilities."""
    calibration: Calibration = CALIBRATION.model_copy(update={"temperature": 1.0})
    return decide_answers(logits, labels, calibration=calibration)


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
    """Images and classes are those that equations 1 and 2 give, also where a class has no image."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(num_images, num_classes, generator=generator)
    labels = torch.randint(num_classes, (num_images,), generator=generator)
    answers = make_answers(logits, labels)
    suspects = find_label_errors(answers)
    found = dict(zip(suspects.images.tolist(), suspects.classes.tolist(), strict=True))
    assert found == read_the_paper(answers.probabilities_of(slice(None)).numpy(), labels.numpy())


def test_planted_errors_are_found_the_surest_first() -> None:
    """Of 300 images that are told apart well, the three with another label are all that is found."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(300) % 3
    logits = torch.randn(300, 3, generator=generator) * 0.3
    logits[range(300), truth] += 4
    for image, more in ((5, 2), (17, 6), (101, 2)):
        logits[image, truth[image]] += more
    labels = truth.clone()
    labels[[5, 17, 101]] = (truth[[5, 17, 101]] + 1) % 3
    suspects = find_label_errors(make_answers(logits, labels))
    assert suspects.images[0] == 17
    assert sorted(suspects.images.tolist()) == [5, 17, 101]
    assert (suspects.classes == truth.numpy()[suspects.images]).all()


def test_sure_and_right_means_no_suspects() -> None:
    """Where each image is given its own class no image is suspected."""
    labels = torch.arange(20) % 2
    assert len(find_label_errors(make_answers(10.0 * torch.eye(2)[labels], labels)).images) == 0
