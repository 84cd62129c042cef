"""What is allowed, in words made from the JSON Schema."""

from typing import Any

import pytest
from stages.params.allowed import describe, forms_at, known_keys
from stages.params.problems import KeyPath, format_path

from tests.params.wrong_params import good_params, walk_keys

NUMBER = {"type": "number"}


@pytest.mark.parametrize(("form", "words"), [
    ({"type": "boolean"}, "true or false"),
    ({"type": "string"}, "text"),
    ({"type": "string", "minLength": 1}, "text, not empty"),
    ({"type": "string", "enum": ["a", "b", "c"]}, "a, b or c"),
    ({"type": "string", "const": "a"}, "a"),
    ({"type": "integer", "enum": [1, 3]}, "1 or 3"),
    ({"type": "integer"}, "a whole number"),
    ({"type": "integer", "minimum": 1}, "a whole number, 1 or more"),
    ({"type": "integer", "minimum": 1, "maximum": 9}, "a whole number from 1 to 9"),
    ({"type": "integer", "minimum": 0, "exclusiveMaximum": 9}, "a whole number from 0 to below 9"),
    ({"type": "number", "exclusiveMinimum": 0}, "a number above 0"),
    ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, "a number above 0 and below 1"),
    ({"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}, "a number above 0 and at most 0.5"),
    ({"type": "number", "maximum": 1.0}, "a number at most 1"),
    ({"type": "array", "items": NUMBER}, "a list of numbers"),
    ({"type": "array", "items": NUMBER, "minItems": 1}, "a list of numbers"),
    ({"type": "array", "items": NUMBER, "minItems": 2}, "a list of at least 2 numbers"),
    ({"type": "array", "items": NUMBER, "minItems": 1, "maxItems": 3}, "a list of 1 to 3 numbers"),
    ({"type": "array", "prefixItems": [NUMBER] * 2, "minItems": 2, "maxItems": 2}, "a list of 2 numbers"),
    ({"type": "array", "items": {"type": "number", "minimum": 1}}, "a list of numbers, each 1 or more"),
    ({"type": "object", "properties": {"a": NUMBER}}, "a section with the key a"),
    ({"type": "object", "properties": {"a": NUMBER, "b": NUMBER}}, "a section with the keys a and b"),
])  # fmt: skip
def test_describe(form: dict[str, Any], words: str) -> None:
    """Each form of value has its words."""
    assert describe([form]) == words


def test_describe_several_forms() -> None:
    """Alternatives are one list of words, named values first."""
    forms: list[dict[str, Any]] = [
        {"type": "array", "items": NUMBER},
        {"type": "string", "enum": ["none", "balanced"]},
    ]
    assert describe(forms) == "none, balanced or a list of numbers"


@pytest.mark.parametrize("path", list(walk_keys()), ids=format_path)
def test_every_key_is_described(path: KeyPath) -> None:
    """What a good file holds, the words for it allow: no key is without a description of its own."""
    assert describe(forms_at(path))


def test_known_keys_are_those_of_the_file() -> None:
    """All keys outside the list of transforms are known, no others, and in the order of the file."""
    assert list(known_keys()) == [
        path for path in walk_keys(good_params()) if path[0] != "transforms" or len(path) == 1
    ]


def test_no_forms_where_nothing_can_be() -> None:
    """A path that no file can have has no forms."""
    assert forms_at(("optimizer", "lr", "x")) == forms_at(("nothing",)) == forms_at(("optimizer", 0)) == []
