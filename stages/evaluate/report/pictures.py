"""Pictures inside the report: data: URIs of PNG and JPEG, bounded in size."""

import base64
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

_BUDGET_BYTES = 1_200_000
_JPEG_SIDES_PX = (256, 192, 128, 96, 64, 32)
_MAX_MAP_SIDE_PX = 500

_MAX_HEAT_SIDE_PX = 16
_HEAT_LEVELS = 16  # the browser draws smoothly between them
_HEAT_RGB = ((255, 70, 0), (255, 225, 60))  # little, much
_HEAT_ALPHA = 0.65

_HIT_RGB = (43, 111, 158)
_MISS_RGB = (217, 119, 43)


def embed_pictures(images: Sequence[NDArray[np.uint8]]) -> list[str]:
    """Return a data: URI for each image, uint8 (height, width, 3) RGB or (height, width, 1).

    All of them together stay within a fixed size. A picture that fits its part is kept to the pixel as PNG;
    one that does not becomes a JPEG, shrunk until it fits.
    """
    return [_embed(image, limit_bytes=_BUDGET_BYTES // len(images)) for image in images]


def draw_heat(heat: NDArray[np.float32]) -> str:
    """Return a heat map (h, w) from 0 to 1 as a small picture to lay over the image, denser where hotter."""
    scale = min(1.0, _MAX_HEAT_SIDE_PX / max(heat.shape))
    height, width = (max(1, round(side * scale)) for side in heat.shape)
    small = cv2.resize(heat, (width, height), interpolation=cv2.INTER_AREA)[:, :, None]
    small = np.rint(small * _HEAT_LEVELS) / _HEAT_LEVELS
    cold, hot = (np.array(color, dtype=np.float32) for color in _HEAT_RGB)
    rgba = np.concatenate([cold + small * (hot - cold), 255 * _HEAT_ALPHA * small], axis=2)
    bgra = np.rint(rgba[:, :, [2, 1, 0, 3]]).astype(np.uint8)
    return to_data_uri(encode(bgra, ".png"), "image/png")


def _embed(image: NDArray[np.uint8], *, limit_bytes: int) -> str:
    bgr = np.ascontiguousarray(image[:, :, ::-1])
    png = encode(bgr, ".png")
    if len(png) <= limit_bytes:
        return to_data_uri(png, "image/png")
    height, width = bgr.shape[:2]
    jpeg = b""
    for side in _JPEG_SIDES_PX:
        scale = min(1.0, side / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        jpeg = encode(cv2.resize(bgr, size, interpolation=cv2.INTER_AREA).astype(np.uint8), ".jpg")
        if len(jpeg) <= limit_bytes:
            break
    return to_data_uri(jpeg, "image/jpeg")


def draw_confusion(shares: NDArray[np.float64]) -> str:
    """Return the confusion matrix as a small transparent picture, one pixel a cell.

    Args:
        shares: (num_classes, num_classes), each row divided by its sum. Beyond 500 classes several cells
            share a pixel, which shows the largest of them.
    """
    num_classes = len(shares)
    on_diagonal = np.eye(num_classes, dtype=bool)
    hits = _pool(np.where(on_diagonal, shares, 0.0))
    misses = _pool(np.where(on_diagonal, 0.0, shares))
    rgba = np.zeros((*hits.shape, 4), dtype=np.uint8)
    for layer, color in ((misses, _MISS_RGB), (hits, _HIT_RGB)):
        drawn = layer > 0
        rgba[drawn, :3] = color[::-1]  # OpenCV writes BGR
        # One mistake is one pixel among tens of thousands: nothing above zero is fainter than half.
        rgba[drawn, 3] = np.rint(255 * (0.5 + 0.5 * np.sqrt(layer[drawn])))
    return to_data_uri(encode(rgba, ".png"), "image/png")


def _pool(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take the maximum over square blocks, so that the picture stays small."""
    block = -(-len(shares) // _MAX_MAP_SIDE_PX)
    side = -(-len(shares) // block)
    padded = np.zeros((side * block, side * block))
    padded[: len(shares), : len(shares)] = shares
    pooled: NDArray[np.float64] = padded.reshape(side, block, side, block).max(axis=(1, 3))
    return pooled


def encode(pixels: NDArray[np.uint8], extension: str, *options: int) -> bytes:
    """Return the bytes of an image file of pixels (height, width[, channels]), BGR or BGRA."""
    written, encoded = cv2.imencode(extension, pixels, options)
    assert written, f"OpenCV cannot write {extension} from {pixels.shape}"
    return encoded.tobytes()


def to_data_uri(encoded: bytes, media_type: str) -> str:
    """Return an image file as an address that holds it."""
    return f"data:{media_type};base64,{base64.b64encode(encoded).decode('ascii')}"
