"""What params.yaml may hold, in words made from its JSON Schema, so that they can never be out of date."""

from collections.abc import Sequence
from functools import cache
from typing import Any, TypeAlias

from schemas.json_schema import build_json_schema
from schemas.params import Params
from stages.params.problems import KeyPath

JsonSchema: TypeAlias = dict[str, Any]

MAX_CHOICES = 12
"""Where there are more, a message names half as many: a line is read, a page is not."""


@cache
def _root() -> JsonSchema:
    return build_json_schema(Params)


def forms_at(path: KeyPath) -> list[JsonSchema]:
    """Return every form the value at path may have; none for a path that no file can have."""
    forms = _unfold(_root())
    for key in path:
        forms = [inner for form in forms for inner in _step(form, key)]
    return forms


def _step(form: JsonSchema, key: str | int) -> list[JsonSchema]:
    if isinstance(key, str):
        inner = form.get("properties", {}).get(key)
    else:
        inner = form["prefixItems"][key] if key < len(form.get("prefixItems", ())) else form.get("items")
    return [] if inner is None else _unfold(inner)


def _unfold(schema: JsonSchema) -> list[JsonSchema]:
    """Return the alternatives of a schema, references followed."""
    if "$ref" in schema:
        return _unfold(_root()["$defs"][schema["$ref"].rpartition("/")[2]])
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    return [form for inner in alternatives for form in _unfold(inner)] if alternatives else [schema]


def keys_of(forms: Sequence[JsonSchema]) -> list[str]:
    """Return the keys a section of these forms has."""
    return [key for form in forms for key in form.get("properties", ())]


@cache
def known_keys(path: KeyPath = ()) -> tuple[KeyPath, ...]:
    """Return the path of every key below path, sections before what they hold; lists are not entered."""
    return tuple(
        known for key in keys_of(forms_at(path)) for known in ((*path, key), *known_keys((*path, key)))
    )


def choices_of(forms: Sequence[JsonSchema]) -> list[Any]:
    """Return the values that are named one by one, and the names of transforms."""
    choices: list[Any] = []
    for form in forms:
        named = form["enum"] if "enum" in form else [form["const"]] if "const" in form else _name_of(form)
        choices.extend(choice for choice in named if choice not in choices)
    return choices


def types_of(forms: Sequence[JsonSchema]) -> set[str]:
    """Return JSON's names for the types of these forms."""
    types = {str(form["type"]) for form in forms if "type" in form}
    return types | {"string" for form in forms if isinstance(form.get("const"), str)}


def _name_of(form: JsonSchema) -> list[str]:
    """Return the name of a transform that stands above its arguments; nothing for another form."""
    keys = list(form.get("properties", ()))
    if len(keys) == 1 and _unfold(form["properties"][keys[0]])[0].get("type") == "object":
        return keys
    return []


def describe(forms: Sequence[JsonSchema]) -> str:
    """Return what is allowed: `none, balanced or a list of at least 2 numbers, each above 0`."""
    others = [
        _describe_type(form) for form in forms if not ("enum" in form or "const" in form or _name_of(form))
    ]
    choices = [str(choice) for choice in choices_of(forms)]
    if len(choices) > MAX_CHOICES:
        rest = len(choices) - MAX_CHOICES // 2
        choices[MAX_CHOICES // 2 :] = [f"{rest} more, which schemas/params.schema.json lists"]
    return join([*choices, *others])


def join(words: Sequence[str], last: str = "or") -> str:
    """Return `a, b or c`."""
    return f" {last} ".join([*([", ".join(words[:-1])] if len(words) > 1 else []), *words[-1:]])


def _describe_type(form: JsonSchema) -> str:
    match form.get("type"):
        case "boolean":
            return "true or false"
        case "integer":
            return f"a whole number{_describe_range(form)}"
        case "number":
            return f"a number{_describe_range(form)}"
        case "string":
            return "text, not empty" if form.get("minLength") else "text"
        case "array":
            return _describe_list(form)
        case _:
            keys = keys_of([form])
            return f"a section with the key{'s' if len(keys) > 1 else ''} {join(keys, 'and')}"


def _describe_range(form: JsonSchema) -> str:
    """Return ` above 0 and below 1`, `, 0 or more`, ` from 1 to 4096`, or nothing."""
    low, above = form.get("minimum"), form.get("exclusiveMinimum")
    high, below = form.get("maximum"), form.get("exclusiveMaximum")
    if low is not None and high is None and below is None:
        return f", {_number(low)} or more"
    if low is not None:
        return f" from {_number(low)} to {f'below {_number(below)}' if high is None else _number(high)}"
    parts = [
        f"{words} {_number(bound)}"
        for words, bound in (("above", above), ("at most", high), ("below", below))
        if bound is not None
    ]
    return f" {join(parts, 'and')}" if parts else ""


def _number(bound: Any) -> str:
    return str(int(bound)) if float(bound).is_integer() else str(bound)


def _describe_list(form: JsonSchema) -> str:
    least, most = form.get("minItems", 0), form.get("maxItems")
    if least == most:
        count = f"{least} "
    elif most is not None:
        count = f"{least} to {most} "
    else:
        count = f"at least {least} " if least > 1 else ""
    items = _unfold(form["prefixItems"][0] if "prefixItems" in form else form["items"])
    noun = {"number": "numbers", "integer": "whole numbers"}.get(items[0].get("type", ""))
    if noun is None or len(items) > 1:
        return f"a list, each item {describe(items)}"
    extent = _describe_range(items[0]).strip(" ,")
    return f"a list of {count}{noun}{f', each {extent}' if extent else ''}"
