"""Some image bombs, and what memory they and sound images get; `make attack` has all."""

import pytest
from PIL import Image

from stages.images.decode import DEFAULT_LIMITS
from stages.images.headers import read_header
from tests.images.bombs import image_bombs
from tests.images.decode_child import OUT_OF_MEMORY, decode_apart
from tests.images.samples import save
from tests.images.trees import photograph

MAX_BYTES = 640 * 2**20
BOMBS = (
    "jpeg, progressive, 2,000 scans of 3,000 x 3,000",
    "tiff, 6,000 x 6,000 of LZW and a few codes",
    "tiff, 65,535 private tags",
    "bmp, 7,000 x 7,000 and jumps over most of it",
    "webp, 8 x 8 on a canvas of 6,000 x 6,000, 10,000 times",
    "gif, 20 MB of codes that clear the table",
    "heic, 8 x 8 that are 6,000 x 6,000",
    "avif, 8 x 8 that are 6,000 x 6,000",
)


def test_bombs() -> None:
    """Each is taken or refused for what it is, in seconds and in a worker's memory."""
    bombs = image_bombs()
    outcomes = decode_apart(
        [bombs[name]() for name in BOMBS], max_memory_bytes=DEFAULT_LIMITS.max_memory_bytes
    )
    for outcome in outcomes:
        assert outcome.reason != OUT_OF_MEMORY
        assert outcome.seconds < DEFAULT_LIMITS.max_seconds
        assert outcome.peak_bytes < MAX_BYTES


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "JPEG2000", "HEIF", "AVIF"])
def test_too_little_memory_is_not_damage(kind: str) -> None:
    """Whatever a decoder says when it gets none, a sound image is decoded or is a MemoryError."""
    data = save(Image.fromarray(photograph(height=1000, width=1500)), kind)
    seen = set()
    for megabytes in (1, 8, 200):
        (outcome,) = decode_apart([data], max_memory_bytes=megabytes * 2**20 + len(data))
        seen.add(outcome.reason)
    assert seen == {OUT_OF_MEMORY, ""}


def test_damage_is_not_too_little_memory() -> None:
    """A damaged image is refused as that where its memory was there."""
    data = save(Image.fromarray(photograph(height=1000, width=1500)), "TIFF", compression="tiff_lzw")
    header = read_header(data)
    room = header.height_px * header.width_px * header.bytes_per_pixel + 32 * 2**20
    (outcome,) = decode_apart([data[:5000] + bytes(500) + data[5500:]], max_memory_bytes=room)
    assert outcome.reason.startswith("is damaged")
