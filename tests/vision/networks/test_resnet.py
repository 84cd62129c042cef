"""The small residual network."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from schemas.shared.manifest import ImageForm
from schemas.vision.network import ResNet as ResNetParams
from stages.vision.networks.resnet import ResidualBlock, ResNet, build


def make_resnet(**changes: int) -> ResNet:
    """Return a tiny network for color images."""
    torch.manual_seed(0)
    shape = {"blocks_per_stage": 1, "stem_stride": 1, **changes}
    return ResNet(in_channels=3, num_classes=5, widths=(4, 6, 8), **shape)


def compute_block_by_hand(images: Tensor, block: ResidualBlock, *, stride: int) -> Tensor:
    """Return what a block in evaluation mode gives, in torch's functions."""
    weights = block.state_dict()

    def norm(name: str, values: Tensor) -> Tensor:
        mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
        scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return functional.batch_norm(values, mean, variance, scale, shift)

    inner = functional.conv2d(images, weights["conv1.weight"], stride=stride, padding=1)
    inner = functional.conv2d(norm("norm1", inner).relu(), weights["conv2.weight"], padding=1)
    shortcut = norm("shortcut.1", functional.conv2d(images, weights["shortcut.0.weight"], stride=stride))
    return (norm("norm2", inner) + shortcut).relu()


@pytest.mark.parametrize("stride", [1, 2])
def test_block_is_that_of_the_paper(stride: int) -> None:
    """Two normalised convolutions are added to the input, which is projected where the form changes."""
    torch.manual_seed(0)
    block = ResidualBlock(3, 4, stride=stride)
    for tensor in block.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    images = torch.randn(2, 3, 7, 8)
    expected = compute_block_by_hand(images, block, stride=stride)
    torch.testing.assert_close(block.eval()(images), expected)


def test_blocks_start_as_the_identity() -> None:
    """A new block of unchanged form hands its input on, but for the ReLU."""
    images = torch.randn(2, 4, 5, 5)
    assert torch.equal(ResidualBlock(4, 4, stride=1).eval()(images), images.relu())


@pytest.mark.parametrize(("stem_stride", "sides"), [(1, (8, 4)), (2, (4, 2))])
def test_stages_halve_the_images(stem_stride: int, sides: tuple[int, int]) -> None:
    """Every stage but the first halves height and width, and so does a stem with step 2."""
    network, images = make_resnet(stem_stride=stem_stride), torch.randn(2, 3, 32, 16)
    assert network.blocks(network.stem(images)).shape == (2, 8, *sides)


@pytest.mark.parametrize("size", [(28, 28), (96, 96), (9, 14), (4, 4)])
def test_any_size_gives_logits(size: tuple[int, int]) -> None:
    """Images of 28 to 96 px and odd ones pass, down to one pixel in the last stage."""
    assert make_resnet()(torch.randn(2, 3, *size)).shape == (2, 5)


def test_every_weight_is_trained() -> None:
    """After one step, which leaves the zero-initialised norms, every parameter gets a gradient."""
    network = make_resnet(blocks_per_stage=2)
    optimizer, images = torch.optim.SGD(network.parameters(), lr=0.1), torch.randn(4, 3, 12, 12)
    for _ in range(2):
        optimizer.zero_grad()
        network(images).square().sum().backward()
        optimizer.step()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_build_follows_the_parameters() -> None:
    """Widths, blocks and stem of the section, and the form of the images, shape the network."""
    arguments = ResNetParams(widths=(5, 7), blocks_per_stage=2, stem_stride=2)
    image = ImageForm(color="grayscale", height_px=8, width_px=12, resize="crop")
    network = build(arguments, image=image, num_classes=3)
    assert network.stem[0].weight.shape == (5, 1, 3, 3)
    weights = [tensor for name, tensor in network.named_parameters() if name.endswith("conv2.weight")]
    assert [len(weight) for weight in weights] == [5, 5, 7, 7]
    assert network.head[1].weight.shape == (3, 7)
    assert arguments.min_side_px == 4
