"""Values of the network that are allowed one by one, but not together."""

import re
from typing import Any

import pytest

from schemas.params import Params, find_conflicts
from schemas.vision.network import Network, Timm
from tests.params.wrong_params import good_params
from tests.vision.completeness import names_of


def conflicts_of(*, side_px: int = 28, freeze: str | None = None, **network: Any) -> list[str]:
    """Return the keys of the conflicts in a good file with another network."""
    data = good_params()
    data["dataset"]["height_px"] = side_px
    data["network"] |= network
    data["transfer"]["freeze"] = freeze
    return [conflict.key for conflict in find_conflicts(Params.model_validate(data))]


PRETRAINED = {"model": "resnet18", "weights": "IMAGENET1K_V1"}


@pytest.mark.parametrize("name", names_of(Network))
def test_smallest_images_of_every_network_pass(name: str) -> None:
    """A network's own smallest side is allowed, and one pixel less is not, at the key that asks for it."""
    block = getattr(Params.model_validate(good_params()).network, name)
    assert conflicts_of(name=name, side_px=block.min_side_px) == []
    if block.min_side_px > 1:
        key = f"network.{name}.{block.halved_by}"
        assert conflicts_of(name=name, side_px=block.min_side_px - 1) == [key]


def test_weights_are_named_once() -> None:
    """A file and the library's weights cannot both be the first weights."""
    file: dict[str, Any] = {"weights_file": "weights.pth"}
    assert conflicts_of(name="torchvision", torchvision=PRETRAINED) == []
    assert conflicts_of(name="torchvision", **file) == []
    assert conflicts_of(name="torchvision", torchvision=PRETRAINED, **file) == ["network.weights_file"]


def test_only_libraries_say_what_weights_expect() -> None:
    """`weights` as mean or std needs a model of torchvision or timm, whose weights may come from a file."""
    data = good_params()
    (normalize,) = [part["Normalize"] for part in data["transforms"] if "Normalize" in part]
    normalize |= {"mean": "weights", "std": "weights"}
    place = next(place for place, part in enumerate(data["transforms"]) if "Normalize" in part)
    keys = [conflict.key for conflict in find_conflicts(Params.model_validate(data))]
    assert keys == [f"transforms.{place}.Normalize.{key}" for key in ("mean", "std")]
    data["network"]["name"] = "timm"
    assert find_conflicts(Params.model_validate(data)) == []


def test_only_weights_can_be_frozen() -> None:
    """A frozen backbone needs weights from somewhere; random ones are a mistake."""
    assert conflicts_of(freeze="backbone") == ["transfer.freeze"]
    assert conflicts_of(freeze="backbone", weights_file="weights.safetensors") == []
    assert conflicts_of(freeze="backbone", name="torchvision", torchvision=PRETRAINED) == []
    # The weights of a network that is not chosen are none of its.
    assert conflicts_of(freeze="backbone", torchvision=PRETRAINED) == ["transfer.freeze"]


@pytest.mark.parametrize(
    "source", ["data", ".", "..", "data/images", "data/audit/raw", "data/raw/../model", "./data/metrics/"]
)
def test_the_source_overlaps_no_output(source: str) -> None:
    """DVC would start nothing: the pipeline would read what it writes."""
    data = good_params()
    data["dataset"]["source"] = source
    [conflict] = find_conflicts(Params.model_validate(data))
    assert conflict.key == "dataset.source"
    assert re.search(r" (is|is in|holds) data/\w+, an output of the pipeline", conflict.message)


@pytest.mark.parametrize("source", ["data/raw", "data/images.zip", "/data", "raw", "../data"])
def test_other_sources_overlap_nothing(source: str) -> None:
    """Beside the outputs, or outside the project."""
    data = good_params()
    data["dataset"]["source"] = source
    assert find_conflicts(Params.model_validate(data)) == []


def test_training_does_not_start_from_its_own_output() -> None:
    """A checkpoint of this project has to be copied first."""
    assert conflicts_of(weights_file="data/model/best.safetensors") == ["network.weights_file"]


def test_a_full_name_of_timm_holds_the_tag() -> None:
    """It means the same as both names apart, and does not go with another tag."""
    apart = Timm(model="vit_base_patch16_clip_224", weights="openai_ft_in1k")
    for weights in (None, "openai_ft_in1k"):
        full_name = "vit_base_patch16_clip_224.openai_ft_in1k"
        assert Timm.model_validate({"model": full_name, "weights": weights}) == apart
    with pytest.raises(ValueError, match="allowed: one tag"):
        Timm(model="resnet18.a1_in1k", weights="tv_in1k")
