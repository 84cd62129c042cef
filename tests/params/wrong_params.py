"""Wrong parameter files, made from the committed one, each with the key it must be refused for."""

import copy
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from schemas.__main__ import format_yaml
from stages.params.document import Document, KeyPath, parse_yaml, read_document

ROOT = Path(__file__).parents[2]

# What the tables below count on, whatever the committed file says at the time.
FIXED: dict[KeyPath, Any] = {
    ("dataset", "color"): "grayscale",
    ("dataset", "height_px"): 28,
    ("dataset", "width_px"): 28,
    ("split", "val_fraction"): 0.1,
    ("split", "test_fraction"): 0.2,
    ("split", "near_duplicate_bits"): 2,
    ("transforms",): [
        {"RandomCrop": {"padding": 2}},
        "ToTensor",
        {"Normalize": {"mean": "dataset", "std": "dataset"}},
    ],
    ("network", "cnn", "channels"): [16, 32, 64],
    ("optimizer", "sgd", "nesterov"): True,
    ("training", "num_epochs"): 15,
    ("training", "early_stopping_epochs"): 5,
    ("training", "max_minutes"): 60.5,
    ("training", "max_grad_norm"): 1.5,
    ("training", "ema_decay"): 0.9,
    ("training", "limit_images"): 100,
    ("training", "save_every_steps"): 100,
}

# Keys whose value may be absent.
NULLABLE: set[KeyPath] = {
    ("split", "group"),
    ("split", "near_duplicate_bits"),
    ("network", "torchvision", "weights"),
    ("network", "timm", "weights"),
    ("transfer", "freeze"),
    ("transfer", "unfreeze_after_epochs"),
    ("loss", "class_weights"),
    ("training", "early_stopping_epochs"),
    ("training", "max_minutes"),
    ("training", "max_grad_norm"),
    ("training", "ema_decay"),
    ("training", "limit_images"),
    ("training", "save_every_steps"),
    ("training", "save_every_seconds"),
    ("cluster", "address"),
    ("evaluation", "corruptions"),
    ("evaluation", "baseline"),
    ("tune", "pruner"),
}

SPACE: KeyPath = ("tune", "space")
"""What is below it the user names."""

# Values as they stand in a file, that no parameter of the kind takes. `{x: 1}` and nothing fit nowhere.
NULL = ("", "~", "null")
NOWHERE = (*NULL, "{x: 1}", "[[1]]")
NO_NUMBER = ("abc", "'1'", "'1e-3'", "true", "yes", "on", ".nan", ".inf", "-.inf", "1e999", "-1",
             "[1]", "2024-01-01", "1:30", "0.1.2", "''")  # fmt: skip
NO_WHOLE_NUMBER = ("99999999999999999999", "1.5", "3.0", "1e0", "1e-3")
NO_FLAG = ("yes", "no", "on", "off", "y", "1", "0", "1.0", "'true'", "tru", "[true]")
NO_CHOICE = ("nonsense", "1", "true", "[x]", "''", "NAME")
NO_TEXT = ("1", "1.5", "true", "[a]", "''", "1_000", "2024-01-01", '"a\\nb"')
NO_PATTERN = ("(", "'[a-'", "'*'", "(?P<a>x)(?P<a>y)")


@cache
def _committed() -> dict[str, Any]:
    data: dict[str, Any] = read_document(ROOT / "params.yaml").data
    for path, value in FIXED.items():
        value_at(data, path[:-1])[path[-1]] = value
    return data


def good_params() -> dict[str, Any]:
    """Return the data of a good file, to be changed at will."""
    return copy.deepcopy(_committed())


def walk_keys(data: Any = None, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Yield the path of every key in a good file, those of transforms' arguments among them."""
    data = good_params() if data is None else data
    for key, value in data.items() if isinstance(data, dict) else enumerate(data):
        if isinstance(key, str):
            yield (*path, key)
        if isinstance(value, dict | list) and (*path, key) != SPACE:
            yield from walk_keys(value, (*path, key))


def value_at(data: Any, path: KeyPath) -> Any:
    """Return the value at a path."""
    for key in path:
        data = data[key]
    return data


@cache
def good_text() -> str:
    """Return the text of a good file."""
    return format_yaml(_committed())


@cache
def _lines() -> dict[KeyPath, int]:
    return parse_yaml(good_text()).lines


def document_with(path: KeyPath, raw: str) -> Document:
    """Return a good document but for one value, which is what YAML makes of raw."""
    data = good_params()
    value_at(data, path[:-1])[path[-1]] = parse_yaml(f"value: {raw}").data["value"]
    return Document(data, dict(_lines()))


def write_with(path: KeyPath, raw: str) -> str:
    """Return the text of a good file but for one value, which is written as given."""
    data = good_params()
    value_at(data, path[:-1])[path[-1]] = "PLACEHOLDER"
    return format_yaml(data).replace("PLACEHOLDER", raw)


def document_without(path: KeyPath) -> Document:
    """Return a good document but for one key, which is missing."""
    data = good_params()
    del value_at(data, path[:-1])[path[-1]]
    return Document(data, {at: line for at, line in _lines().items() if at[: len(path)] != path})


@cache
def wrong_values() -> dict[KeyPath, list[str]]:
    """Return for every key values that it cannot have, as they stand in a file."""
    values: dict[KeyPath, list[str]] = {}
    data = good_params()
    for path in walk_keys(data):
        value = value_at(data, path)
        wrong = [raw for raw in NOWHERE if path not in NULLABLE or raw not in NULL]
        if isinstance(value, dict):
            wrong += ["3", "abc", "true", "[]", "''"]
        elif path[-1] in ("transforms", "betas", "adamw_betas", "channels", "widths", "milestones"):
            wrong += ["3", "abc", "true", "''"]
        elif path[-1] in ("mean", "std", "class_weights"):
            wrong += ["3", "abc", "true", "''", "datset", "[x]", "['1', 2]", "[.nan, 1]", "[true, 1]"]
        elif isinstance(value, bool):
            wrong += NO_FLAG
        elif isinstance(value, int) and path[-1] != "warmup_epochs":
            wrong += [*NO_NUMBER, *NO_WHOLE_NUMBER]
        elif isinstance(value, int | float):
            wrong += NO_NUMBER
        elif path in (("dataset", "source"), ("network", "weights_file")) or path[-1] in ("model", "weights"):
            wrong += NO_TEXT
        elif path == ("transfer", "unfreeze_after_epochs"):
            wrong += [choice for choice in NO_CHOICE if choice != "1"]
        elif path == ("split", "group"):
            wrong += [*NO_TEXT, *NO_PATTERN]
        else:
            wrong += NO_CHOICE
        values[path] = list(dict.fromkeys(wrong))
    return values
