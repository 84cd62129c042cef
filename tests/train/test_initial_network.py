"""What a network holds before its first step."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from schemas.shared.manifest import ImageForm, Manifest
from schemas.vision.checkpoint import PretrainedWeights
from schemas.vision.network import ChosenNetwork, Network
from schemas.vision.transforms import Normalize, ToTensor
from stages.shared.errors import InputError
from stages.shared.files import sha256_of
from stages.shared.paths import MODEL
from stages.train.__main__ import main
from stages.train.initial_network import check_backbone_is_loaded, check_single_image, fit_to_images
from stages.vision.checkpoint import read_checkpoint, restore_network
from stages.vision.dataset import PreparedImages
from stages.vision.networks import build_network
from stages.vision.pretrained import load_matching_weights
from stages.vision.transforms import build_transforms
from tests.train.project import make_project, write_params
from tests.vision.completeness import read_section
from tests.vision.torch_state import keep_torch_settings

FIXED = ["ToTensor", {"Normalize": {"mean": "dataset", "std": "dataset"}}]


@pytest.fixture(autouse=True)
def _keep_torch_settings() -> Iterator[None]:
    with keep_torch_settings():
        yield


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """Return the prepared data set of a project, which is the current folder."""
    return make_project(tmp_path, monkeypatch)


def make_form(side_px: int) -> ImageForm:
    """Return the form of small square images."""
    return ImageForm(color="rgb", height_px=side_px, width_px=side_px, resize="crop")


def choose(name: str, **arguments: object) -> ChosenNetwork:
    """Return a choice of the committed section."""
    section = read_section("network")
    return Network.model_validate({**section, "name": name, name: {**section[name], **arguments}}).chosen()


@pytest.mark.usefixtures("manifest")
def test_a_checkpoint_holds_what_was_fitted_to_training_images(tmp_path: Path) -> None:
    """The whitening of training images stands in the checkpoint, and evaluation needs no images for it."""
    write_params(tmp_path, network__name="airbench", training__num_epochs=1)
    main()
    checkpoint, weights = read_checkpoint(MODEL / "best.safetensors")
    fresh = build_network(checkpoint.network, image=checkpoint.image, num_classes=3).state_dict()
    assert not torch.equal(weights["whitening.kernels"], fresh["whitening.kernels"])
    restored = restore_network(checkpoint, weights).state_dict()
    assert torch.equal(restored["whitening.kernels"], weights["whitening.kernels"])


def test_images_to_fit_to_are_chosen_by_the_seed(manifest: Manifest) -> None:
    """The same seed shows the network the same images; another seed others."""
    network = choose("airbench", whitening_images=5, widths=[4])
    to_float = (
        ToTensor(name="ToTensor"),
        Normalize(name="Normalize", mean=manifest.mean, std=manifest.std),
    )
    images = PreparedImages(Path("data/prepared"), manifest, "train", transform=build_transforms(to_float))

    def fitted(seed: int) -> torch.Tensor:
        built = build_network(network, image=manifest.image, num_classes=3)
        fit_to_images(built, images, seed=seed)
        kernels: torch.Tensor = built.state_dict()["whitening.kernels"]
        return kernels

    assert torch.equal(fitted(0), fitted(0))
    assert not torch.equal(fitted(0), fitted(1))


@pytest.mark.usefixtures("manifest")
def test_training_starts_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights of a file are the network's before the first step; what did not fit is printed and recorded."""
    write_params(tmp_path, network__name="resnet", training__num_epochs=1)
    main()
    _, weights = read_checkpoint(MODEL / "last.safetensors")
    weights["head.1.weight"] = torch.zeros(7, 4)
    weights["old.weight"] = torch.zeros(1)
    save_file(weights, tmp_path / "start.safetensors")
    capsys.readouterr()
    write_params(
        tmp_path,
        network__name="resnet",
        network__weights_file="start.safetensors",
        transfer__freeze="backbone",
        training__num_epochs=1,
    )
    main()
    printed = capsys.readouterr().out
    assert "starting from start.safetensors" in printed
    assert "of another shape, so new: head.1.weight" in printed
    assert "not in the network, so left out: old.weight" in printed
    checkpoint, trained = read_checkpoint(MODEL / "last.safetensors")
    found = checkpoint.pretrained_weights
    assert found is not None
    assert (found.source, found.sha256) == ("start.safetensors", sha256_of(tmp_path / "start.safetensors"))
    assert (found.other_shape, found.only_in_weights) == (("head.1.weight",), ("old.weight",))
    for name, tensor in trained.items():
        assert torch.equal(tensor, weights[name]) != name.startswith("head."), name


