"""Pictures inside the report: data: URIs of PNG and JPEG."""

import base64
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

_BUDGET_BYTES = 2_500_000
_JPEG_SIDES_PX = (256, 192, 128, 96, 64, 32)
_MAX_MAP_SIDE_PX = 500

_HIT_RGB = (43, 111, 158)
_MISS_RGB = (217, 119, 43)


def embed_pictures(images: Sequence[NDArray[np.uint8]]) -> list[str]:
    """Return a data: URI for each image, uint8 (height, width, 3) RGB or (height, width, 1).

    All of them together stay within a fixed size. A picture that fits its part is kept to the pixel as PNG;
    one that does not becomes a JPEG, shrunk until it fits.
    """
    return [_embed(image, limit_bytes=_BUDGET_BYTES // len(images)) for image in images]


def _embed(image: NDArray[np.uint8], *, limit_bytes: int) -> str:
    bgr = np.ascontiguousarray(image[:, :, ::-1])
    png = _encode(bgr, ".png")
    if len(png) <= limit_bytes:
        return _data_uri(png, "image/png")
    height, width = bgr.shape[:2]
    jpeg = b""
    for side in _JPEG_SIDES_PX:
        scale = min(1.0, side / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        jpeg = _encode(cv2.resize(bgr, size, interpolation=cv2.INTER_AREA).astype(np.uint8), ".jpg")
        if len(jpeg) <= limit_bytes:
            break
    return _data_uri(jpeg, "image/jpeg")


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
    return _data_uri(_encode(rgba, ".png"), "image/png")


def _pool(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take the maximum over square blocks, so that the picture stays small."""
    block = -(-len(shares) // _MAX_MAP_SIDE_PX)
    side = -(-len(shares) // block)
    padded = np.zeros((side * block, side * block))
    padded[: len(shares), : len(shares)] = shares
    pooled: NDArray[np.float64] = padded.reshape(side, block, side, block).max(axis=(1, 3))
    return pooled


def _encode(pixels: NDArray[np.uint8], extension: str) -> bytes:
    written, encoded = cv2.imencode(extension, pixels)
    assert written, f"OpenCV cannot write {extension} from {pixels.shape}"
    return encoded.tobytes()


def _data_uri(encoded: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(encoded).decode('ascii')}"
