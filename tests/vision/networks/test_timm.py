"""Models of timm."""

import builtins
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional

from schemas.shared.manifest import ImageForm
from schemas.vision.network import ChosenNetwork, Timm
from stages.shared.errors import InputError
from stages.vision.networks import adapt_weights, build_network, fetch_weights
from stages.vision.networks.timm import build
from stages.vision.pretrained import FrozenBackbone, find_head, find_heads, set_backbone_trainable


def form(color: str = "rgb", height_px: int = 32, width_px: int = 32) -> ImageForm:
    """Return a form of images."""
    return ImageForm.model_validate(
        {"color": color, "height_px": height_px, "width_px": width_px, "resize": "crop"}
    )


def choose(model: str, weights: str | None = None) -> ChosenNetwork:
    """Return the section's choice of a model."""
    return ChosenNetwork(name="timm", arguments=Timm(model=model, weights=weights))


@pytest.mark.parametrize("color", ["rgb", "grayscale"])
def test_model_is_the_librarys_own(color: str) -> None:
    """The same seed gives the weights that timm's own function gives, but for the new head."""
    channels = 3 if color == "rgb" else 1
    torch.manual_seed(0)
    ours = build(Timm(model="mobilenetv3_small_050", weights=None), image=form(color), num_classes=7)
    torch.manual_seed(0)
    theirs = timm.create_model("mobilenetv3_small_050", num_classes=7, in_chans=channels)
    find_head(theirs).load_state_dict(find_head(ours).state_dict())
    images = torch.randn(2, channels, 32, 32)
    assert torch.equal(ours.eval()(images), theirs.eval()(images))


def test_models_of_a_fixed_size_are_built_for_the_images() -> None:
    """Vision transformers take the images' height and width, oblong ones too."""
    network = build_network(choose("vit_tiny_patch16_224"), image=form(height_px=48), num_classes=3)
    assert network(torch.zeros(2, 3, 48, 32)).shape == (2, 3)


def test_position_embedding_is_resized() -> None:
    """Weights for other images keep the class token's position; the others are interpolated, bicubically."""
    weights = build_network(
        choose("vit_tiny_patch16_224"), image=form(height_px=64, width_px=64), num_classes=3
    ).state_dict()
    image = form(height_px=96, width_px=32)
    network = build_network(choose("vit_tiny_patch16_224"), image=image, num_classes=3)
    adapted, resized = adapt_weights(choose("vit_tiny_patch16_224"), weights, built=network, image=image)
    assert resized == ["pos_embed"]
    before, after = weights["pos_embed"], adapted["pos_embed"]
    assert torch.equal(after[:, :1], before[:, :1])
    grid = before[:, 1:].reshape(1, 4, 4, -1).permute(0, 3, 1, 2)
    expected = functional.interpolate(grid, (6, 2), mode="bicubic", antialias=True)
    torch.testing.assert_close(after[:, 1:], expected.flatten(2).transpose(1, 2))


@pytest.mark.parametrize("weights", [{"conv1.weight": torch.zeros(2)}, {"pos_embed": torch.zeros(3)}, {}])
def test_weights_of_another_model_stay_as_they_are(weights: dict[str, torch.Tensor]) -> None:
    """What timm cannot adapt is handed on, to be named where weights are loaded."""
    chosen = choose("vit_tiny_patch16_224")
    network = build_network(chosen, image=form(), num_classes=3)
    assert adapt_weights(chosen, weights, built=network, image=form()) == (weights, [])


@pytest.mark.parametrize("model", ["deit_tiny_distilled_patch16_224", "levit_128s"])
def test_all_heads_are_heads(model: str) -> None:
    """Networks with a head for the teacher's labels train both, and nothing else under a frozen backbone."""
    image = form(height_px=64, width_px=64)
    network = build_network(choose(model), image=image, num_classes=3)
    other = build_network(choose(model), image=image, num_classes=4)
    before, after = dict(network.named_parameters()), dict(other.named_parameters())
    changed = {name.split(".")[0] for name in before if before[name].shape != after[name].shape}
    assert set(find_heads(network)) == changed == {"head", "head_dist"}
    set_backbone_trainable(network, False)
    frozen = FrozenBackbone(network).train()
    frozen(torch.randn(2, 3, 64, 64)).square().sum().backward()
    trained = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert trained == {name for name in before if name.startswith(("head.", "head_dist."))}


def test_other_images_are_refused() -> None:
    """Images that a model cannot divide are refused in one line."""
    with pytest.raises(InputError, match=r"^network\.timm") as caught:
        build_network(choose("vit_tiny_patch16_224"), image=form(height_px=8, width_px=8), num_classes=3)
    assert "\n" not in str(caught.value)


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without timm one line says what to install."""
    found = builtins.__import__

    def refuse(name: str, *arguments: Any) -> Any:
        if name == "timm":
            raise ImportError
        return found(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(InputError, match=r"not installed; install it with: pip install timm$"):
        build_network(choose("resnet18"), image=form(), num_classes=3)


def test_weights_are_those_in_the_librarys_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights by tag come through timm, which looks into the hub's cache first."""
    name = "mobilenetv3_small_050"
    expected = timm.create_model(name).state_dict()
    snapshot = tmp_path / f"models--timm--{name}.lamb_in1k" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    save_file(expected, snapshot / "model.safetensors")
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("a" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    fetched = fetch_weights(choose(name, "lamb_in1k"), image=form())
    assert fetched is not None
    assert all(torch.equal(fetched[key], expected[key]) for key in expected)


def test_weights_that_cannot_be_had_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without internet and cache the message says what else to do."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"^network\.timm\.weights: lamb_in1k: cannot be fetched") as caught:
        fetch_weights(choose("mobilenetv3_small_050", "lamb_in1k"), image=form())
    assert "\n" not in str(caught.value)
