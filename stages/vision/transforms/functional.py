"""torchvision.transforms.v2.functional for whole batches, each image by its own amount.

Images (N, C, H, W) are uint8 in 0..255 or float32 in 0..1, C is 1 or 3; amounts are float (N,). Formulas and
rounding are torchvision's; a sum may differ in its last bit, which is rarely a gray level. What an image
becomes does not depend on the rest of its batch, to the last bit: sums are taken in an order that the batch
size does not change.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

Fill = float | tuple[float, ...] | None
"""Value of pixels from outside the image, for all channels or for each; None: black."""


def invert_affine(
    degrees: Tensor,
    *,
    center: tuple[float, float] = (0.0, 0.0),
    translate: Tensor | None = None,
    scale: Tensor | None = None,
    shear: Tensor | None = None,
) -> Tensor:
    """Return matrices float64 (N, 2, 3) from pixels of the new image to where they come from in the old one.

    Args:
        degrees: float64 (N,), angles clockwise.
        center: Point (x, y) that rotating, scaling and shearing leave in place, in pixels from the middle.
        translate: float64 (N, 2), pixels across and down.
        scale: float64 (N,).
        shear: float64 (N, 2), angles across and down in degrees.
    """
    zeros = torch.zeros(len(degrees), 2, dtype=torch.float64)
    shift_x, shift_y = (zeros if translate is None else translate).unbind(1)
    factor = torch.ones(len(degrees), dtype=torch.float64) if scale is None else scale
    shear_x, shear_y = (zeros if shear is None else shear).deg2rad().unbind(1)
    center_x, center_y = center
    angle = degrees.deg2rad()
    # The matrix is rotation * shear * scale; its inverse is written out, as in torchvision.
    a = torch.cos(angle - shear_y) / torch.cos(shear_y)
    b = -(a * torch.tan(shear_x) + torch.sin(angle))
    c = torch.sin(angle - shear_y) / torch.cos(shear_y)
    d = torch.cos(angle) - c * torch.tan(shear_x)
    first, second, third, fourth = d / factor, -b / factor, -c / factor, a / factor
    from_x, from_y = center_x + shift_x, center_y + shift_y
    across = center_x - first * from_x - second * from_y
    down = center_y - third * from_x - fourth * from_y
    return torch.stack([first, second, across, third, fourth, down], dim=1).view(-1, 2, 3)


def warp(images: Tensor, matrices: Tensor, *, interpolation: str, fill: Fill) -> Tensor:
    """Return images (N, C, H, W) whose pixels come from where the matrices (N, 2, 3) point.

    Args:
        images: uint8 or float32.
        matrices: For coordinates (x, y, 1) in pixels from the middle.
        interpolation: nearest or bilinear.
        fill: Value of pixels from outside. None is black, and bilinear then blends border pixels with it only
            once; a fill of 0 is blended a second time through the mask, as torchvision does.
    """
    height, width = images.shape[2:]
    x = torch.linspace((1 - width) * 0.5, (width - 1) * 0.5, width)
    y = torch.linspace((1 - height) * 0.5, (height - 1) * 0.5, height)[:, None]
    # In torchvision's order of operations: half-way between two pixels the last bit decides which is taken.
    scaled = matrices.float() / torch.tensor([0.5 * width, 0.5 * height])[:, None]
    of_x, of_y, offset = scaled[:, :, :, None, None].unbind(2)
    grid = (of_x * x + of_y * y + offset).permute(0, 2, 3, 1)
    pixels = images.float()
    if fill is not None:
        inside = torch.ones_like(pixels[:, :1])  # a channel that tells how much of a pixel is from inside
        pixels = torch.cat([pixels, inside], dim=1)
    pixels = functional.grid_sample(
        pixels, grid, mode=interpolation, padding_mode="zeros", align_corners=False
    )
    if fill is not None:
        pixels, inside = pixels[:, :-1], pixels[:, -1:]
        color = torch.tensor(fill, dtype=torch.float32).view(-1, 1, 1)
        if interpolation == "nearest":
            pixels = torch.where(inside < 0.5, color, pixels)
        else:
            pixels = (pixels - color) * inside + color
    if images.dtype == torch.uint8:
        pixels = pixels.round().to(torch.uint8)
    return pixels.contiguous(memory_format=torch.channels_last)


def adjust_brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Multiply by the factors."""
    return _clamp_like(images.float() * _per_image(factors), images)


def adjust_contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Blend with the image's mean gray; factors above 1 move away from it."""
    return _blend(images, _mean(_to_luma(images)), factors)


