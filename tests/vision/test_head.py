"""A network as backbone and head."""

import pytest
import torch
from torch import Tensor, nn

from schemas.shared.image import ImageForm
from schemas.vision.network import Network
from stages.shared.errors import InputError
from stages.vision.head import (
    FrozenBackbone,
    HeadOnFeatures,
    capture_features,
    find_head,
    refuse_headless,
    set_backbone_trainable,
)
from stages.vision.networks import build_network
from tests.vision.completeness import names_of, read_section

IMAGE = ImageForm(color="rgb", height_px=32, width_px=32, resize="crop")
CPU = torch.device("cpu")


def build(name: str) -> nn.Module:
    """Return a network of the section's parameters."""
    torch.manual_seed(0)
    network = Network.model_validate({**read_section("network"), "name": name})
    return build_network(network.chosen(), image=IMAGE, num_classes=5)


@pytest.mark.parametrize("name", names_of(Network))
def test_every_network_is_backbone_and_head(name: str) -> None:
    """The last child makes the logits of the features that it gets, for every network there is."""
    network = build(name).eval()
    refuse_headless(network, image=IMAGE, device=CPU)
    images = torch.randn(3, 3, 32, 32)
    with capture_features(network) as captured:
        logits = network(images)
    (features,) = captured
    head = HeadOnFeatures(network, feature_shape=tuple(features.shape[1:]))
    torch.testing.assert_close(head(features.reshape(3, -1, 1, 1)), logits)


class Scaled(nn.Module):
    """A network that changes what its last child gives."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Flatten()
        self.last = nn.Linear(3 * 32 * 32, 5)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, 5)."""
        logits: Tensor = 2 * self.last(self.body(images))
        return logits


def test_a_network_without_a_head_of_its_own_is_refused() -> None:
    """Where the last module's output is not the answer, freezing the rest would train something else."""
    with pytest.raises(InputError, match=r"^transfer\.freeze: found backbone, but the last module"):
        refuse_headless(Scaled(), image=IMAGE, device=CPU)


def test_features_are_captured_only_meanwhile() -> None:
    """After the block the network keeps nothing."""
    network = build("cnn")
    with capture_features(network) as captured:
        network(torch.randn(1, 3, 32, 32))
    network(torch.randn(1, 3, 32, 32))
    assert len(captured) == 1


def test_frozen_backbone_keeps_weights_and_statistics() -> None:
    """Steps change the head, and neither weights nor batch-norm statistics of the backbone."""
    network = build("resnet")
    set_backbone_trainable(network, False)
    frozen = FrozenBackbone(network)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, weight_decay=0.1, momentum=0.9)
    for _ in range(2):
        frozen.train()(torch.randn(4, 3, 32, 32)).square().sum().backward()
        optimizer.step()
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"head.1.weight", "head.1.bias"}


def test_head_drops_in_training_only() -> None:
    """Under a frozen backbone the head still goes into training and evaluation mode."""
    frozen = FrozenBackbone(build("cnn"))
    head = find_head(frozen.network)
    assert frozen.train() is frozen
    assert (head.training, frozen.network.training) == (True, False)
    frozen.eval()
    assert not head.training


def test_a_backbone_can_be_trained_again() -> None:
    """Unfreezing gives every parameter its gradient back."""
    network = build("resnet")
    set_backbone_trainable(network, False)
    set_backbone_trainable(network, True)
    assert all(parameter.requires_grad for parameter in network.parameters())
