"""The test images that the report shows: the worst, the least certain, the suspected, some of each field."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from stages.evaluate.answers import Answers
from stages.evaluate.gallery import Gallery, fill_gallery
from stages.evaluate.gradcam import Heat, NotExplainedError, explain_answers
from stages.evaluate.label_errors import find_label_errors
from stages.evaluate.metrics import rank_mistakes
from stages.vision.dataset import PreparedImages

_NUM_ANSWERS = 3


@dataclass(frozen=True)
class Answer:
    """A class, and how probable it was."""

    label: str
    probability: float


@dataclass(frozen=True)
class Exhibit:
    """A test image and what the network said of it."""

    image: NDArray[np.uint8]
    """(height, width, 3) RGB or (height, width, 1): what the network sees of it, resized and cropped."""

    path: str
    label: str
    label_probability: float
    answers: Sequence[Answer]
    """The most probable classes, the first of which is the answer."""

    heat: Heat | None = None
    """From 0 to 1, (h, w): how much every place of the image speaks for the answer. None if not known."""

    suggestion: str = ""
    """The class that the image seems to belong to, where its label is suspected."""

    @property
    def is_right(self) -> bool:
        """Return whether the answer is the image's label."""
        return self.answers[0].label == self.label


@dataclass(frozen=True)
class Exhibits:
    """All the images of the report."""

    worst: Sequence[Exhibit]
    """Mistakes, the one whose true class seemed least likely first."""

    uncertain: Sequence[Exhibit]
    """The answers of lowest probability first, right or wrong."""

    suspected: Sequence[Exhibit]
    """Images whose label is probably wrong, the most suspicious first."""

    num_suspected: int
    """In the whole test split."""

    not_explained: str
    """Why no exhibit has a heat map; empty if they have."""

    gallery: Gallery


def gather_exhibits(
    images: PreparedImages,
    answers: Answers,
    *,
    seen: PreparedImages,
    paths: Sequence[str],
    classes: Sequence[str],
    num_each: int,
    network: nn.Module,
) -> Exhibits:
    """Choose the images, and explain their answers.

    Args:
        images: The test split, transformed as for testing.
        answers: For its images (N).
        seen: The same as bytes, changed in form alone, so that heat maps fit over them.
        paths: Of its images, (N,).
        classes: Names, (C,).
        num_each: How many of the worst, the least certain and the suspected.
        network: The one tested; it ends up on the processor, without gradients.
    """
    suspects = find_label_errors(answers)
    chosen = {
        "worst": rank_mistakes(answers)[:num_each],
        "uncertain": np.argsort(answers.probability, kind="stable")[:num_each].tolist(),
        "suspected": suspects.images[:num_each].tolist(),
    }
    positions = sorted({position for some in chosen.values() for position in some})
    heats, not_explained = _explain(network, images, answers, positions)

    def exhibit(position: int) -> Exhibit:
        (row,) = answers.probabilities_of(np.array([position]))
        first = row.argsort(descending=True, stable=True)[:_NUM_ANSWERS].tolist()
        return Exhibit(
            image=seen[position][0].permute(1, 2, 0).numpy(),
            path=paths[position],
            label=classes[answers.labels[position]],
            label_probability=float(answers.label_probability[position]),
            answers=[Answer(classes[at], float(row[at])) for at in first],
            heat=heats.get(position),
        )

    return Exhibits(
        worst=[exhibit(position) for position in chosen["worst"]],
        uncertain=[exhibit(position) for position in chosen["uncertain"]],
        suspected=[
            replace(exhibit(position), suggestion=classes[seems])
            for position, seems in zip(chosen["suspected"], suspects.classes.tolist(), strict=False)
        ],
        num_suspected=len(suspects.images),
        not_explained=not_explained,
        gallery=fill_gallery(images, answers, paths=paths),
    )


def _explain(
    network: nn.Module, images: PreparedImages, answers: Answers, positions: Sequence[int]
) -> tuple[dict[int, Heat], str]:
    """Return the heat map of each position's answer, and why there are none."""
    if not positions:
        return {}, ""
    inputs, _ = images.gather(positions)
    try:
        heats = explain_answers(network, inputs, torch.from_numpy(answers.predicted[list(positions)]))
    except NotExplainedError as reason:
        return {}, str(reason)
    return dict(zip(positions, heats, strict=True)), ""
