"""The network of Jordan 2024, "94% on CIFAR-10 in 3.29 seconds", for images of any form.

Source: arXiv:2404.00498, sections 3.1 to 3.3. Three departures: the last pooling takes the largest value of
whatever is left of the image, which is the paper's 3 x 3 at 32 px; the first layer's biases are trained to
the end, or not at all, and not for three epochs; batch-norm's epsilon is torch's 1e-5, not 1e-12.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from schemas.shared.image import ImageForm
from schemas.vision.network import Airbench as AirbenchParams

_KERNEL_SIDE = 2


class Whitening(nn.Module):
    """A 2 x 2 convolution whose outputs are uncorrelated, and of variance 1, on the images it is fitted to.

    The kernels are the eigenvectors of the covariance of all patches, each divided by its standard deviation,
    and the same ones negated. They are no parameters: training changes the biases alone, if there are any.
    Until they are fitted they are those of random noise: unit vectors.
    """

    kernels: Tensor

    def __init__(self, in_channels: int, *, epsilon: float, has_bias: bool = True) -> None:
        super().__init__()
        self._epsilon = epsilon
        num_values = in_channels * _KERNEL_SIDE**2
        identity = torch.eye(num_values).reshape(num_values, in_channels, _KERNEL_SIDE, _KERNEL_SIDE)
        self.register_buffer("kernels", torch.cat((identity, -identity)))
        self.bias = nn.Parameter(torch.zeros(2 * num_values)) if has_bias else None

    @torch.no_grad()
    def fit(self, batches: Iterable[Tensor]) -> None:
        """Fit the kernels to batches of images float (N, in_channels, height, width), on the processor."""
        covariance = self._average_products(batches)
        variances, vectors = torch.linalg.eigh(covariance)  # ascending; vectors stand in columns
        # An eigenvector is one up to its sign, a library's choice; ours has its largest value positive.
        largest = vectors.abs().argmax(dim=0, keepdim=True)
        vectors = vectors * vectors.gather(0, largest).sign()
        kernels = (vectors / (variances.clamp(min=0) + self._epsilon).sqrt()).T.flip(0)
        kernels = kernels.reshape(len(kernels), *self.kernels.shape[1:])
        self.kernels.copy_(torch.cat((kernels, -kernels)))

    def _average_products(self, batches: Iterable[Tensor]) -> Tensor:
        """Return the second moments float64 (values, values) of all 2 x 2 patches."""
        num_values = len(self.kernels) // 2
        total = torch.zeros(num_values, num_values, dtype=torch.float64)
        num_patches = 0
        for images in batches:
            patches = functional.unfold(images.double(), _KERNEL_SIDE).transpose(1, 2).reshape(-1, num_values)
            total += patches.T @ patches
            num_patches += len(patches)
        return total / num_patches

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, 8 * in_channels, height - 1, width - 1) for images (N, in_channels, height, width)."""
        return functional.conv2d(images, self.kernels, self.bias)


class BiasNorm(nn.BatchNorm2d):
    """Batch norm without a trained scale, whose biases learn faster than other weights.

    The bias is a parameter times the root of the factor: under SGD its gradient and its effect both grow by
    the root, so it learns as with a learning rate times the factor, and decays as others do.
    """

    _ones: Tensor

    def __init__(self, channels: int, *, momentum: float, bias_lr_factor: float) -> None:
        super().__init__(channels, momentum=momentum, affine=False)
        self._scale = math.sqrt(bias_lr_factor)
        self.scaled_bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("_ones", torch.ones(channels), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return images (N, channels, height, width) normalised channel by channel, with their biases."""
        self._check_input_dim(images)
        assert self.running_mean is not None
        assert self.running_var is not None
        if self.training:
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
        return functional.batch_norm(
            images,
            self.running_mean,
            self.running_var,
            self._ones,
            self.scaled_bias * self._scale,
            training=self.training,
            momentum=self.momentum or 0.0,
            eps=self.eps,
        )


class Block(nn.Sequential):
    """Two 3 x 3 convolutions, halving in between; they start by handing their input on (Dirac)."""

    def __init__(
        self, in_channels: int, out_channels: int, *, momentum: float, bias_lr_factor: float
    ) -> None:
        def norm() -> BiasNorm:
            return BiasNorm(out_channels, momentum=momentum, bias_lr_factor=bias_lr_factor)

        super().__init__(
            _build_dirac(in_channels, out_channels),
            nn.MaxPool2d(2),
            norm(),
            nn.GELU(),
            _build_dirac(out_channels, out_channels),
            norm(),
            nn.GELU(),
        )


def _build_dirac(in_channels: int, out_channels: int) -> nn.Conv2d:
    """Return a convolution whose first outputs are its inputs; the others start as torch has them."""
    convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    num_handed_on = min(in_channels, out_channels)
    nn.init.dirac_(convolution.weight.data[:num_handed_on])
    return convolution


class Head(nn.Module):
    """The largest value of each channel, a linear layer without biases, and a division."""

    def __init__(self, channels: int, num_classes: int, *, logit_divisor: float) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, num_classes, bias=False)
        self._divisor = logit_divisor

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (N, num_classes) for features (N, channels, height, width)."""
        logits: Tensor = self.linear(features.amax(dim=(2, 3))) / self._divisor
        return logits


class Airbench(nn.Module):
    """A fitted whitening layer, blocks of two convolutions, and a linear layer."""

    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        widths: Sequence[int],
        whitening_images: int,
        whitening_epsilon: float,
        whitening_bias: bool,
        bias_lr_factor: float,
        batchnorm_momentum: float,
        logit_divisor: float,
    ) -> None:
        super().__init__()
        self.num_fit_images = whitening_images
        self.whitening = Whitening(in_channels, epsilon=whitening_epsilon, has_bias=whitening_bias)
        in_channels = len(self.whitening.kernels)
        blocks = []
        for out_channels in widths:
            blocks.append(
                Block(in_channels, out_channels, momentum=batchnorm_momentum, bias_lr_factor=bias_lr_factor)
            )
            in_channels = out_channels
        self.blocks = nn.Sequential(nn.GELU(), *blocks)
        self.head = Head(in_channels, num_classes, logit_divisor=logit_divisor)

    def fit(self, batches: Iterable[Tensor]) -> None:
        """Fit the first layer to training images float (N, in_channels, height, width), on the processor."""
        self.whitening.fit(batches)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, num_classes) for images (N, in_channels, height, width)."""
        logits: Tensor = self.head(self.blocks(self.whitening(images)))
        return logits


def build(arguments: AirbenchParams, *, image: ImageForm, num_classes: int) -> Airbench:
    """Return the network for images of this form, its first layer not fitted yet."""
    return Airbench(in_channels=image.num_channels, num_classes=num_classes, **arguments.model_dump())
