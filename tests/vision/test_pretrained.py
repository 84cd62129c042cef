"""Pretrained weights, and a network as backbone and head."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from schemas.shared.manifest import ImageForm
from schemas.vision.network import Network
from stages.shared.errors import InputError
from stages.vision.networks import build_network
from stages.vision.pretrained import (
    FrozenBackbone,
    FrozenStatistics,
    HeadOnFeatures,
    capture_features,
    check_head,
    find_head,
    load_matching_weights,
    name_as_in,
    read_weights,
    set_backbone_trainable,
)
from tests.vision.completeness import names_of, read_section

SHA256 = "a" * 64


def make_network(*, channels: int = 3, num_classes: int = 4) -> nn.Sequential:
    """Return a tiny network with a head."""
    return nn.Sequential(
        nn.Conv2d(channels, 5, 3), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(20, num_classes)
    )


def make_weights() -> dict[str, Tensor]:
    """Return the weights of a network for color images and ten classes."""
    torch.manual_seed(0)
    return make_network(num_classes=10).state_dict()


WRAPPINGS: dict[str, Callable[[dict[str, Tensor]], dict[str, Any]]] = {
    "alone": lambda weights: weights,
    "state_dict": lambda weights: {"state_dict": weights, "epoch": 3},
    "model": lambda weights: {"model": weights, "optimizer": {"lr": 0.1}},
    "nested": lambda weights: {"net": {"state_dict": weights}, "acc": torch.tensor(0.9)},
    "extra state": lambda weights: {**weights, "3._extra_state": b"anything", "epoch": 3},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_torch_files_are_read_however_they_are_wrapped(tmp_path: Path, wrapping: str, suffix: str) -> None:
    """Names and tensors are found as torch.save and scripts leave them, whatever the file is called."""
    weights = make_weights()
    path = tmp_path / f"weights{suffix}"
    torch.save(WRAPPINGS[wrapping](weights), path)
    found = read_weights(path)
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_safetensors_are_read(tmp_path: Path, suffix: str) -> None:
    """A file of safetensors gives its names and tensors, whatever it is called."""
    weights = make_weights()
    save_file(weights, tmp_path / f"weights{suffix}")
    found = read_weights(tmp_path / f"weights{suffix}")
    assert all(torch.equal(found[name], weights[name]) for name in weights)


@pytest.mark.parametrize(
    "prefix", ["", "module.", "model.", "_orig_mod.", "backbone.", "net.", "module._orig_mod.model.", "a.b0."]
)
def test_prefixes_of_wrappers_are_dropped(prefix: str) -> None:
    """What stands before every name of the network goes, whatever it is; other tensors keep their names."""
    network = make_network()
    weights = make_weights()
    others = {"n_averaged": torch.tensor(3), "criterion.weight": torch.ones(2)}
    named, dropped = name_as_in(network, {**others, **{prefix + name: weights[name] for name in weights}})
    assert named.keys() == weights.keys() | others.keys()
    assert all(torch.equal(named[name], weights[name]) for name in weights)
    assert dropped == prefix.replace("_orig_mod.", "")


def test_names_of_averaged_and_partly_compiled_models_are_found() -> None:
    """Torch's own wrappers of a whole network and of a part of one leave names that are found."""
    network = make_network()
    averaged, _ = name_as_in(network, torch.optim.swa_utils.AveragedModel(network).state_dict())
    assert network.state_dict().keys() <= averaged.keys()
    weights = {
        f"model.0._orig_mod.{name[2:]}" if name[0] == "0" else f"model.{name}": tensor
        for name, tensor in network.state_dict().items()
    }
    assert name_as_in(network, weights)[0].keys() == network.state_dict().keys()


def test_of_several_networks_the_one_that_fits_is_chosen() -> None:
    """A file of teacher and student starts the network whose shapes it has."""
    network = make_network()
    teacher = {f"teacher.{name}": torch.zeros(1) for name in network.state_dict()}
    student = {f"student.{name}": tensor for name, tensor in network.state_dict().items()}
    named, dropped = name_as_in(network, teacher | student)
    assert dropped == "student."
    assert torch.equal(named["0.weight"], network.state_dict()["0.weight"])


