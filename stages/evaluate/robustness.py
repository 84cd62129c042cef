"""How accurate the network stays when the test images are corrupted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from schemas.vision.calibration import Calibration
from stages.evaluate.answers import decide_answers
from stages.evaluate.corruptions import Corruption, list_corruptions
from stages.evaluate.intervals import Units, measure_share
from stages.vision.dataset import PreparedImages, Samples, build_loader
from stages.vision.transforms import Compose

ComputeLogits = Callable[[DataLoader[tuple[Tensor, Tensor]]], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class CorruptedScore:
    """The share of right answers for images of one corruption."""

    corruption: Corruption
    accuracy: float
    low: float
    """Lower end of the 95 % interval."""

    high: float


class CorruptedImages(Dataset[tuple[Tensor, Tensor]]):
    """Test images, corrupted, with the transforms applied afterwards."""

    def __init__(self, images: PreparedImages, corruption: Corruption, *, transform: Compose) -> None:
        """Take images without transforms, and the checkpoint's transforms."""
        self._images = images
        self._corruption = corruption
        self._transform = transform

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> Samples:
        """Return the samples at these indices; DataLoader calls it once a batch."""
        pixels, labels = self._images.gather(indices)
        corrupted: NDArray[np.uint8] = np.stack(
            [
                self._corruption.apply(image, sample=sample)
                for image, sample in zip(
                    np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy()), indices, strict=True
                )
            ]
        )
        images = torch.from_numpy(corrupted).permute(0, 3, 1, 2)
        samples = np.asarray(indices, dtype=np.int64)
        return Samples(self._transform(images, samples=samples, epoch=0), labels)


def measure_robustness(
    images: PreparedImages,
    *,
    transform: Compose,
    compute: ComputeLogits,
    calibration: Calibration,
    units: Units,
    batch_size: int,
) -> list[CorruptedScore]:
    """Test the network on every corruption.

    Args:
        images: The test images (N) without transforms.
        transform: The checkpoint's transforms.
        compute: Returns logits and labels for batches.
        calibration: What turns logits into answers.
        units: int64 (N,), which images belong together.
        batch_size: Images per forward pass.
    """
    found = []
    for corruption in list_corruptions():
        corrupted = CorruptedImages(images, corruption, transform=transform)
        logits, labels = compute(build_loader(corrupted, batch_size=batch_size))
        is_right = decide_answers(logits, labels, calibration=calibration).is_right
        found.append(CorruptedScore(corruption, *measure_share(is_right, units)))
    return found
