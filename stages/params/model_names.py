"""Whether a library has the model and the weights that params.yaml names, read from its source.

Importing torchvision or timm takes seconds; their source says the same in a fraction of one.
"""

import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from schemas.params import Params
from schemas.vision.network import Network
from stages.params.problems import KeyPath
from stages.params.spelling import find_nearest

_TORCHVISION_MODEL = re.compile(
    r"^@register_model\(\)\n(?:@.*\n)*def (\w+)\([^)]*?weights: Optional\[(\w+)\]", re.MULTILINE
)
_TORCHVISION_WEIGHTS = re.compile(r"^class (\w+)\(WeightsEnum\):\n((?:[ \t].*\n|\n|\))*)", re.MULTILINE)
_WEIGHTS_MEMBER = re.compile(r"^    (\w+) = ", re.MULTILINE)
_TIMM_MODEL = re.compile(r"^@register_model\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)

_MAX_SHOWN = 8


def find_unknown_names(params: Params) -> Iterator[tuple[KeyPath, str]]:
    """Yield what is wrong with the chosen network's model and weights, if a library makes it."""
    network = params.network
    if network.name == "torchvision":
        yield from _check_torchvision(network)
    elif network.name == "timm":
        yield from _check_timm(network)


def _check_torchvision(network: Network) -> Iterator[tuple[KeyPath, str]]:
    chosen = network.torchvision
    text = _read_source("torchvision")
    if not text:
        yield ("network", "name"), "found torchvision, which is not installed; pip install torchvision"
        return
    enum_of_model = dict(_TORCHVISION_MODEL.findall(text))
    if chosen.model not in enum_of_model:
        yield ("network", "torchvision", "model"), _explain(chosen.model, list(enum_of_model))
        return
    members = {name: _WEIGHTS_MEMBER.findall(body) for name, body in _TORCHVISION_WEIGHTS.findall(text)}
    # DEFAULT is not theirs alone: it names other weights in other releases.
    allowed = ["none", *(name for name in members[enum_of_model[chosen.model]] if name != "DEFAULT")]
    if chosen.weights not in allowed:
        yield ("network", "torchvision", "weights"), _explain(chosen.weights, allowed)


def _check_timm(network: Network) -> Iterator[tuple[KeyPath, str]]:
    chosen = network.timm
    text = _read_source("timm")
    if not text:
        yield ("network", "name"), "found timm, which is not installed; install it with: pip install timm"
        return
    models = _TIMM_MODEL.findall(text)
    if chosen.model not in models:
        yield ("network", "timm", "model"), _explain(chosen.model, models)
        return
    tags = list(dict.fromkeys(re.findall(rf"['\"]{re.escape(chosen.model)}\.([\w.-]+)['\"]", text)))
    # A few models' tags are put together by code; those timm itself refuses, when it is asked for them.
    if tags and chosen.weights not in ("none", *tags):
        yield ("network", "timm", "weights"), _explain(chosen.weights, ["none", *tags])


def _read_source(library: str) -> str:
    """Return the source of a library's classification models, or nothing if it is not installed."""
    found = find_spec(library)
    if found is None or not found.submodule_search_locations:
        return ""
    folder = Path(found.submodule_search_locations[0]) / "models"
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py")))


def _explain(name: str, allowed: Sequence[str]) -> str:
    """Return what was found, what is allowed, and what was probably meant."""
    shown = ", ".join(sorted(allowed)[:_MAX_SHOWN])
    more = f" and {len(allowed) - _MAX_SHOWN} more" if len(allowed) > _MAX_SHOWN else ""
    nearest = find_nearest(name, allowed)
    return f"found {name}; allowed: {shown}{more}" + (f"; did you mean {nearest}?" if nearest else "")
