"""The form every image is brought to before a network sees it."""

from typing import Literal

from schemas.shared.fields import PositiveCount
from schemas.shared.schema import Schema

Color = Literal["rgb", "grayscale"]
ResizeMode = Literal["squish", "pad", "crop"]


class ImageForm(Schema):
    """Shape of a prepared image, and how a picture of any size is brought to it."""

    color: Color
    height_px: PositiveCount
    width_px: PositiveCount
    resize: ResizeMode

    @property
    def num_channels(self) -> int:
        """Return 3 for rgb, 1 for grayscale."""
        return 3 if self.color == "rgb" else 1

    @property
    def num_bytes(self) -> int:
        """Return the size of one prepared image."""
        return self.height_px * self.width_px * self.num_channels
