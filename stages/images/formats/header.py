"""What is known of an image before it is decoded, and the refusal of what cannot be."""

from typing import NamedTuple


class Undecodable(ValueError):
    """The bytes are no image that can be used; the message says why, as the rest of a sentence."""


class Header(NamedTuple):
    """What the header of an image file states; a tuple, for one is made of every image in a microsecond."""

    format: str
    """As people call it: JPEG, PNG, ..."""

    height_px: int
    width_px: int
    """Of the first frame or page as it is stored, before it is turned upright."""

    bytes_per_pixel: int
    """Memory that decoding takes at most for each pixel, in bytes; measured."""

    bits: int = 8
    """Of each channel."""

    has_alpha: bool = False
    is_premultiplied: bool = False
    """Whether OpenCV returns the colours multiplied by alpha."""

    orientation: int = 1
    """EXIF's, 1 to 8; read only where OpenCV does not see to it."""

    white: int = 0
    """The value that stands for white, where OpenCV would take another for it; else 0."""

    num_frames: int = 1
    """Frames of an animation, pages of a document."""


def cut_off(what: str) -> Undecodable:
    """Return the refusal of a file that ends too early."""
    return Undecodable(f"is cut off: {what}")


def damaged(what: str) -> Undecodable:
    """Return the refusal of a file whose parts do not fit together."""
    return Undecodable(f"is damaged: {what}")
