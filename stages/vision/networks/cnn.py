"""The plain convolutional network."""

from collections.abc import Sequence

from torch import Tensor, nn

from schemas.shared.manifest import ImageForm
from schemas.vision.network import Cnn as CnnParams
from stages.vision.rng import SampleDropout


class Cnn(nn.Module):
    """Blocks of convolution, 2 x 2 max pooling and ReLU, then one linear layer on the flattened features.

    Source: LeCun et al. 1998, doi:10.1109/5.726791, with ReLU and max pooling.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        height_px: int,
        width_px: int,
        num_classes: int,
        channels: Sequence[int],
        kernel_size: int,
        dropout: float,
    ) -> None:
        super().__init__()
        blocks = []
        for out_channels in channels:
            blocks.append(
                nn.Sequential(
                    nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2),
                    nn.MaxPool2d(2),
                    nn.ReLU(),  # equal to ReLU before pooling, on a quarter of the values
                )
            )
            in_channels, height_px, width_px = out_channels, height_px // 2, width_px // 2
        self.features = nn.Sequential(*blocks)
        self.head = nn.Sequential(
            nn.Flatten(), SampleDropout(dropout), nn.Linear(in_channels * height_px * width_px, num_classes)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, num_classes) for images (N, in_channels, height_px, width_px)."""
        logits: Tensor = self.head(self.features(images))
        return logits


def build(arguments: CnnParams, *, image: ImageForm, num_classes: int) -> Cnn:
    """Return the network for images of this form."""
    return Cnn(
        in_channels=image.num_channels,
        height_px=image.height_px,
        width_px=image.width_px,
        num_classes=num_classes,
        channels=arguments.channels,
        kernel_size=arguments.kernel_size,
        dropout=arguments.dropout,
    )
