"""What happens to images outside the laboratory, at three strengths each.

Noise, brightness, contrast and JPEG are those of severity 1, 3 and 5 in Hendrycks and Dietterich 2019,
arXiv:1903.12261, made for pictures of 224 px. Their blur would leave nothing of a small picture: here its
radius is a share of the shorter side, the one their 32 px version has. Turning is not among theirs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.vision.draws import draw_uniform

Pixels = NDArray[np.uint8]

_SEED = 0
_NOISE = 1  # coordinate of the noise among the draws
_BLACK = 0


@dataclass(frozen=True)
class Corruption:
    """One corruption at one strength."""

    name: str
    strength: int
    """1, 2 or 3."""

    amount: float
    """What the strength means, in the corruption's own unit."""

    def apply(self, image: Pixels, *, sample: int) -> Pixels:
        """Return the corrupted image, uint8 (height, width, channels) as it came.

        Args:
            image: RGB or grey.
            sample: Place of the image in the test split; what is random depends on it alone.
        """
        corrupted = np.asarray(_APPLY[self.name](image, self.amount, sample))
        return corrupted.reshape(image.shape)


def add_noise(image: Pixels, deviation: float, sample: int) -> Pixels:
    """Add normal noise of this deviation, in shares of the full range."""
    uniform = draw_uniform(_SEED, _NOISE, samples=np.array([sample]), num_draws=2 * image.size)[0]
    # Box and Muller's way to normal numbers; 1 - u is never 0.
    radius = np.sqrt(-2 * np.log(1 - uniform[: image.size]))
    normal = (radius * np.cos(2 * np.pi * uniform[image.size :])).reshape(image.shape)
    return _to_pixels(image + 255 * deviation * normal)


def blur(image: Pixels, share: float, sample: int) -> Pixels:
    """Blur by a Gaussian whose deviation is this share of the shorter side."""
    return np.asarray(
        cv2.GaussianBlur(image, (0, 0), share * min(image.shape[:2]), borderType=cv2.BORDER_REFLECT_101),
        dtype=np.uint8,
    )


def brighten(image: Pixels, added: float, sample: int) -> Pixels:
    """Add to the value of HSV, in shares of the full range: hue and saturation stay."""
    value = image.max(axis=2, keepdims=True).astype(np.float64)
    brighter = np.minimum(value + 255 * added, 255)
    # Black has no hue: it becomes grey.
    return _to_pixels(np.where(value > 0, image * (brighter / np.maximum(value, 1)), brighter))


def lower_contrast(image: Pixels, kept: float, sample: int) -> Pixels:
    """Keep this share of each pixel's distance from the mean of its channel."""
    mean = image.mean(axis=(0, 1), keepdims=True)
    return _to_pixels((image - mean) * kept + mean)


def compress(image: Pixels, quality: float, sample: int) -> Pixels:
    """Store and read as a JPEG of this quality."""
    is_color = image.shape[2] == 3
    done, data = cv2.imencode(
        ".jpg", image[:, :, ::-1] if is_color else image, [cv2.IMWRITE_JPEG_QUALITY, int(quality)]
    )
    assert done
    flags = cv2.IMREAD_COLOR_RGB if is_color else cv2.IMREAD_GRAYSCALE
    return np.asarray(cv2.imdecode(data, flags), dtype=np.uint8)


def rotate(image: Pixels, degrees: float, sample: int) -> Pixels:
    """Turn around the centre, every other image the other way round; the corners become black."""
    height, width = image.shape[:2]
    angle = degrees if sample % 2 else -degrees
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    turned = cv2.warpAffine(
        image,
        turn,
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=_BLACK,
    )
    return np.asarray(turned, dtype=np.uint8)


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


def list_corruptions() -> Iterator[Corruption]:
    """Yield all corruptions, the strengths of one after the other."""
    for name, amounts in _AMOUNTS.items():
        for strength, amount in enumerate(amounts, start=1):
            yield Corruption(name, strength, amount)


def _to_pixels(values: NDArray[np.float64]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
