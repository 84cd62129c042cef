"""The few images that the page shows: which of each class, and each as a data: URI of bounded size."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from stages.images.image_table import ImageTable
from stages.pages.embedding import encode, to_data_uri
from stages.shared.packed_images import PackedImages

Pixels = npt.NDArray[np.uint8]

MAX_CLASSES = 1000
_MAX_PER_CLASS = 8
_MAX_OF_CLASSES = 2000
_TOTAL_BYTES = 2_000_000
_MAX_BYTES = 8_000
_SIDES_PX = (144, 128, 112, 96, 80, 64, 48, 32, 24, 16)
_WEBP_QUALITY = 80
_WEBP_BYTES_PER_PIXEL = 0.35
"""Of an ordinary photograph. One that takes more is shrunk further."""

_MAX_PIXELATED_PX = 64


@dataclass(frozen=True)
class Thumbnail:
    """An image of the page."""

    row: int
    """Of the table."""

    path: str
    address: str
    is_pixelated: bool
    """Whether its pixels are to be seen, not blurred: it has few."""


def choose_samples(table: ImageTable, classes: npt.NDArray[np.int64]) -> dict[int, list[int]]:
    """Return rows of up to 8 used images of each class, in the order of their paths; fewer of many classes.

    The bytes of the files choose, so that the images are from all over a class, and an image that is added
    replaces one at most.

    Args:
        table: All files.
        classes: Labels.
    """
    shown = classes[:MAX_CLASSES]
    num_each = max(1, min(_MAX_PER_CLASS, _MAX_OF_CLASSES // max(1, len(shown))))
    rows = np.flatnonzero(table.has_status("decoded") & np.isin(table.label, shown))
    keys = np.ascontiguousarray(table.sha256[rows, :8]).view(">u8").ravel()
    rows = rows[np.lexsort((keys, table.label[rows]))]
    labels, starts = np.unique(table.label[rows], return_index=True)
    return {
        label: sorted(some[:num_each].tolist())
        for label, some in zip(labels.tolist(), np.split(rows, starts[1:]), strict=True)
    }


def draw_thumbnails(rows: list[int], table: ImageTable, images: PackedImages) -> dict[int, Thumbnail]:
    """Return a thumbnail for each of these rows of the table; together they stay below 2 MB.

    Args:
        rows: Which images.
        table: All files.
        images: The pixels that ingest stored.
    """
    max_bytes = min(_MAX_BYTES, _TOTAL_BYTES // max(1, len(rows)))
    side = next((side for side in _SIDES_PX if side**2 * _WEBP_BYTES_PER_PIXEL <= max_bytes), _SIDES_PX[-1])
    thumbnails = {}
    for row in rows:
        (pixels,) = images[table.row[row : row + 1]]
        is_pixelated = max(pixels.shape[:2]) <= _MAX_PIXELATED_PX
        address = _embed(np.ascontiguousarray(pixels[:, :, ::-1]), side_px=side, max_bytes=max_bytes)
        thumbnails[row] = Thumbnail(row, table.path[row], address, is_pixelated)
    return thumbnails


def _embed(pixels: Pixels, *, side_px: int, max_bytes: int) -> str:
    """Return an image (height, width, channels), BGR or gray: as PNG if that fits, or shrunk as WebP."""
    height, width = pixels.shape[:2]
    if max(height, width) <= side_px and len(png := encode(pixels, ".png")) <= max_bytes:
        return to_data_uri(png, "image/png")
    webp = b""
    for side in (side for side in _SIDES_PX if side <= side_px):
        scale = min(1.0, side / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        shrunk = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        webp = encode(shrunk, ".webp", cv2.IMWRITE_WEBP_QUALITY, _WEBP_QUALITY)
        if len(webp) <= max_bytes:
            break
    return to_data_uri(webp, "image/webp")
