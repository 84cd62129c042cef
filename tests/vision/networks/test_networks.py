"""Every network that params.yaml may name can be built, and is tested."""

import os
import subprocess
import sys
from typing import Literal

import pytest
import torch
from torch import nn

from schemas.shared.manifest import ImageForm
from schemas.vision.network import ChosenNetwork, Network, ResNet, Timm, Torchvision
from stages.shared.errors import InputError
from stages.vision.networks import build_network, find_statistics
from stages.vision.pretrained import find_heads
from tests.vision.completeness import names_of, read_section, read_test
from tests.vision.documents import TINY_CNN


@pytest.mark.parametrize("name", names_of(Network))
def test_every_network_of_the_schema_is_built_and_tested(name: str) -> None:
    """A network is built for any form of image and number of classes, and has a test module of its own."""
    network = Network.model_validate({**read_section("network"), "name": name})
    for color, num_classes in (("rgb", 2), ("grayscale", 1000)):
        image = ImageForm.model_validate({"color": color, "height_px": 9, "width_px": 14, "resize": "squish"})
        built = build_network(network.chosen(), image=image, num_classes=num_classes)
        logits = built(torch.zeros(3, image.num_channels, 9, 14))
        assert logits.shape == (3, num_classes)
    assert f"networks.{name} import" in read_test(f"vision/networks/test_{name}.py")


def test_a_network_without_code_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when its schema is there and its module is not written yet."""
    monkeypatch.setitem(sys.modules, "stages.vision.networks.cnn", None)
    network = Network.model_validate(read_section("network") | {"name": "cnn"}).chosen()
    image = ImageForm(color="rgb", height_px=28, width_px=28, resize="squish")
    with pytest.raises(
        InputError, match=r"network\.name: found cnn, and there is no stages/vision/networks/cnn\.py"
    ):
        build_network(network, image=image, num_classes=2)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("timm", Timm(model="efficientnet_lite0", weights=None)),
        ("timm", Timm(model="mobilenetv3_small_050", weights=None)),
        ("timm", Timm(model="deit_tiny_distilled_patch16_224", weights=None)),
        ("timm", Timm(model="mixer_s32_224", weights=None)),
        ("torchvision", Torchvision(model="efficientnet_b0", weights=None)),
        ("torchvision", Torchvision(model="mnasnet0_5", weights=None)),
        ("torchvision", Torchvision(model="squeezenet1_1", weights=None)),
    ],
)
def test_new_heads_start_as_torchs_own_layers_do(
    name: Literal["timm", "torchvision"], arguments: Timm | Torchvision
) -> None:
    """Uniformly within 1 over the root of the number of inputs, whatever the library draws, and not at 0."""
    image = ImageForm(color="rgb", height_px=64, width_px=64, resize="squish")
    network = build_network(ChosenNetwork(name=name, arguments=arguments), image=image, num_classes=2)
    for head in find_heads(network).values():
        last = [part for part in head.modules() if isinstance(part, nn.Linear | nn.Conv2d)][-1]
        largest = last.weight[0].numel() ** -0.5
        assert 0.9 * largest < last.weight.abs().max() <= largest


def test_weights_follow_from_the_seed() -> None:
    """The same seed gives the same initial weights, another seed others."""
    image = ImageForm(color="rgb", height_px=8, width_px=8, resize="squish")

    def first_weight(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return next(build_network(TINY_CNN, image=image, num_classes=2).parameters())

    assert torch.equal(first_weight(0), first_weight(0))
    assert not torch.equal(first_weight(0), first_weight(1))


NARROW = ChosenNetwork(name="resnet", arguments=ResNet(widths=(4, 7, 12), blocks_per_stage=1, stem_stride=1))

TRAIN_NARROW = """
import sys
import torch
from stages.vision import networks
from tests.vision.networks.test_networks import NARROW, ImageForm
if sys.argv[1] == "bare":
    networks._avoid_onednn_crash = lambda network: None
