"""Accuracy on corrupted test images: six corruptions at three severities each.

Noise, brightness, contrast and JPEG are severities 1, 3 and 5 of Hendrycks and Dietterich 2019,
arXiv:1903.12261, made for images of 224 px. Their blur would leave nothing of a small image: here its radius
is a fraction of the shorter side, that of their 32 px version. Rotation is not among theirs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from schemas.vision.checkpoint import Calibration
from stages.evaluate.predictions import Ints, make_predictions
from stages.vision.binomial import Interval, estimate_share
from stages.vision.dataset import PreparedImages, Samples
from stages.vision.rng import draw_uniform
from stages.vision.transforms import Compose

Pixels = NDArray[np.uint8]
ComputeLogits = Callable[[Dataset[tuple[Tensor, Tensor]]], tuple[Tensor, Tensor]]

_SEED = 0
_NOISE_STREAM = 1
_BLACK = 0


@dataclass(frozen=True)
class Corruption:
    """One corruption at one severity."""

    name: str
    severity: int
    """1, 2 or 3."""

    amount: float
    """What the severity means, in the corruption's own unit."""

    def apply(self, image: Pixels, *, sample: int) -> Pixels:
        """Return the corrupted image, uint8 of the same shape.

        Args:
            image: uint8 (height, width, channels), RGB or grayscale.
            sample: Position of the image in the test split; what is random depends on it alone.
        """
        corrupted = np.asarray(_APPLY[self.name](image, self.amount, sample))
        return corrupted.reshape(image.shape)


@dataclass(frozen=True)
class CorruptedAccuracy:
    """The accuracy on images of one corruption."""

    corruption: Corruption
    accuracy: float
    interval: Interval
    """95 % confidence interval of the accuracy."""


class CorruptedImages(Dataset[tuple[Tensor, Tensor]]):
    """Test images, corrupted, then transformed as for testing."""

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
        originals = np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())
        corrupted: Pixels = np.stack(
            [
                self._corruption.apply(image, sample=sample)
                for image, sample in zip(originals, indices, strict=True)
            ]
        )
        images = self._transform.change_pictures(lambda block: corrupted[block], num_images=len(corrupted))
        return Samples(images, labels, np.asarray(indices, dtype=np.int64))

    def finish(self, images: Tensor, indices: npt.NDArray[np.int64]) -> Tensor:
        """Return the images (N, C, H, W) as the network takes them, on the device they are on."""
        return self._transform.change_numbers(images)


def measure_corruptions(
    images: PreparedImages,
    *,
    transform: Compose,
    compute: ComputeLogits,
    calibration: Calibration,
    groups: Ints,
) -> list[CorruptedAccuracy]:
    """Test the network on every corruption.

    Args:
        images: The test images (N) without transforms.
        transform: The checkpoint's transforms.
        compute: Returns the logits and labels of transformed images.
        calibration: The checkpoint's.
        groups: int64 (N,), the group of each image.
    """
    found = []
    for corruption in list_corruptions():
        corrupted = CorruptedImages(images, corruption, transform=transform)
        logits, labels = compute(corrupted)
        is_correct = make_predictions(logits, labels, calibration=calibration).is_correct
        accuracy, interval = float(is_correct.mean()), estimate_share(is_correct, groups)
        found.append(CorruptedAccuracy(corruption, accuracy, interval))
    return found


def list_corruptions() -> Iterator[Corruption]:
    """Yield all corruptions, each at its three severities."""
    for name, amounts in _AMOUNTS.items():
        for severity, amount in enumerate(amounts, start=1):
            yield Corruption(name, severity, amount)


def add_noise(image: Pixels, deviation: float, sample: int) -> Pixels:
    """Add normal noise of this standard deviation, as a fraction of the full range."""
    uniform = draw_uniform(_SEED, _NOISE_STREAM, samples=np.array([sample]), num_values=2 * image.size)[0]
    # Box-Muller; `uniform` is below 1, so the logarithm is finite.
    radius = np.sqrt(-2 * np.log(1 - uniform[: image.size]))
    normal = (radius * np.cos(2 * np.pi * uniform[image.size :])).reshape(image.shape)
    return _to_pixels(image + 255 * deviation * normal)


def blur(image: Pixels, fraction: float, sample: int) -> Pixels:
    """Blur by a Gaussian whose standard deviation is this fraction of the shorter side."""
    deviation_px = fraction * min(image.shape[:2])
    return np.asarray(
        cv2.GaussianBlur(image, (0, 0), deviation_px, borderType=cv2.BORDER_REFLECT_101), dtype=np.uint8
    )


def brighten(image: Pixels, added: float, sample: int) -> Pixels:
    """Add to the value of HSV, as a fraction of the full range: hue and saturation stay."""
    value = image.max(axis=2, keepdims=True).astype(np.float64)
    brighter = np.minimum(value + 255 * added, 255)
    # Black has no hue: it becomes gray.
    return _to_pixels(np.where(value > 0, image * (brighter / np.maximum(value, 1)), brighter))


def lower_contrast(image: Pixels, kept: float, sample: int) -> Pixels:
    """Keep this fraction of each pixel's distance from the mean of its channel."""
    mean = image.mean(axis=(0, 1), keepdims=True)
    return _to_pixels((image - mean) * kept + mean)


def compress(image: Pixels, quality: float, sample: int) -> Pixels:
    """Encode and decode as a JPEG of this quality."""
    is_color = image.shape[2] == 3
    done, data = cv2.imencode(
        ".jpg", image[:, :, ::-1] if is_color else image, [cv2.IMWRITE_JPEG_QUALITY, int(quality)]
    )
    assert done
    flags = cv2.IMREAD_COLOR_RGB if is_color else cv2.IMREAD_GRAYSCALE
    return np.asarray(cv2.imdecode(data, flags), dtype=np.uint8)


def rotate(image: Pixels, degrees: float, sample: int) -> Pixels:
    """Rotate about the center, every other image the other way; the corners turn black."""
    height, width = image.shape[:2]
    angle = degrees if sample % 2 else -degrees
    rotation = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    rotated = cv2.warpAffine(
        image,
        rotation,
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=_BLACK,
    )
    return np.asarray(rotated, dtype=np.uint8)


_APPLY: Mapping[str, Callable[[Pixels, float, int], Pixels]] = {
    "noise": add_noise,
    "blur": blur,
    "brightness": brighten,
    "contrast": lower_contrast,
    "jpeg": compress,
    "rotation": rotate,
}
_AMOUNTS: Mapping[str, Sequence[float]] = {
    "noise": (0.08, 0.18, 0.38),
    "blur": (0.0125, 0.02, 0.03),
    "brightness": (0.1, 0.3, 0.5),
    "contrast": (0.4, 0.2, 0.05),
    "jpeg": (25.0, 15.0, 7.0),
    "rotation": (5.0, 15.0, 30.0),
}


def _to_pixels(values: NDArray[np.float64]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
