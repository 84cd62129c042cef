"""The plain convolutional network."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from schemas.shared.manifest import ImageForm
from schemas.vision.network import Cnn as CnnParams
from stages.vision.networks.cnn import Cnn, build


def make_cnn(
    *,
    channels: tuple[int, ...] = (4, 6),
    kernel_size: int = 3,
    dropout: float = 0.0,
    height_px: int = 9,
    width_px: int = 14,
    num_classes: int = 5,
) -> Cnn:
    """Return a small network for color images."""
    torch.manual_seed(0)
    return Cnn(
        in_channels=3,
        height_px=height_px,
        width_px=width_px,
        num_classes=num_classes,
        channels=channels,
        kernel_size=kernel_size,
        dropout=dropout,
    )


def compute_by_hand(images: Tensor, weights: dict[str, Tensor], *, num_blocks: int) -> Tensor:
    """Return the logits (N, num_classes) in torch's functions."""
    for block in range(num_blocks):
        weight, bias = weights[f"features.{block}.0.weight"], weights[f"features.{block}.0.bias"]
        images = functional.max_pool2d(functional.conv2d(images, weight, bias, padding="same").relu(), 2)
    return images.flatten(1) @ weights["head.2.weight"].T + weights["head.2.bias"]


@pytest.mark.parametrize("kernel_size", [1, 3, 5, 11])
@pytest.mark.parametrize("channels", [(4,), (4, 6), (2, 3, 4)])
def test_logits_are_those_of_the_layers(channels: tuple[int, ...], kernel_size: int) -> None:
    """Convolution that keeps the size, ReLU, 2 x 2 max pooling, block by block; then one linear layer."""
    network = make_cnn(channels=channels, kernel_size=kernel_size)
    images = torch.randn(2, 3, 9, 14)
    expected = compute_by_hand(images, network.state_dict(), num_blocks=len(channels))
    torch.testing.assert_close(network(images), expected)


def test_memory_format_makes_no_difference() -> None:
    """channels_last gives the logits of the ordinary layout, up to rounding."""
    network, images = make_cnn(), torch.randn(2, 3, 9, 14)
    expected = network(images)
    network = network.to(memory_format=torch.channels_last)
    found = network(images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("size", [(4, 4), (4, 31), (7, 5), (28, 28)])
@pytest.mark.parametrize("num_classes", [2, 1000])
def test_any_size_and_number_of_classes_fits(size: tuple[int, int], num_classes: int) -> None:
    """Odd and oblong images pass, down to one pixel after the last block."""
    network = make_cnn(height_px=size[0], width_px=size[1], num_classes=num_classes)
    assert network(torch.randn(1, 3, *size)).shape == (1, num_classes)


def test_number_of_parameters_is_that_of_the_layers() -> None:
    """Weights and biases of two convolutions and a linear layer, and nothing else."""
    expected = (3 * 4 * 9 + 4) + (4 * 6 * 9 + 6) + (6 * 2 * 3 * 5 + 5)
    assert sum(parameter.numel() for parameter in make_cnn().parameters()) == expected


def test_dropout_applies_in_training_only() -> None:
    """In training, features are dropped and logits vary; in evaluation they are those without dropout."""
    network, images = make_cnn(dropout=0.5), torch.randn(2, 3, 9, 14)
    network.train()
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), make_cnn(dropout=0.0).eval()(images))


def test_every_weight_is_trained() -> None:
    """Every parameter gets a gradient."""
    network = make_cnn()
    network(torch.randn(4, 3, 9, 14)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_build_follows_the_parameters() -> None:
    """Channels, kernel size and dropout of the section, and the form of the images, shape the network."""
    arguments = CnnParams(channels=(7, 5), kernel_size=5, dropout=0.25)
    image = ImageForm(color="grayscale", height_px=8, width_px=12, resize="crop")
    network = build(arguments, image=image, num_classes=3)
    shapes = [tuple(weight.shape) for name, weight in network.named_parameters() if name.endswith("weight")]
    assert shapes == [(7, 1, 5, 5), (5, 7, 5, 5), (3, 5 * 2 * 3)]
    assert "Dropout(p=0.25" in str(network)