@pytest.mark.usefixtures("manifest")
def test_outputs_do_not_say_where_a_weights_file_lies(tmp_path: Path) -> None:
    """Of an absolute path outputs hold the name and the hash; a relative one is kept. Any suffix will do."""
    write_params(tmp_path, training__num_epochs=1)
    main()
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (MODEL / "last.safetensors").rename(folder / "start.pth.tar")
    for file, kept in (
        (str(folder / "start.pth.tar"), "start.pth.tar"),
        ("elsewhere/start.pth.tar", "elsewhere/start.pth.tar"),
    ):
        write_params(tmp_path, training__num_epochs=1, network__weights_file=file)
        main()
        checkpoint, _ = read_checkpoint(MODEL / "last.safetensors")
        section = checkpoint.parameters["network"]
        assert isinstance(section, dict)
        assert section["weights_file"] == kept
        assert checkpoint.pretrained_weights is not None
        assert checkpoint.pretrained_weights.source == "start.pth.tar"
        written = b"".join(path.read_bytes() for path in Path("data").rglob("*") if path.is_file())
        assert str(tmp_path).encode() not in written


@pytest.mark.usefixtures("manifest")
def test_training_by_file_repeats_byte_for_byte(tmp_path: Path) -> None:
    """Two runs on features computed once write the same checkpoint."""
    write_params(tmp_path, training__num_epochs=1)
    main()
    (tmp_path / "start.safetensors").write_bytes((MODEL / "last.safetensors").read_bytes())
    changes = {"network__weights_file": "start.safetensors", "transfer__freeze": "backbone"}
    hashes = set()
    for _ in range(2):
        write_params(tmp_path, transforms=FIXED, training__num_epochs=2, **changes)
        main()
        hashes.add(sha256_of(MODEL / "last.safetensors"))
    assert len(hashes) == 1


def leave_out(network: nn.Module, *names: str) -> PretrainedWeights:
    """Return what is loaded of a file that lacks these tensors."""
    weights = {name: tensor for name, tensor in network.state_dict().items() if name not in names}
    return load_matching_weights(network, weights, source="x.pth", sha256="a" * 64)


def test_a_frozen_backbone_must_be_pretrained(capsys: pytest.CaptureFixture[str]) -> None:
    """Less than nine tenths of its tensors are refused; a few that are missing are named; heads are free."""
    network = build_network(choose("resnet", widths=[4, 8]), image=make_form(8), num_classes=2)
    names = [name for name in network.state_dict() if not name.startswith("head.")]
    weights = [name for name in names if not name.endswith("num_batches_tracked")]
    check_backbone_is_loaded(network, leave_out(network, "head.1.weight", "head.1.bias"))
    check_backbone_is_loaded(network, leave_out(network, *set(names).difference(weights)))
    assert capsys.readouterr().out == ""
    check_backbone_is_loaded(network, leave_out(network, weights[0]))
    num = len(weights)
    assert capsys.readouterr().out == (
        f"train: transfer.freeze: {num - 1} of the backbone's {num} tensors fit in x.pth; the rest is frozen "
        f"at random: {weights[0]}\n"
    )
    with pytest.raises(InputError, match=rf"^params\.yaml: transfer\.freeze: .* only 1 of .* {num} tensors"):
        check_backbone_is_loaded(network, leave_out(network, *weights[1:]))


@pytest.mark.usefixtures("manifest")
def test_training_does_not_freeze_random_weights(tmp_path: Path) -> None:
    """A file that holds one tensor of a backbone that is to be frozen ends the stage."""
    save_file({"features.0.0.bias": torch.zeros(4)}, tmp_path / "start.safetensors")
    write_params(tmp_path, network__weights_file="start.safetensors", transfer__freeze="backbone")
    with pytest.raises(InputError, match=r"found backbone, but only 1 of .* choose the network that"):
        main()


def test_a_single_image_is_refused_where_batch_norm_needs_two() -> None:
    """A network whose last batch norm sees one pixel cannot learn from one image; others can."""
    tiny = build_network(choose("resnet", widths=[4, 4]), image=make_form(2), num_classes=2)
    with pytest.raises(InputError, match=r"loader\.batch_size: leaves a single image"):
        check_single_image(tiny, image=make_form(2), is_frozen=False)
    network = build_network(choose("resnet", widths=[4, 4]), image=make_form(8), num_classes=2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    check_single_image(network, image=make_form(8), is_frozen=False)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_single_image_will_do_where_batch_norm_stays_frozen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the head trains, which has none, and after the thaw the backbone's batch norm needs no batch."""
    make_project(tmp_path, monkeypatch, height_px=4, width_px=4)
    to_one_pixel = {
        "dataset__height_px": 4,
        "dataset__width_px": 4,
        "transforms": FIXED,
        "network__name": "resnet",
        "network__resnet__widths": [4, 4, 4],
    }
    write_params(tmp_path, **to_one_pixel, training__num_epochs=1)
    main()
    (tmp_path / "start.safetensors").write_bytes((MODEL / "last.safetensors").read_bytes())
    frozen = {
        **to_one_pixel,
        "network__weights_file": "start.safetensors",
        "loader__batch_size": 1,
        "transfer__freeze": "backbone",
    }
    write_params(tmp_path, **frozen, training__num_epochs=1)
    main()
    write_params(tmp_path, **frozen, training__num_epochs=2, transfer__unfreeze_after_epochs=1)
    main()
