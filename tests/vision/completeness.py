"""What the schemas name, for the tests that ask whether all of it is built and tested."""

from pathlib import Path
from typing import Any, get_args

from schemas.shared.schema import Schema

TESTS = Path(__file__).parents[1]


def names_of(section: type[Schema]) -> tuple[str, ...]:
    """Return every value that a section's `name` may have."""
    names = get_args(section.model_fields["name"].annotation)
    assert names
    assert all(isinstance(name, str) for name in names)
    return names


def arguments_of(section: type[Schema], **values: Any) -> dict[str, Any]:
    """Return the keys of a section, without `name`, after checking that values holds one for each."""
    assert set(values) == set(section.model_fields) - {"name"}
    return values


def read_test(path: str) -> str:
    """Return the text of a test module below tests/, or an empty one if there is none."""
    file = TESTS / path
    return file.read_text(encoding="utf-8") if file.is_file() else ""
