"""Names of models and weights, looked up in the libraries' source."""

import subprocess
import sys
from typing import Any

import pytest
import timm
from torchvision import models

from schemas.__main__ import format_yaml
from schemas.params import Params
from stages.params import model_names
from stages.params.model_names import find_unknown_names
from tests.params.wrong_params import ROOT, good_params


def check(name: str, **arguments: str | None) -> list[tuple[str, str]]:
    """Return the keys and messages of what is wrong with a choice."""
    data = good_params()
    data["network"]["name"] = name
    data["network"][name] |= arguments
    params = Params.model_validate(data)
    return [(".".join(map(str, path)), message) for path, message in find_unknown_names(params)]


@pytest.mark.parametrize("model", models.list_models(module=models))
def test_all_that_torchvision_has_is_known(model: str) -> None:
    """Every classification model and all of its weights are allowed, as torchvision itself lists them."""
    for weights in (None, *(member.name for member in models.get_model_weights(model))):
        assert check("torchvision", model=model, weights=weights) == []


def test_all_that_timm_has_is_known() -> None:
    """Models and tags spread over timm's own list are allowed; every 200th, for speed."""
    for name in (*timm.list_models()[::200], *timm.list_pretrained()[::200]):
        model, _, weights = name.partition(".")
        assert check("timm", model=model, weights=weights or None) == [], name


WRONG: list[tuple[str, dict[str, str], str, str]] = [
    ("torchvision", {"model": "resnet19"}, "network.torchvision.model", "did you mean resnet18?"),
    ("torchvision", {"model": "ResNet50"}, "network.torchvision.model", "did you mean resnet50?"),
    ("torchvision", {"model": "fcn_resnet50"}, "network.torchvision.model", "found fcn_resnet50; allowed: "),
    (
        "torchvision",
        {"model": "resnet18", "weights": "IMAGENET1K_V2"},
        "network.torchvision.weights",
        "allowed: IMAGENET1K_V1 or null; did you mean IMAGENET1K_V1?",
    ),
    ("torchvision", {"weights": "DEFAULT"}, "network.torchvision.weights", "allowed: IMAGENET1K_V1 or null"),
    ("timm", {"model": "resnett18"}, "network.timm.model", "did you mean resnet18?"),
    ("timm", {"model": "resnet18", "weights": "a1_in2k"}, "network.timm.weights", "did you mean a1_in1k?"),
]


@pytest.mark.parametrize(("name", "arguments", "key", "message"), WRONG)
def test_a_wrong_name_gets_a_suggestion(name: str, arguments: dict[str, str], key: str, message: str) -> None:
    """One line names the key and what was probably meant."""
    [(found, text)] = check(name, **arguments)
    assert found == key
    assert message in text


def test_only_the_chosen_network_is_looked_up() -> None:
    """A name that another release of a library has does not stop who trains something else."""
    data = good_params()
    data["network"]["timm"]["model"] = "resnet_of_next_year"
    assert list(find_unknown_names(Params.model_validate(data))) == []


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without timm the line says what to install."""
    monkeypatch.setattr(model_names, "find_spec", lambda name: None)
    [(key, message)] = check("timm")
    assert key == "network.name"
    assert message.endswith("not installed; run: pip install timm")


def test_looking_up_imports_neither_library() -> None:
    """The check reads source files, so that a wrong name is refused at once."""
    data: dict[str, Any] = good_params()
    data["network"]["name"] = "timm"
    program = (
        "import sys; from schemas.params import Params; from stages.params.document import parse_yaml;"
        "from stages.params.model_names import find_unknown_names;"
        "print(list(find_unknown_names(Params.model_validate(parse_yaml(sys.stdin.read()).data))));"
        "print(*sys.modules)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        input=format_yaml(data),
    ).stdout
    unknown, loaded = printed.splitlines()
    assert unknown == "[]"
    assert not {"torch", "torchvision", "timm"} & set(loaded.split())
