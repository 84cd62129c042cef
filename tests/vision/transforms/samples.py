"""Images, random numbers and one example of every transform, for the tests of this folder."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import TypeAdapter
from torch import Tensor

from schemas.vision.transforms import TRANSFORMS, Transform
from schemas.vision.transforms.torchvision_by_name import TorchvisionTransform
from stages.vision.transforms.compose import BlockTransform, PictureTransform, change_block

LARGEST = 1 - 2**-53
"""The largest uniform random number."""

NO_UNIFORMS = torch.empty(0, 0, dtype=torch.float64)

# Arguments of every transform that cannot do without, or would do nothing with torchvision's defaults.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "RandomCrop": {"padding": 2},
    "RandomResizedCrop": {"height_px": 6, "width_px": 7},
    "Resize": {"height_px": 7, "width_px": 6},
    "CenterCrop": {"height_px": 4, "width_px": 7},
    "RandomRotation": {"degrees": 30},
    "RandomAffine": {"degrees": 10, "translate": [0.2, 0.1], "scale": [0.8, 1.2], "shear": 10},
    "ColorJitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    "RandomGrayscale": {"p": 0.5},
    "GaussianBlur": {"kernel_size": 3},
    "RandomErasing": {"value": "random"},
    "Normalize": {"mean": [0.4, 0.5, 0.6], "std": [0.1, 0.2, 0.3]},
    "ElasticTransform": {"alpha": 40.0, "sigma": 1.0},
    "JPEG": {"quality": [20, 60]},
    "RandomAdjustSharpness": {"sharpness_factor": 2},
    "RandomPosterize": {"bits": 3},
    "RandomSolarize": {"threshold": 100},
}


def make_schema(name: str, **arguments: Any) -> Transform:
    """Return the schema of an entry in params.yaml."""
    [transform] = [transform for transform in TRANSFORMS if transform.__name__ == name]
    made: Transform = TypeAdapter(transform).validate_python(
        {"name": name, **ARGUMENTS.get(name, {}), **arguments}
    )
    return made


EXAMPLES = {transform.__name__: make_schema(transform.__name__) for transform in TRANSFORMS}
"""One of every kind."""

OURS = {name: example for name, example in EXAMPLES.items() if not isinstance(example, TorchvisionTransform)}
"""Those that are not torchvision's own."""

THEIRS = {name: example for name, example in EXAMPLES.items() if name not in OURS}
"""Those that torchvision carries out."""


def draw_images(
    num: int, shape: tuple[int, int, int] = (3, 5, 9), *, dtype: torch.dtype = torch.uint8
) -> Tensor:
    """Return bytes (N, C, H, W) in channels_last memory, as the data set gives them, or floats in 0..1."""
    channels, height, width = shape
    generator = np.random.default_rng(0)
    pixels = generator.integers(1, 256, (num, height, width, channels), dtype=np.uint8)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    return images if dtype == torch.uint8 else images / 255


def apply_to(transform: PictureTransform | BlockTransform, images: Tensor, uniforms: Tensor) -> Tensor:
    """Return what a transform of pictures makes of bytes (N, C, H, W), which stay as they are."""
    pixels = images.permute(0, 2, 3, 1).contiguous().numpy().copy()
    return torch.from_numpy(change_block(transform, pixels, uniforms.numpy())).permute(0, 3, 1, 2)


def spread_evenly(num: int) -> Tensor:
    """Return numbers (N, 1) in the middle of N equal parts of [0, 1)."""
    return ((torch.arange(num, dtype=torch.float64) + 0.5) / num)[:, None]


def draw(num: int, num_uniforms: int) -> Tensor:
    """Return uniform random numbers (N, num_uniforms)."""
    return torch.rand(num, num_uniforms, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def count_up(num: int) -> npt.NDArray[np.int64]:
    """Return the sample numbers 0, 1, ... (N,)."""
    return np.arange(num)


def assert_near(found: Tensor, expected: Tensor, *, most_differ: float = 0.002) -> None:
    """Compare bytes to one gray level, where no more than a fraction of them may differ."""
    assert found.dtype == expected.dtype == torch.uint8
    assert found.shape == expected.shape
    assert (found.int() - expected.int()).abs().max() <= 1
    # A level only where the last bit of a sum decides.
    assert (found != expected).double().mean() <= most_differ
