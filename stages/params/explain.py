"""The line a person reads about a wrong value: what was found, what is allowed, what was probably meant."""

import math
from collections.abc import Sequence
from typing import Any

from stages.params.allowed import (
    JsonSchema,
    choices_of,
    describe,
    forms_at,
    join,
    keys_of,
    types_of,
)
from stages.params.problems import KeyPath, format_path, shorten
from stages.params.spelling import find_nearest
from stages.params.yaml12_scalars import resolve_plain

_YES_AND_NO = {
    **dict.fromkeys(("yes", "y", "on", "t", "1"), "true"),
    **dict.fromkeys(("no", "n", "off", "f", "0"), "false"),
}


def explain_value(value: Any, path: KeyPath) -> str:
    """Return `found adamm; allowed: sgd, adam or adamw; did you mean adam?`."""
    forms = forms_at(path)
    allowed = describe(forms) if path else f"the sections {join(keys_of(forms), 'and')}"
    hint = _guess(value, path, forms)
    shown = show(value)
    if isinstance(value, str) and "string" not in types_of(forms):
        shown += " (text)"
    return "; ".join([f"found {shown}", f"allowed: {allowed}", *([hint] if hint else [])])


def explain_transform_name(entry: Any, path: KeyPath) -> str:
    """Return the same about the name of a transform; entry is the name, or the name above its arguments."""
    return explain_value(entry if isinstance(entry, str) else next(iter(entry)), path)


def show(value: Any) -> str:
    """Return a value as it might stand in the file, shortened, without control characters."""
    if value is None:
        return "nothing"
    if isinstance(value, str) and value == value.strip() and value:
        return shorten(value)
    return shorten(_write(value))


def _write(value: Any) -> str:
    """Return a value as YAML on one line."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_write(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_write, value))}]"
    if isinstance(value, str):
        return f"'{value}'" if value != value.strip() or not value else value
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _guess(value: Any, path: KeyPath, forms: Sequence[JsonSchema]) -> str | None:
    """Return what was probably meant, if anything is probable."""
    if isinstance(value, str):
        return _guess_from_text(value, path, forms)
    if value is None:
        return "did you mean none?" if "none" in choices_of(forms) else None
    if isinstance(value, float) and "number" in types_of(forms) and not math.isfinite(value):
        return "it has to be finite"
    if isinstance(value, float) and "integer" in types_of(forms) and value.is_integer():
        return f"write {int(value)}" if abs(value) < 2**53 else None
    if isinstance(value, bool | int | float) and "string" in types_of(forms) and not choices_of(forms):
        return "put it in quotes"
    return None


def _guess_from_text(text: str, path: KeyPath, forms: Sequence[JsonSchema]) -> str | None:
    choices = [choice for choice in choices_of(forms) if isinstance(choice, str)]
    if nearest := find_nearest(text, choices):
        return f"did you mean {nearest}?"
    meant = _YES_AND_NO.get(text.lower()) or find_nearest(text, ("true", "false"))
    if meant and "boolean" in types_of(forms):
        return f"did you mean {meant}?"
    if types_of(forms) & {"integer", "number"}:
        if _is_number(text):
            return "write it without quotes"
        for plain in (text.replace("_", ""), text.replace(",", ".")):
            if _is_number(plain):
                return f"write {plain}"
    # A name where its section should be: `optimizer: adam`.
    names = [str(choice) for choice in choices_of(forms_at((*path, "name")))]
    if path and (name := find_nearest(text, names)):
        return f"did you mean {format_path((*path, 'name'))}: {name}?"
    return None


def _is_number(text: str) -> bool:
    try:
        number = resolve_plain(text.strip())
        return isinstance(number, int | float) and math.isfinite(number)
    except OverflowError:
        return False
