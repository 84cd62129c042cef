"""Pictures that compress and decode as photographs do."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt


def make_photograph(seed: int, *, height_px: int = 375, width_px: int = 500) -> npt.NDArray[np.uint8]:
    """Return a picture whose frequencies fall off as in nature, with edges and some noise.

    The amplitude of natural images falls with the inverse of the frequency (Field 1987,
    doi:10.1364/JOSAA.4.002379).

    Returns:
        uint8 array (height_px, width_px, 3).
    """
    generator = np.random.default_rng(seed)
    canvas = np.zeros((height_px, width_px, 3), dtype=np.float32)
    cells = 2
    while cells < max(height_px, width_px):
        coarse = generator.normal(size=(cells * 3 // 4 + 1, cells, 3)).astype(np.float32)
        coarse = 0.7 * coarse.mean(axis=2, keepdims=True) + 0.3 * coarse  # colours vary less than brightness
        canvas += cv2.resize(coarse, (width_px, height_px), interpolation=cv2.INTER_CUBIC) / cells**0.9
        cells *= 2
    canvas = (canvas - canvas.mean()) / canvas.std() * 50 + 120
    for _ in range(6):
        place = generator.integers(0, (width_px, height_px)).tolist()
        axes = generator.integers(20, 120, 2).tolist()
        color = generator.normal(120, 60, 3).tolist()
        cv2.ellipse(canvas, place, axes, float(generator.uniform(0, 180)), 0, 360, color, -1)
    canvas += generator.normal(0, 4, canvas.shape[:2])[..., None].astype(np.float32)
    return np.asarray(np.clip(canvas, 0, 255), dtype=np.uint8)


def write_photographs(folder: Path, number: int, *, num_classes: int = 4, quality: int = 88) -> int:
    """Write photographs as `<folder>/<class>/<i>.jpg`, and return how many bytes they take."""
    num_bytes = 0
    for i in range(number):
        path = folder / f"class-{i % num_classes}" / f"{i:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        _, data = cv2.imencode(".jpg", make_photograph(i), [cv2.IMWRITE_JPEG_QUALITY, quality])
        num_bytes += path.write_bytes(data.tobytes())
    return num_bytes


def write_many_photographs(
    folder: Path, number: int, *, num_classes: int = 4, num_distinct: int = 200, quality: int = 88
) -> int:
    """Write photographs as `write_photographs` does, in a tenth of the time; return how many bytes they take.

    Each is two of a few hundred laid over each other, one of them shifted, the other one turned over: no two
    look alike.
    """
    distinct = [make_photograph(seed) for seed in range(num_distinct)]
    generator = np.random.default_rng(0)
    num_bytes = 0
    for i in range(number):
        first, second = generator.choice(num_distinct, 2, replace=False)
        shift = tuple(generator.integers(0, distinct[0].shape[:2]).tolist())
        shifted = np.roll(distinct[first], shift, axis=(0, 1))
        turned = distinct[second][:: -1 if i % 2 else 1, :: 1 if i % 2 else -1]
        share = float(generator.uniform(0.35, 0.65))
        mixed = cv2.addWeighted(shifted, 1.35 * share, turned, 1.35 * (1 - share), -44)
        path = folder / f"class-{i % num_classes}" / f"{i:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        _, data = cv2.imencode(".jpg", mixed, [cv2.IMWRITE_JPEG_QUALITY, quality])
        num_bytes += path.write_bytes(data.tobytes())
    return num_bytes
