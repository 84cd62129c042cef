"""Whether a library has the model and the pretrained weights that params.yaml names, read from its source.

Importing torchvision or timm takes seconds; their source says the same in a fraction of one.
"""

import re
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from schemas.params import Params
from stages.params.document import KeyPath
from stages.params.messages import find_nearest, join_choices

_TORCHVISION_MODEL = re.compile(
    r"^@register_model\(\)\n(?:@.*\n)*def (\w+)\([^)]*?weights: Optional\[(\w+)\]", re.MULTILINE
)
_TORCHVISION_WEIGHTS = re.compile(r"^class (\w+)\(WeightsEnum\):\n((?:[ \t].*\n|\n|\))*)", re.MULTILINE)
_WEIGHTS_MEMBER = re.compile(r"^    (\w+) = ", re.MULTILINE)
_TIMM_MODEL = re.compile(r"^@register_model\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)


def find_unknown_names(params: Params) -> Iterator[tuple[KeyPath, str]]:
    """Yield what is wrong with the chosen network's model and weights, if a library provides it."""
    library = params.network.name
    if library not in ("torchvision", "timm"):
        return
    chosen = getattr(params.network, library)
    source = _read_source(library)
    if not source:
        yield ("network", "name"), f"found {library}, which is not installed; run: pip install {library}"
        return
    models = dict(_TORCHVISION_MODEL.findall(source)) or dict.fromkeys(_TIMM_MODEL.findall(source), "")
    if chosen.model not in models:
        yield ("network", library, "model"), _explain(chosen.model, models)
        return
    if library == "torchvision":
        members = dict(_TORCHVISION_WEIGHTS.findall(source))[models[chosen.model]]
        # DEFAULT names other weights in other releases, so the same file would not mean the same.
        weights = [name for name in _WEIGHTS_MEMBER.findall(members) if name != "DEFAULT"]
    else:
        weights = re.findall(rf"['\"]{re.escape(chosen.model)}\.([\w.-]+)['\"]", source)
    # timm puts a few models' tags together in code; those timm itself refuses, when it is asked for them.
    if weights and chosen.weights not in (None, *weights):
        yield ("network", library, "weights"), _explain(chosen.weights, ["null", *dict.fromkeys(weights)])


def _read_source(library: str) -> str:
    """Return the source of a library's classification models, or nothing if it is not installed."""
    found = find_spec(library)
    if found is None or not found.submodule_search_locations:
        return ""
    folder = Path(found.submodule_search_locations[0]) / "models"
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py")))


def _explain(name: str, allowed: Iterable[str]) -> str:
    nearest = find_nearest("null" if name.lower() == "none" else name, allowed)
    hint = f"; did you mean {nearest}?" if nearest else ""
    return f"found {name}; allowed: {join_choices(sorted(allowed))}{hint}"