def adjust_saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Blend with the image in gray; factors above 1 move away from it."""
    return images if images.shape[1] == 1 else _blend(images, _to_luma(images), factors)


def adjust_hue(images: Tensor, shifts: Tensor) -> Tensor:
    """Shift hues along the color circle, whose length is 1."""
    if images.shape[1] == 1:
        return images
    # Planar memory instead of channels_last: three times as fast.
    pixels = images.contiguous().float()
    if images.dtype == torch.uint8:
        pixels = pixels / 255
    red, green, blue = pixels.unbind(1)
    # Pairwise: a hundred times as fast as amax over a dimension of 3.
    value, low = torch.maximum(red, green).maximum(blue), torch.minimum(red, green).minimum(blue)
    spread = value - low
    divisor = torch.where(spread == 0, 1.0, spread)
    sixths = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    sixths = torch.remainder(sixths + 6 * _per_image(shifts)[:, 0], 6)
    turned = torch.empty_like(pixels)
    # HSV to RGB without its six cases: how far a channel is below the value is a trapezoid of the hue.
    for channel, start in enumerate((5, 3, 1)):
        hue = torch.remainder(sixths + start, 6)
        turned[:, channel] = value - spread * torch.minimum(hue, 4 - hue).clamp(0, 1)
    turned = turned.clamp_(0, 1)
    return (turned * (256 - 1e-3)).to(torch.uint8) if images.dtype == torch.uint8 else turned


def adjust_sharpness(images: Tensor, factors: Tensor) -> Tensor:
    """Blend with the blurred image; factors above 1 move away from it. The border stays as it is."""
    height, width = images.shape[2:]
    if height <= 2 or width <= 2:
        return images
    pixels = images.float()
    windows = [
        pixels[:, :, row : row + height - 2, column : column + width - 2]
        for row in range(3)
        for column in range(3)
    ]
    blurred = sum(windows[:4] + windows[5:], torch.zeros(())) * (1 / 13) + windows[4] * (5 / 13)
    if images.dtype == torch.uint8:
        blurred = blurred.round()
    sharpened = pixels.clone()
    inner = sharpened[:, :, 1:-1, 1:-1]
    inner += (blurred - inner) * _per_image(1 - factors)
    return _clamp_like(sharpened, images)


def to_grayscale(images: Tensor) -> Tensor:
    """Convert to gray; the number of channels stays."""
    return _to_luma(images).to(images.dtype).expand_as(images)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep only the highest bits, int (N,), of uint8 images."""
    return images & (0xFF00 >> bits.int() & 0xFF).to(torch.uint8)[:, None, None, None]


def solarize(images: Tensor, thresholds: Tensor) -> Tensor:
    """Invert the values of uint8 images from the threshold on."""
    return torch.where(images >= _per_image(thresholds), ~images, images)


def autocontrast(images: Tensor) -> Tensor:
    """Stretch every channel of uint8 images to 0..255; a channel of one value stays."""
    pixels = images.float()
    low, high = pixels.amin(dim=(2, 3), keepdim=True), pixels.amax(dim=(2, 3), keepdim=True)
    is_flat = high == low
    scale = torch.where(is_flat, 1.0, (high - low) * (1 / 255))
    return ((pixels - torch.where(is_flat, 0.0, low)) / scale).clamp(0, 255).to(torch.uint8)


def equalize(images: Tensor) -> Tensor:
    """Equalize the histogram of every channel of uint8 images."""
    flat = images.flatten(2).long()
    counts = torch.zeros(*flat.shape[:2], 256, dtype=torch.int64)
    counts.scatter_add_(2, flat, torch.ones(1, 1, 1, dtype=torch.int64).expand_as(flat))
    brightest = flat.amax(dim=2, keepdim=True)
    step = (flat.shape[2] - counts.gather(2, brightest)) // 255
    below = counts.cumsum(dim=2) - counts
    table = ((below + step // 2) // step.clamp_min(1)).clamp(0, 255)
    even = table.gather(2, flat).view_as(images).to(torch.uint8)
    return torch.where(step[..., None] == 0, images, even)


def gaussian_blur(images: Tensor, sigmas: Tensor, *, kernel_size: tuple[int, int]) -> Tensor:
    """Blur with Gaussians of standard deviations (N,) in pixels and a kernel [across, down] of odd sides."""
    blurred = images.float()
    across, down = kernel_size
    # A separable kernel: across first, then down. A sum of shifted images has the same bits in any batch,
    # which a grouped convolution has not.
    for length, dim, sides in (
        (across, 3, (across // 2, across // 2, 0, 0)),
        (down, 2, (0, 0, down // 2, down // 2)),
    ):
        weights = _compute_gaussian(sigmas, length=length)
        padded = functional.pad(blurred, sides, mode="reflect")
        side = blurred.shape[dim]
        blurred = torch.zeros_like(blurred)
        for offset in range(length):
            blurred.addcmul_(padded.narrow(dim, offset, side), weights[:, offset, None, None, None])
    if images.dtype == torch.uint8:
        return blurred.round().clamp(0, 255).to(torch.uint8)
    return blurred


def _to_luma(images: Tensor) -> Tensor:
    """Return the luma of every pixel, float32 (N, 1, H, W); rounded down for uint8."""
    if images.shape[1] == 1:
        return images.float()
    red, green, blue = images.contiguous().float().unbind(1)
    gray = (red * 0.2989 + green * 0.587 + blue * 0.114)[:, None]
    return gray.floor() if images.dtype == torch.uint8 else gray


def _mean(gray: Tensor) -> Tensor:
    """Return the mean of each image, float32 (N, 1, 1, 1); integer sums have the same bits in any batch."""
    total = (gray * 2**24).round().long().sum(dim=(1, 2, 3), keepdim=True)
    return (total.double() / (2**24 * gray[0].numel())).float()


def _blend(images: Tensor, others: Tensor, factors: Tensor) -> Tensor:
    """Return images * factors + others * (1 - factors)."""
    return _clamp_like(images * _per_image(factors) + others * _per_image(1 - factors), images)


def _clamp_like(pixels: Tensor, images: Tensor) -> Tensor:
    """Clamp pixels to the range of images and convert them to their dtype."""
    return pixels.clamp(0, 255).to(torch.uint8) if images.dtype == torch.uint8 else pixels.clamp(0, 1)


def _per_image(amounts: Tensor) -> Tensor:
    """Return amounts (N,) as float32 (N, 1, 1, 1)."""
    return amounts.float()[:, None, None, None]


def _compute_gaussian(sigmas: Tensor, *, length: int) -> Tensor:
    """Return kernels float32 (N, length) that sum to 1, sampled where torchvision samples them."""
    limit = (length - 1) / (2 * math.sqrt(2))
    positions = torch.linspace(-limit, limit, length, dtype=torch.float64)
    return torch.softmax(-((positions / sigmas[:, None]) ** 2), dim=1).float()
