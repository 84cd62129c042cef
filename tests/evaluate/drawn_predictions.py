"""Predictions for tests, from logits or drawn at random."""

import torch
from hypothesis import strategies as st
from torch import Tensor

from schemas.vision.checkpoint import Calibration, ConfidenceLevel
from stages.evaluate.predictions import Predictions, make_predictions

NO_CALIBRATION = Calibration(
    temperature=1.0,
    levels=(ConfidenceLevel(probability=0.5, num_images=1, num_correct=1, num_effective=1.0),),
    label_probabilities=(0.5,),
)


def predict(logits: Tensor, labels: Tensor, *, calibration: Calibration = NO_CALIBRATION) -> Predictions:
    """Return the predictions for logits (N, C) and labels (N,)."""
    return make_predictions(logits, labels, calibration=calibration)


def draw_predictions(
    num_images: int, *, num_classes: int = 4, seed: int = 0, skill: float = 1.5
) -> Predictions:
    """Return predictions that are the more often correct the larger the skill."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes, (num_images,), generator=generator)
    logits = torch.randn(num_images, num_classes, generator=generator)
    logits[range(num_images), labels] += skill
    return predict(logits, labels)


@st.composite
def predictions(draw: st.DrawFn, *, with_ties: bool = False) -> Predictions:
    """Draw predictions for 1 to 30 images of 2 to 6 classes; not every class has images.

    Args:
        draw: Hypothesis' own.
        with_ties: Whether some logits are equal, within an image and between images.
    """
    num_classes, num_images = draw(st.integers(2, 6)), draw(st.integers(1, 30))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    logits = draw(st.floats(0.1, 30)) * torch.randn(num_images, num_classes, generator=generator)
    if with_ties:
        logits = torch.randint(3, (num_images, num_classes), generator=generator).float()
    return predict(logits, torch.randint(num_classes, (num_images,), generator=generator))
