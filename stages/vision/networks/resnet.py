"""The small residual network."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from schemas.shared.manifest import ImageForm
from schemas.vision.network import ResNet as ResNetParams


class ResidualBlock(nn.Module):
    """Two convolutions added to their input: relu(x + norm(conv(relu(norm(conv(x)))))).

    Where the shape changes, the input goes through a 1 x 1 convolution (option B of arXiv:1512.03385). The
    second norm's scale starts at 0, so every block starts as the identity (arXiv:1706.02677, section 5.1).
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        nn.init.zeros_(self.norm2.weight)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, out_channels, height / stride, width / stride) for (N, in_channels, height, width)."""
        changed = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(images)))))
        return torch.relu(changed + self.shortcut(images))


class ResNet(nn.Module):
    """A convolution, stages of residual blocks, global average pooling, and a linear head.

    Source: He et al. 2016, arXiv:1512.03385, section 4.2.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        widths: Sequence[int],
        blocks_per_stage: int,
        stem_stride: int,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], 3, stride=stem_stride, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        )
        blocks = []
        in_channels = widths[0]
        for stage, out_channels in enumerate(widths):
            for block in range(blocks_per_stage):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(ResidualBlock(in_channels, out_channels, stride=stride))
                in_channels = out_channels
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(in_channels, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, num_classes) for images (N, in_channels, height, width)."""
        logits: Tensor = self.head(self.pool(self.blocks(self.stem(images))))
        return logits


def build(arguments: ResNetParams, *, image: ImageForm, num_classes: int) -> ResNet:
    """Return the network for images of this form."""
    return ResNet(
        in_channels=image.num_channels,
        num_classes=num_classes,
        widths=arguments.widths,
        blocks_per_stage=arguments.blocks_per_stage,
        stem_stride=arguments.stem_stride,
    )
