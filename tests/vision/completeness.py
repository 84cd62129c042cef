"""What the schemas name, for the tests that ask whether all of it is built and tested."""

from pathlib import Path
from typing import Any, get_args

import yaml

from schemas.shared.fields import Schema

ROOT = Path(__file__).parents[2]


def names_of(section: type[Schema]) -> tuple[str, ...]:
    """Return every value that a section's `name` may have."""
    names = get_args(section.model_fields["name"].annotation)
    assert names
    assert all(isinstance(name, str) for name in names)
    return names


def read_params_file() -> dict[str, Any]:
    """Return the committed params.yaml as it stands."""
    params: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    return params


def read_section(name: str) -> dict[str, Any]:
    """Return a section of the committed params.yaml, which holds a block for every variant."""
    section: dict[str, Any] = read_params_file()[name]
    return section


def read_test(path: str) -> str:
    """Return the text of a test module below tests/, or an empty one if there is none."""
    file = ROOT / "tests" / path
    return file.read_text(encoding="utf-8") if file.is_file() else ""
