"""The network of Jordan 2024, "94% on CIFAR-10 in 3.29 seconds", for images of any size.

Source: arXiv:2404.00498, sections 3.1 to 3.3. Three departures from the paper: the last pooling takes the
maximum over the whole remaining image, which at 32 px is the paper's 3 x 3; the whitening layer's biases are
trained to the end, or not at all, and not for three epochs; batch norm's epsilon is torch's 1e-5, not 1e-12.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from schemas.shared.manifest import ImageForm
from schemas.vision.network import Airbench as AirbenchParams

_KERNEL_SIDE = 2


class Whitening(nn.Module):
    """A fixed 2 x 2 convolution whose outputs are uncorrelated, with variance 1, on the training images.

    Neighboring pixels and channels of photographs are strongly correlated, so the loss is badly conditioned
    in the first layer's weights, and learning it takes many steps. PCA whitening of patches (section 3.2)
    computes that layer instead. The kernels are the eigenvectors of the covariance of all 2 x 2 patches, each
    divided by its standard deviation, then the same kernels negated: a GELU follows, which would lose one of
    the two signs. They are a buffer, not parameters, so training changes at most the biases.
    Before `fit` they are unit vectors, which would whiten white noise.
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
        """Fit the kernels to batches of images float (N, in_channels, height, width), on the CPU."""
        covariance = self._average_products(batches)
        variances, vectors = torch.linalg.eigh(covariance)  # ascending; vectors are columns
        # The sign of an eigenvector is arbitrary, and libraries differ; the largest value shall be positive.
        largest = vectors.abs().argmax(dim=0, keepdim=True)
        vectors = vectors * vectors.gather(0, largest).sign()
        # Epsilon keeps directions of almost no variance, which are noise, from being amplified.
        kernels = (vectors / (variances.clamp(min=0) + self._epsilon).sqrt()).T.flip(0)
        kernels = kernels.reshape(len(kernels), *self.kernels.shape[1:])
        self.kernels.copy_(torch.cat((kernels, -kernels)))

    def _average_products(self, batches: Iterable[Tensor]) -> Tensor:
        """Return the mean outer product float64 (num_values, num_values) of all 2 x 2 patches.

        As in the paper, the mean is not subtracted: normalized images have a mean of about 0.
        """
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
    """Batch norm without a trained scale, whose biases have a higher learning rate than other weights.

    The paper puts the biases into a parameter group with 64 times the learning rate. Here the bias is a
    parameter times sqrt(64), so that the network works with any optimizer section: under SGD the gradient and
    its effect both grow by sqrt(64), hence the step by 64, while weight decay acts as on other weights. Under
    Adam, which ignores the scale of gradients, only the effect grows.
    """

    _ones: Tensor

    def __init__(self, channels: int, *, momentum: float, bias_lr_factor: float) -> None:
        super().__init__(channels, momentum=momentum, affine=False)
        self._scale = math.sqrt(bias_lr_factor)
        self.scaled_bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("_ones", torch.ones(channels), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return images (N, channels, height, width) normalized channel by channel, plus the biases."""
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
    """Two 3 x 3 convolutions around 2 x 2 max pooling, initialized to pass their input on (Dirac)."""

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
    """Return a convolution whose first outputs are its inputs; the other kernels keep torch's default."""
    convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    num_identity = min(in_channels, out_channels)
    nn.init.dirac_(convolution.weight.data[:num_identity])
    return convolution


class Head(nn.Module):
    """Global max pooling, a linear layer without biases, and a division of the logits."""

    def __init__(self, channels: int, num_classes: int, *, logit_divisor: float) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, num_classes, bias=False)
        self._divisor = logit_divisor

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (N, num_classes) for features (N, channels, height, width)."""
        logits: Tensor = self.linear(features.amax(dim=(2, 3))) / self._divisor
        return logits


class Airbench(nn.Module):
    """A whitening layer, blocks of two convolutions, and a linear head."""

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
        """Fit the whitening layer to training images float (N, in_channels, height, width), on the CPU."""
        self.whitening.fit(batches)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, num_classes) for images (N, in_channels, height, width)."""
        logits: Tensor = self.head(self.blocks(self.whitening(images)))
        return logits


def build(arguments: AirbenchParams, *, image: ImageForm, num_classes: int) -> Airbench:
    """Return the network for images of this form; its whitening layer is not fitted yet."""
    return Airbench(in_channels=image.num_channels, num_classes=num_classes, **arguments.model_dump())
