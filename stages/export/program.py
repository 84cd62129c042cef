"""The checkpoint as one module, from uint8 pixels to probabilities: what every format is made from.

Its picture transforms give the bytes that `stages.vision.transforms` gives, by operators that every format
has: crops are slices, and resizing is two products with the fixed-point weights that torch uses for bytes.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from schemas.vision import transforms as schema
from schemas.vision.checkpoint import Checkpoint
from schemas.vision.transforms import Transform
from stages.shared.errors import InputError
from stages.vision.embeddings import capture_embeddings

MAX_PRECISION_BITS = 22
LARGEST_WEIGHT = 2**15


class Program(nn.Module):
    """Picture transforms, normalization, network, temperature and softmax."""

    def __init__(self, checkpoint: Checkpoint, network: nn.Module) -> None:
        """Take a network with the checkpoint's weights, on the CPU.

        Raises:
            InputError: A transform of the preprocessing has no exact counterpart here.
        """
        super().__init__()
        self.preprocessing = nn.Sequential(*build_steps(checkpoint))
        self.network = network
        self._temperature = checkpoint.calibration.temperature

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return probabilities float32 (N, num_classes) for images uint8 (N, height, width, channels).

        Where the network has one layer that turns features into logits, what it takes comes second: float32
        (N, num_features).
        """
        pixels = self.preprocessing(images.permute(0, 3, 1, 2).to(torch.float32))
        with capture_embeddings(self.network) as embeddings:
            logits: Tensor = self.network(pixels)
        probabilities = torch.softmax(logits / self._temperature, dim=1)
        return (probabilities,) if embeddings is None else (probabilities, embeddings[-1])


def build_steps(checkpoint: Checkpoint) -> list[nn.Module]:
    """Return what the preprocessing does to images float32 (N, C, H, W) that hold bytes 0..255.

    Raises:
        InputError: A transform has no exact counterpart here.
    """
    steps: list[nn.Module] = []
    form = schema.Form(checkpoint.image.height_px, checkpoint.image.width_px, checkpoint.image.num_channels)
    for transform in checkpoint.preprocessing:
        steps += _build_step(transform, form)
        form = transform.change_form(form)
    return steps


def _build_step(transform: Transform, form: schema.Form) -> list[nn.Module]:
    if isinstance(transform, schema.CenterCrop):
        return [Crop(form, height_px=transform.height_px, width_px=transform.width_px)]
    if isinstance(transform, schema.Resize):
        sides = (form.width_px, transform.width_px, -1), (form.height_px, transform.height_px, -2)
        build = Pick if transform.interpolation == "nearest" else Interpolate
        options = {} if build is Pick else {"antialias": transform.antialias}
        # Along rows first, as torch does: bytes are rounded in between.
        return [build(old, new, dim=dim, **options) for old, new, dim in sides if old != new]
    if isinstance(transform, schema.ToTensor):
        return []  # Normalize takes bytes, as in stages.vision.transforms
    if isinstance(transform, schema.Normalize):
        assert not isinstance(transform.mean, str)
        assert not isinstance(transform.std, str)
        return [Normalization(transform.mean, transform.std)]
    raise InputError(
        f"the checkpoint's transforms: found {transform.name}, which cannot be exported; allowed beside "
        "random ones: Resize, CenterCrop, ToTensor, Normalize"
    )


class Crop(nn.Module):
    """Cut out the middle; a smaller image is padded with black."""

    def __init__(self, form: schema.Form, *, height_px: int, width_px: int) -> None:
        super().__init__()
        rows, columns = max(0, height_px - form.height_px), max(0, width_px - form.width_px)
        top, left = rows // 2, columns // 2
        self._padding = (left, columns - left, top, rows - top)
        # Python rounds halves to even, as torchvision does.
        self._top = round((form.height_px + rows - height_px) / 2)
        self._left = round((form.width_px + columns - width_px) / 2)
        self._height_px, self._width_px = height_px, width_px

    def forward(self, images: Tensor) -> Tensor:
        if any(self._padding):
            images = functional.pad(images, self._padding)
        top, left = self._top, self._left
        return images[:, :, top : top + self._height_px, left : left + self._width_px]


class Pick(nn.Module):
    """Resize along one dimension by taking the nearest pixel."""

    indices: Tensor

    def __init__(self, old_px: int, new_px: int, *, dim: int) -> None:
        super().__init__()
        places = torch.arange(old_px, dtype=torch.float32)[None, None]
        self.register_buffer("indices", functional.interpolate(places, size=new_px)[0, 0].long())
        self._dim = dim

    def forward(self, images: Tensor) -> Tensor:
        return images.index_select(self._dim, self.indices)


class Interpolate(nn.Module):
    """Resize along one dimension by bilinear interpolation of bytes, rounded as torch rounds them.

    torch multiplies bytes by 16-bit integers and adds a half before it shifts the sum. Products in float64
    are exact, so that the result is the same byte.
    Source: ATen/native/cpu/UpSampleKernel.cpp, compute_index_ranges_int16_weights.
    """

    weights: Tensor

    def __init__(self, old_px: int, new_px: int, *, dim: int, antialias: bool) -> None:
        super().__init__()
        weights = compute_weights(old_px, new_px, antialias=antialias)
        bits = 0
        while bits < MAX_PRECISION_BITS and int(0.5 + weights.max() * 2 ** (bits + 1)) < LARGEST_WEIGHT:
            bits += 1
        self.register_buffer("weights", torch.floor(weights * 2**bits + 0.5))
        self._one, self._is_along_rows = float(2**bits), dim == -1

    def forward(self, images: Tensor) -> Tensor:
        exact = images.to(torch.float64)
        sums = exact @ self.weights.T if self._is_along_rows else self.weights @ exact
        rounded = torch.floor((sums + self._one / 2) / self._one)
        return rounded.clamp(0, 255).to(torch.float32)


def compute_weights(old_px: int, new_px: int, *, antialias: bool) -> Tensor:
    """Return torch's weights of old pixels in new ones, float64 (new_px, old_px), rows adding up to 1."""
    weights = torch.zeros(new_px, old_px, dtype=torch.float64)
    scale = old_px / new_px
    stretch = max(scale, 1.0) if antialias else 1.0
    for row, new in zip(weights, range(new_px), strict=True):
        center = scale * (new + 0.5)
        if antialias:
            first, end = max(int(center - stretch + 0.5), 0), min(int(center + stretch + 0.5), old_px)
            for old in range(first, end):
                row[old] = max(0.0, 1 - abs((old - center + 0.5) / stretch))
            row /= row.sum()
        else:
            place = max(0.0, center - 0.5)
            first = min(math.floor(place), old_px - 1)
            share = min(place - first, 1.0)
            row[first] += 1 - share
            row[min(first + 1, old_px - 1)] += share
    return weights


class Normalization(nn.Module):
    """Turn bytes into 0..1, subtract the mean and divide by the standard deviation, channel by channel."""

    factor: Tensor
    offset: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        means, stds = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (mean, std))
        self.register_buffer("factor", (1 / (255 * stds)).float())
        self.register_buffer("offset", (-means / stds).float())

    def forward(self, images: Tensor) -> Tensor:
        return images * self.factor + self.offset