image = ImageForm(color="rgb", height_px=112, width_px=112, resize="squish")
network = networks.build_network(NARROW, image=image, num_classes=2).to(memory_format=torch.channels_last)
torch.set_num_threads(1)
for _ in range(20):
    images = torch.randn(8, 3, 112, 112).to(memory_format=torch.channels_last)
    network(images).square().mean().backward()
    kept = [torch.randn(37) for _ in range(50)]  # so that memory written to by mistake is someone's
"""


def train_narrow(how: str, instructions: str) -> int:
    """Return the exit status of a process that trains on this CPU as if it had no more than these."""
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": instructions, "PYTHONPATH": "."}
    command = [sys.executable, "-c", TRAIN_NARROW, how]
    return subprocess.run(command, env=environment, stderr=subprocess.DEVNULL, check=False).returncode


@pytest.mark.parametrize("instructions", ["AVX2", "ALL"])
def test_a_narrow_network_trains_on_every_cpu(instructions: str) -> None:
    """Strided 1 x 1 convolutions of few channels end no process, as oneDNN's own code for them does."""
    assert train_narrow("built", instructions) == 0
    if train_narrow("bare", instructions) == 0:
        pytest.skip("this CPU, or this version of oneDNN, computes such convolutions rightly by itself")


def test_a_changed_convolution_computes_the_same() -> None:
    """Shortcuts of few channels have torch's outputs and gradients, and the names of their weights stay."""
    image = ImageForm(color="rgb", height_px=9, width_px=14, resize="squish")
    network = build_network(NARROW, image=image, num_classes=2)
    changed = [part for part in network.modules() if isinstance(part, nn.Conv2d) and part._forward_pre_hooks]
    assert [part.in_channels for part in changed] == [4, 7]
    assert "blocks.1.shortcut.0.weight" in network.state_dict()
    for part in changed:
        ours, theirs = (torch.randn(2, part.in_channels, 9, 14, requires_grad=True) for _ in range(2))
        theirs.data.copy_(ours.data)
        expected = nn.functional.conv2d(theirs, part.weight, stride=2)
        found = part(ours)
        torch.testing.assert_close(found, expected)
        for output in (found, expected):
            output.square().sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize(
    ("name", "arguments", "mean"),
    [
        ("timm", Timm(model="resnet18", weights=None), 0.485),
        ("timm", Timm(model="tf_efficientnet_lite0", weights="in1k"), 0.5),
        ("torchvision", Torchvision(model="resnet18", weights=None), 0.485),
        ("torchvision", Torchvision(model="vit_b_16", weights="IMAGENET1K_SWAG_E2E_V1"), 0.485),
    ],
)
def test_a_library_says_what_its_weights_expect(
    name: Literal["timm", "torchvision"], arguments: Timm | Torchvision, mean: float
) -> None:
    """Mean and deviation of each channel come from the weights' own preprocessing."""
    image = ImageForm(color="rgb", height_px=64, width_px=64, resize="squish")
    found = find_statistics(ChosenNetwork(name=name, arguments=arguments), image=image)
    assert found.mean[0] == mean
    assert len(found.mean) == len(found.std) == 3


def test_of_gray_images_the_channels_are_averaged() -> None:
    """There is one number for them, for the first kernel's channels are summed."""
    image = ImageForm(color="grayscale", height_px=64, width_px=64, resize="squish")
    arguments = Timm(model="resnet18", weights=None)
    found = find_statistics(ChosenNetwork(name="timm", arguments=arguments), image=image)
    assert found.mean == pytest.approx([(0.485 + 0.456 + 0.406) / 3])


def test_an_unknown_model_expects_nothing_known() -> None:
    """One line names the model and what to write instead."""
    image = ImageForm(color="rgb", height_px=64, width_px=64, resize="squish")
    chosen = ChosenNetwork(name="timm", arguments=Timm(model="resnet18", weights="nope"))
    with pytest.raises(InputError, match=r"network\.timm: .*nope.* give numbers as mean and std"):
        find_statistics(chosen, image=image)
