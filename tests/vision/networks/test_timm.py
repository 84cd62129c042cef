"""Models of timm."""

import builtins
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from schemas.shared.manifest import ImageForm
from schemas.vision.network import ChosenNetwork, Timm
from stages.shared.errors import InputError
from stages.vision.networks import build_network, fetch_weights
from stages.vision.networks.timm import build


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
    """The same seed gives the weights and logits that timm's own function gives."""
    channels = 3 if color == "rgb" else 1
    torch.manual_seed(0)
    ours = build(Timm(model="mobilenetv3_small_050", weights=None), image=form(color), num_classes=7)
    torch.manual_seed(0)
    theirs = timm.create_model("mobilenetv3_small_050", num_classes=7, in_chans=channels)
    images = torch.randn(2, channels, 32, 32)
    assert torch.equal(ours.eval()(images), theirs.eval()(images))


def test_models_of_a_fixed_size_are_built_for_the_images() -> None:
    """Vision transformers take the images' height and width, oblong ones too."""
    network = build_network(choose("vit_tiny_patch16_224"), image=form(height_px=48), num_classes=3)
    assert network(torch.zeros(2, 3, 48, 32)).shape == (2, 3)


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