class Attack:
    """What a hostile file would hold: unpickling it makes a folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self._path),)


def test_code_in_a_file_is_never_run(tmp_path: Path) -> None:
    """A file that would run something when unpickled is refused and runs nothing."""
    torch.save({"a": torch.zeros(1), "b": Attack(tmp_path / "made")}, tmp_path / "hostile.pth")
    with pytest.raises(
        InputError, match=r"hostile\.pth: .*mkdir, which are never unpickled; save the weights"
    ):
        read_weights(tmp_path / "hostile.pth")
    assert not (tmp_path / "made").exists()


def test_torchscript_is_refused(tmp_path: Path) -> None:
    """A scripted model holds code: one line says what to save in its place, and nothing warns."""
    with zipfile.ZipFile(tmp_path / "scripted.pt", "w") as archive:
        for name in ("data.pkl", "constants.pkl", "version", "byteorder"):
            archive.writestr(f"scripted/{name}", "3")
    with pytest.raises(InputError, match=r"scripted\.pt: is TorchScript, which is code; save the weights"):
        read_weights(tmp_path / "scripted.pt")


BAD_FILES = {
    "missing.pth": None,
    "missing.safetensors": None,
    "empty.pth": b"",
    "empty.safetensors": b"",
    "text.pth": b"no weights at all\n",
    "text.safetensors": b"no weights at all\n",
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    """What is missing, empty or something else is named, without a traceback."""
    content = BAD_FILES[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"^network\.weights_file: .*{name}: ") as caught:
        read_weights(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_cut_file_is_refused(tmp_path: Path, suffix: str) -> None:
    """Half of a file is damaged, not half of the weights."""
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(make_weights(), path)
    else:
        save_file(make_weights(), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="is damaged"):
        read_weights(path)


def test_a_file_without_names_is_refused(tmp_path: Path) -> None:
    """A tensor alone belongs nowhere in a network."""
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    with pytest.raises(InputError, match="holds no weights by name"):
        read_weights(tmp_path / "tensor.pth")
    torch.save({"epoch": 3, "lr": 0.1}, tmp_path / "numbers.pth")
    with pytest.raises(InputError, match=r"holds no weights by name \(found: epoch, lr\); save"):
        read_weights(tmp_path / "numbers.pth")


def test_what_fits_is_taken_over_and_the_rest_is_listed() -> None:
    """Every name is either loaded or listed, with the reason; the new head stays as it was built."""
    weights = make_weights()
    weights["extra.weight"] = torch.zeros(2)
    del weights["1.running_var"]
    network = make_network()
    own = network.state_dict()
    head = own["3.weight"].clone()
    found = load_matching_weights(network, weights, source="file.pth", sha256=SHA256)
    assert torch.equal(own["0.weight"], weights["0.weight"])
    assert torch.equal(own["3.weight"], head)
    assert found.other_shape == ("3.bias", "3.weight")
    assert found.only_in_network == ("1.running_var",)
    assert found.only_in_weights == ("extra.weight",)
    assert found.num_loaded + len(found.other_shape) + len(found.only_in_network) == len(network.state_dict())


def test_grayscale_gets_the_sum_of_three_channels() -> None:
    """On a grayscale image the network gives what the color one gives for three equal channels."""
    weights = make_weights()
    network = make_network(channels=1)
    found = load_matching_weights(network, weights, source="file.pth", sha256=SHA256)
    assert found.summed == ("0.weight",)
    color = make_network(num_classes=10)
    color.load_state_dict(weights)
    image = torch.randn(2, 1, 4, 4)
    torch.testing.assert_close(network[0](image), color[0](image.expand(-1, 3, -1, -1)))


def test_half_precision_is_widened() -> None:
    """Weights of 16 bits become those of the network's 32."""
    weights = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in make_weights().items()
    }
    network = make_network(num_classes=10)
    load_matching_weights(network, weights, source="file.pth", sha256=SHA256)
    kernels = network.state_dict()["0.weight"]
    assert kernels.dtype == torch.float32
    assert torch.equal(kernels, weights["0.weight"].float())


def test_weights_of_another_network_are_refused() -> None:
    """If nothing fits, the message shows what both begin with."""
    with pytest.raises(InputError, match=r"^x\.pth: none of its 1 tensors fits.*0\.weight.*layer9"):
        load_matching_weights(make_network(), {"layer9": torch.zeros(2)}, source="x.pth", sha256=SHA256)


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
    check_head(network, image=IMAGE, device=CPU)
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
    """Where the last module's output is not the logits, a frozen backbone cannot be told from a head."""
    with pytest.raises(InputError, match=r"^transfer\.freeze: found backbone, but the last module"):
        check_head(Scaled(), image=IMAGE, device=CPU)


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


def test_fine_tuning_keeps_the_statistics_of_the_weights() -> None:
    """Steps change every weight, and no statistics but those of a head; evaluation mode is everywhere."""
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4), nn.Flatten())
    )
    module = FrozenStatistics(network)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    assert module.train() is module
    (module(torch.randn(4, 3, 6, 6)) - 1).square().sum().backward()
    optimizer.step()
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    of_head = {name for name in before if name.startswith("2.")}
    assert changed == {"0.weight", "0.bias", "1.weight", "1.bias"} | of_head
    module.eval()
    assert not any(part.training for part in network.modules())


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
