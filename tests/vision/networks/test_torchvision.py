"""Models of torchvision."""

from pathlib import Path

import pytest
import torch
import torchvision
from torch.nn import functional

from schemas.shared.manifest import ImageForm
from schemas.vision.network import ChosenNetwork, Torchvision
from stages.shared.errors import InputError
from stages.vision.networks import adapt_weights, build_network, fetch_weights
from stages.vision.networks.torchvision import build
from stages.vision.pretrained import find_head


def form(color: str = "rgb", side_px: int = 32, width_px: int | None = None) -> ImageForm:
    """Return a form of images, square if not said otherwise."""
    return ImageForm.model_validate(
        {"color": color, "height_px": side_px, "width_px": width_px or side_px, "resize": "crop"}
    )


def choose(model: str, weights: str | None = None) -> ChosenNetwork:
    """Return the section's choice of a model."""
    return ChosenNetwork(name="torchvision", arguments=Torchvision(model=model, weights=weights))


def test_model_is_the_librarys_own() -> None:
    """The same seed gives the weights that torchvision's own function gives, but for the new head."""
    torch.manual_seed(0)
    ours = build(Torchvision(model="squeezenet1_1", weights=None), image=form(), num_classes=7)
    torch.manual_seed(0)
    theirs = torchvision.models.squeezenet1_1(num_classes=7)
    find_head(theirs).load_state_dict(find_head(ours).state_dict())
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(ours.eval()(images), theirs.eval()(images))


@pytest.mark.parametrize("model", ["shufflenet_v2_x0_5", "squeezenet1_1", "densenet121"])
def test_grayscale_gives_the_logits_of_three_equal_channels(model: str) -> None:
    """The first convolution of one channel gives what the model gives for the channel repeated."""
    arguments = Torchvision(model=model, weights=None)
    logits = []
    for color in ("grayscale", "rgb"):
        torch.manual_seed(0)
        network = build(arguments, image=form(color), num_classes=4).eval()
        images = torch.linspace(0, 1, 2 * 32 * 32).reshape(2, 1, 32, 32)
        logits.append(network(images if color == "grayscale" else images.expand(-1, 3, -1, -1)))
    torch.testing.assert_close(*logits)


def test_too_small_images_are_refused() -> None:
    """A model that has nothing left of such images says so in one line, before training."""
    with pytest.raises(
        InputError, match=r"^network\.torchvision\.model: alexnet: takes no images of 28 x 28 px"
    ):
        build_network(choose("alexnet"), image=form(side_px=28), num_classes=2)


def test_vision_transformers_are_built_for_the_images() -> None:
    """Their positions fit the images, which have to be square."""
    network = build_network(choose("vit_b_32"), image=form(side_px=64), num_classes=2)
    assert network.state_dict()["encoder.pos_embedding"].shape[1] == (64 // 32) ** 2 + 1
    with pytest.raises(InputError, match="takes square images only"):
        build_network(choose("vit_b_32"), image=form(side_px=64, width_px=32), num_classes=2)


def test_position_embedding_is_resized() -> None:
    """Weights for other images keep the class token's position; the others are interpolated, bicubically."""
    chosen = choose("vit_b_32")
    before = torch.randn(1, 5, 768)
    network = build_network(chosen, image=form(side_px=96), num_classes=2)
    adapted, resized = adapt_weights(
        chosen, {"encoder.pos_embedding": before}, built=network, image=form(side_px=96)
    )
    assert resized == ["encoder.pos_embedding"]
    after = adapted["encoder.pos_embedding"]
    assert torch.equal(after[:, :1], before[:, :1])
    grid = before[:, 1:].reshape(1, 2, 2, -1).permute(0, 3, 1, 2)
    expected = functional.interpolate(grid, 3, mode="bicubic", align_corners=True)
    torch.testing.assert_close(after[:, 1:], expected.flatten(2).transpose(1, 2))


def test_weights_are_those_in_the_librarys_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights by name come through torchvision, which looks into its cache first."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    name = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    expected = torchvision.models.squeezenet1_1().state_dict()
    torch.save(expected, tmp_path / "hub/checkpoints" / name)
    fetched = fetch_weights(choose("squeezenet1_1", "IMAGENET1K_V1"), image=form())
    assert fetched is not None
    assert fetched.keys() == expected.keys()
    assert all(torch.equal(fetched[key], expected[key]) for key in expected)


def test_cached_weights_run_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cached file that holds more than tensors is refused, not unpickled."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    name = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    torch.save({"a": Path("x")}, tmp_path / "hub/checkpoints" / name)
    with pytest.raises(InputError, match=r"^network\.torchvision\.weights: IMAGENET1K_V1: cannot be fetched"):
        fetch_weights(choose("squeezenet1_1", "IMAGENET1K_V1"), image=form())


def test_building_fetches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint's network is rebuilt without the weights that it once started from."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("asked the internet")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    build_network(choose("squeezenet1_1", "IMAGENET1K_V1"), image=form(), num_classes=2)
