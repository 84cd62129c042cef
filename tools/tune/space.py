"""What a search may set, and how a setting is written for DVC.

Every value that `tune.space` names is put into the whole of params.yaml and checked by its schemas, so that a
search that starts does not end at a typo hours later.
"""

import copy
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from schemas.params import Params
from schemas.tune.tune import Distribution, IntRange, LogRange, Space, Tune, UniformRange
from stages.params.document import Document, KeyPath, Problem, format_path, format_problems, read_document
from stages.params.messages import find_nearest, show
from stages.params.read import check_params
from stages.shared.errors import InputError

Settings = Mapping[str, Any]
"""Dotted keys of params.yaml -> values."""

SEED = "training.seed"
PARAMS = "params.yaml"

TRAINED = ("transforms", "loader", "network", "transfer", "loss", "optimizer", "lr_scheduler", "training")
"""The sections that train reads."""

_WHY_NOT = {
    "dataset": "other images would validate each trial",
    "audit": "other images would validate each trial",
    "split": "other images would validate each trial",
    SEED: "which seed is best says nothing; tune.confirm_seeds runs the best trials on fresh ones",
    "training.limit_images": "other images would validate each trial",
    "training.max_minutes": "such a run does not repeat",
}
"""Of what cannot be searched, by section or key."""

_PLAIN = re.compile(r"[A-Za-z_][\w./-]*", re.ASCII)
_SIGNIFICANT_DIGITS = 4


def read_space(path: str = PARAMS) -> tuple[Params, Document]:
    """Read a parameter file, and check every value that its `tune.space` names.

    Raises:
        InputError: One line for each thing that is wrong, in the order of the file.
    """
    document = read_document(path)
    params, problems = check_params(document)
    problems = problems if params is None else list(_find_problems(document, params.tune))
    if params is None or problems:
        raise InputError(format_problems(path, problems))
    return params, document


def check_settings(document: Document, settings: Settings) -> list[Problem]:
    """Return what is wrong with params.yaml if it said these; nothing, as a rule."""
    data = copy.deepcopy(document.data)
    for key, value in settings.items():
        _put(data, _split(key), value)
    return check_params(Document(data, document.lines))[1]


def list_values(distribution: Distribution) -> list[Any] | None:
    """Return all values that there are; None for real numbers, of which there are too many."""
    if isinstance(distribution, IntRange):
        return list(range(distribution.int[0], distribution.int[1] + 1))
    return list(distribution) if isinstance(distribution, tuple) else None


def count_settings(space: Space) -> int | None:
    """Return how many different settings there are; None if they are not to be counted."""
    num = 1
    for distribution in space.values():
        if isinstance(distribution, LogRange | UniformRange):
            return None
        if isinstance(distribution, IntRange):
            num *= distribution.int[1] - distribution.int[0] + 1
        else:
            num *= len(distribution)
    return num


def combine(space: Space) -> Iterator[dict[str, Any]]:
    """Yield every setting of a space without real numbers."""
    values = [list_values(distribution) or [] for distribution in space.values()]
    for chosen in itertools.product(*values):
        yield dict(zip(space, chosen, strict=True))


def round_to(distribution: Distribution, value: Any) -> Any:
    """Return a number with four digits, which one can read and type, inside its range."""
    if isinstance(distribution, LogRange):
        low, high = distribution.log
    elif isinstance(distribution, UniformRange):
        low, high = distribution.uniform
    else:
        return value
    return min(max(float(f"{value:.{_SIGNIFICANT_DIGITS}g}"), low), high)


def find_value(document: Document, key: str) -> Any:
    """Return what params.yaml says at a dotted key that it has."""
    value = document.data
    for part in _split(key):
        value = value[part]
    return value


def write_overrides(settings: Settings) -> list[str]:
    """Return settings as `dvc exp run -S` takes them: `optimizer.lr=0.001`."""
    return [f"{key}={_write_value(value)}" for key, value in settings.items()]


def _write_value(value: Any) -> str:
    """Return a value in Hydra's grammar, in which DVC reads overrides."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_write_value, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_write_value(inner)}' for key, inner in value.items())}}}"
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and value.lower() not in ("null", "true", "false", "nan", "inf"):
        return value
    escaped = re.sub(r"(\\+)(?='|$)", r"\1\1", value).replace("'", "\\'")
    return f"'{escaped}'"


def _find_problems(document: Document, tune: Tune) -> Iterator[Problem]:
    for key, distribution in tune.space.items():
        place: KeyPath = ("tune", "space", key)
        reason = _explain_key(document, key, tune.metric) or _explain_values(document, key, distribution)
        if reason:
            yield Problem(document.line_of(place), place, reason)
        elif tune.sampler == "grid" and isinstance(distribution, LogRange | UniformRange):
            reason = (
                f"found {show(distribution.model_dump())}; allowed for tune.sampler: grid: a list, or int"
            )
            yield Problem(document.line_of(place), place, reason)


def _explain_key(document: Document, key: str, metric: str) -> str | None:
    """Return why a key cannot be searched; None if it can."""
    path = _split(key)
    try:
        value = find_value(document, key)
    except (KeyError, IndexError, TypeError):
        with suppress(KeyError, IndexError, TypeError):  # above it, something is unknown as well
            return check_settings(document, {key: None})[0].message
        known = [format_path(path) for path in document.lines if path and path[0] != "tune"]
        nearest = find_nearest(key, known)
        return "unknown key" + (f"; did you mean {nearest}?" if nearest else "; allowed: keys of this file")
    section = str(path[0])
    if reason := _WHY_NOT.get(key) or _WHY_NOT.get(section):
        return f"cannot be searched: {reason}; allowed: other keys of {', '.join(TRAINED)}"
    if section not in TRAINED:
        return f"cannot be searched: train does not read it; allowed: keys of {', '.join(TRAINED)}"
    if isinstance(value, dict):
        return f"is a section; allowed: one of its keys, such as {key}.{next(iter(value), '')}"
    if section == "loss" and metric == "val.loss":
        return "changes what tune.metric: val.loss measures; allowed: another metric, such as val.accuracy"
    return None


def _explain_values(document: Document, key: str, distribution: Distribution) -> str | None:
    """Return what is wrong with the first value that params.yaml cannot have; None if all are right."""
    path = _split(key)
    if isinstance(distribution, tuple):
        values: tuple[Any, ...] = distribution
    else:
        (values,) = distribution.model_dump().values()
    for value in values:
        for problem in check_settings(document, {key: value})[:1]:
            if problem.path == path:
                return problem.message
            return f"found {show(value)}, with which {format_path(problem.path)}: {problem.message}"
    return None


def _split(key: str) -> KeyPath:
    return tuple(int(part) if part.isdecimal() else part for part in key.split("."))


def _put(data: Any, path: KeyPath, value: Any) -> None:
    for key in path[:-1]:
        data = data[key]
    data[path[-1]] = list(value) if isinstance(value, tuple) else value
