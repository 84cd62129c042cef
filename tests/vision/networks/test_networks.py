"""Every network that params.yaml may name can be built, and is tested."""

import sys

import pytest
import torch

from schemas.shared.manifest import ImageForm
from schemas.vision.network import Network
from stages.shared.errors import InputError
from stages.vision.networks import build_network
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


def test_weights_follow_from_the_seed() -> None:
    """The same seed gives the same initial weights, another seed others."""
    image = ImageForm(color="rgb", height_px=8, width_px=8, resize="squish")

    def first_weight(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return next(build_network(TINY_CNN, image=image, num_classes=2).parameters())

    assert torch.equal(first_weight(0), first_weight(0))
    assert not torch.equal(first_weight(0), first_weight(1))
