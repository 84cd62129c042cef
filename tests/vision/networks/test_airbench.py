"""The network of Jordan 2024."""

import pytest
import torch
from torch import nn

from schemas.shared.manifest import ImageForm
from schemas.vision.network import Airbench as AirbenchParams
from stages.vision.networks.airbench import Airbench, BiasNorm, Block, Head, Whitening, build

ARGUMENTS = AirbenchParams(
    widths=(8, 6),
    whitening_images=40,
    whitening_epsilon=5e-4,
    whitening_bias=True,
    bias_lr_factor=64.0,
    batchnorm_momentum=0.4,
    logit_divisor=9.0,
)


def make_airbench(*, color: str = "rgb", side_px: int = 14) -> Airbench:
    """Return a tiny network."""
    torch.manual_seed(0)
    image = ImageForm.model_validate(
        {"color": color, "height_px": side_px, "width_px": side_px, "resize": "crop"}
    )
    return build(ARGUMENTS, image=image, num_classes=5)


def draw_smooth_images(num_images: int, channels: int) -> torch.Tensor:
    """Return images (N, C, 12, 12) whose neighbouring pixels and channels are alike."""
    torch.manual_seed(1)
    coarse = torch.randn(num_images, channels, 6, 6) + torch.randn(num_images, 1, 6, 6)
    return nn.functional.interpolate(coarse, scale_factor=2.0, mode="bilinear")


@pytest.mark.parametrize("channels", [1, 3])
def test_fitted_layer_whitens(channels: int) -> None:
    """On the images it is fitted to, its outputs have the second moments of the identity."""
    images = draw_smooth_images(50, channels)
    layer = Whitening(channels, epsilon=1e-9)
    layer.fit([images[:7], images[7:]])
    outputs = layer(images)[:, : 4 * channels].transpose(0, 1).flatten(1).double()
    moments = outputs @ outputs.T / outputs.shape[1]
    torch.testing.assert_close(moments, torch.eye(4 * channels, dtype=torch.float64), atol=1e-3, rtol=0)


def test_fitted_layer_has_every_kernel_negated_too() -> None:
    """The second half of the kernels is the first with the other sign."""
    layer = Whitening(3, epsilon=5e-4)
    layer.fit([draw_smooth_images(20, 3)])
    assert torch.equal(layer.kernels[:12], -layer.kernels[12:])


def test_fit_does_not_depend_on_the_batches() -> None:
    """The kernels follow from the images, up to the rounding of sums."""
    images, layers = draw_smooth_images(20, 3), [Whitening(3, epsilon=5e-4) for _ in range(2)]
    layers[0].fit([images])
    layers[1].fit([images[:3], images[3:]])
    torch.testing.assert_close(layers[0].kernels, layers[1].kernels, rtol=1e-4, atol=1e-5)


def test_signs_of_kernels_are_settled() -> None:
    """Of each eigenvector the largest value is positive, whatever sign the library gave it."""
    layer = Whitening(3, epsilon=5e-4)
    layer.fit([draw_smooth_images(20, 3)])
    kernels = layer.kernels[:12].flatten(1)
    assert bool((kernels.gather(1, kernels.abs().argmax(dim=1, keepdim=True)) > 0).all())


def test_flat_images_leave_finite_kernels() -> None:
    """Patches that never vary are not divided by zero."""
    layer = Whitening(1, epsilon=5e-4)
    layer.fit([torch.zeros(3, 1, 8, 8)])
    assert bool(layer.kernels.isfinite().all())


def test_kernels_are_no_parameters_but_are_kept() -> None:
    """Training leaves the fitted kernels alone; the checkpoint holds them."""
    network = make_airbench()
    assert "whitening.kernels" not in dict(network.named_parameters())
    assert "whitening.kernels" in network.state_dict()


def test_convolutions_start_by_handing_on() -> None:
    """The first outputs of a block's convolutions are their inputs (Dirac)."""
    convolution = Block(4, 6, momentum=0.4, bias_lr_factor=64.0)[0]
    images = torch.randn(2, 4, 5, 5)
    assert torch.equal(convolution(images)[:, :4], images)


def test_biases_learn_as_with_a_larger_rate() -> None:
    """Under SGD with momentum and decay the bias moves as torch's own does with 64 times the rate."""
    torch.manual_seed(0)
    ours = BiasNorm(3, momentum=0.4, bias_lr_factor=64.0)
    theirs = nn.BatchNorm2d(3, momentum=0.4)
    theirs.weight.requires_grad_(False)
    images = torch.empty(0)
    our_optimizer = torch.optim.SGD(ours.parameters(), lr=0.01, weight_decay=0.1, momentum=0.9)
    # The decay of a step is rate times decay: as the paper divides it, one is the other's 64th.
    their_optimizer = torch.optim.SGD([theirs.bias], lr=0.64, weight_decay=0.1 / 64, momentum=0.9)
    for _ in range(5):
        images, weights = torch.randn(8, 3, 4, 4), torch.randn(8, 3, 4, 4)
        for norm, optimizer in ((ours, our_optimizer), (theirs, their_optimizer)):
            optimizer.zero_grad()
            (norm(images) * weights).sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours.scaled_bias * 8, theirs.bias)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.eval()(images), theirs.eval()(images))


def test_head_is_that_of_the_paper_at_32_px() -> None:
    """The largest of the last 3 x 3 values of each channel, a linear layer without biases, and a division."""
    head, features = Head(4, 5, logit_divisor=9.0), torch.randn(2, 4, 3, 3)
    expected = nn.functional.max_pool2d(features, 3).flatten(1) @ head.linear.weight.T / 9
    torch.testing.assert_close(head(features), expected)


def test_layers_are_those_of_the_paper() -> None:
    """At the paper's widths and 32 px the network has its 1.97 million weights."""
    paper = ARGUMENTS.model_copy(update={"widths": (64, 256, 256)})
    image = ImageForm(color="rgb", height_px=32, width_px=32, resize="crop")
    network = build(paper, image=image, num_classes=10)
    convolutions = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256)
    assert sum(parameter.numel() for parameter in network.parameters()) == (
        24 + convolutions + 2 * (64 + 256 + 256) + 10 * 256
    )
    assert network.blocks(network.whitening(torch.zeros(1, 3, 32, 32))).shape == (1, 256, 3, 3)


@pytest.mark.parametrize("color", ["rgb", "grayscale"])
@pytest.mark.parametrize("side_px", [5, 9, 28, 96])
def test_any_size_and_color_gives_logits(color: str, side_px: int) -> None:
    """Images down to the schema's smallest pass, color and grayscale."""
    assert ARGUMENTS.min_side_px == 5
    channels = 3 if color == "rgb" else 1
    network = make_airbench(color=color, side_px=side_px)
    assert network(torch.randn(2, channels, side_px, side_px)).shape == (2, 5)


def test_whitening_without_biases_needs_no_gradient() -> None:
    """The first layer then has no parameters, so its outputs ask for no gradients; it fits as before."""
    arguments = ARGUMENTS.model_copy(update={"whitening_bias": False})
    image = ImageForm(color="rgb", height_px=14, width_px=14, resize="crop")
    network, with_biases = build(arguments, image=image, num_classes=5), make_airbench()
    images = draw_smooth_images(20, 3)
    network.fit([images])
    with_biases.fit([images])
    assert not list(network.whitening.parameters())
    assert not network.whitening(images).requires_grad
    torch.testing.assert_close(network.whitening(images), with_biases.whitening(images))
