"""What is wrong with the values of params.yaml: one line each, for someone new to the file.

Pydantic finds the mistakes. It is also asked what is allowed in a place and what was probably meant there, by
checking other values in that place: so no message can contradict the schemas.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from difflib import SequenceMatcher, get_close_matches
from typing import Any, NamedTuple

from pydantic import ValidationError

from schemas.params import Params
from schemas.shared.fields import Schema
from schemas.vision.transforms import TRANSFORMS
from stages.params.document import MAX_LINES, Document, KeyPath, Problem, format_path
from stages.shared.errors import shorten

_TYPES = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
}
_BOUNDS = {
    "greater_than": "above {gt:.10g}",
    "greater_than_equal": "of at least {ge:.10g}",
    "less_than": "below {lt:.10g}",
    "less_than_equal": "at most {le:.10g}",
}
_REASONS = {
    "finite_number": "it must be finite",
    "string_too_short": "it must not be empty",
    "string_too_long": "it is too long",
    "too_short": "its length must be at least {min_length}",
    "too_long": "its length must be at most {max_length}",
}
_FLAGS = {"yes": True, "y": True, "on": True, "no": False, "n": False, "off": False}
_HUGE = 10**30
_NOTHING = object()
"""No parameter may be this, so that pydantic lists what it may be."""


class Mistake(NamedTuple):
    """One of pydantic's errors, at the place in the file that it is about."""

    path: KeyPath
    kind: str
    context: dict[str, Any]


def find_mistakes(data: Any) -> list[Mistake]:
    """Return what the schemas object to."""
    try:
        Params.model_validate(data)
    except ValidationError as error:
        return [
            _locate(data, details["loc"], details["type"], details.get("ctx", {}))
            for details in error.errors(include_url=False, include_input=False)
        ]
    return []


def match_keys(mistakes: Sequence[Mistake]) -> dict[KeyPath, list[KeyPath]]:
    """Return which key each unknown one was meant to be: one, several that are as likely, or none."""
    unknown = [mistake.path for mistake in mistakes if mistake.kind == "extra_forbidden"][:MAX_LINES]
    missing = [mistake.path for mistake in mistakes if mistake.kind == "missing"]
    meant: dict[KeyPath, list[KeyPath]] = {path: [] for path in unknown}
    scored = [(_score(old, new, missing), old, new) for old in unknown for new in _list_keys(old[:-1])]
    best = {old: max((score for score, other, _ in scored if other == old), default=0) for old in unknown}
    for score, old, new in sorted(scored, key=lambda pair: -pair[0]):
        # Of two unknown keys that look like one missing key, the more similar one was meant to be it.
        if score == best[old] >= 1.0 and [new] not in meant.values():
            meant[old].append(new)
    return meant


def _score(old: KeyPath, new: KeyPath, missing: Sequence[KeyPath]) -> float:
    """Return how likely it is that an unknown key is meant to be a known one."""
    similarity = SequenceMatcher(None, str(old[-1]).lower(), str(new[-1]).lower()).ratio()
    if old[:-1] == new[:-1]:
        # `learning_rate` looks little like `lr`, which can be meant if no other key is missing there.
        is_only_one = [path for path in missing if path[:-1] == new[:-1]] == [new]
        return similarity + (1.0 if is_only_one or (new in missing and similarity >= 0.5) else 0.5)
    if similarity < 0.85:
        return 0.0
    is_below, is_missing = new[: len(old) - 1] == old[:-1], any(path == new[: len(path)] for path in missing)
    return similarity + 0.4 * is_below + 0.5 * is_missing


def explain(document: Document, mistakes: Sequence[Mistake]) -> list[Problem]:
    """Return one problem for each place, however many errors pydantic has there."""
    meant = match_keys(mistakes)
    moved = {
        paths[0][:end] for paths in meant.values() if len(paths) == 1 for end in range(len(paths[0]) + 1)
    }
    by_place: dict[KeyPath, list[Mistake]] = {}
    for mistake in sorted(mistakes, key=lambda mistake: document.line_of(mistake.path)):
        if not (mistake.kind == "missing" and mistake.path in moved):
            by_place.setdefault(mistake.path, []).append(mistake)
    above = {path[:end] for path in by_place for end in range(len(path))}
    problems: list[Problem] = []
    for path, here in by_place.items():
        # Pydantic also says of a wrong item that its list is none of the other things allowed there.
        if path in above and not any(mistake.kind in _REASONS for mistake in here):
            continue
        if len(problems) > MAX_LINES:
            message = ""  # never shown, but counted
        elif here[0].kind == "extra_forbidden":
            message = explain_unknown(path, meant.get(path, ()))
        elif here[0].kind == "missing":
            message = f"missing; add it: {_describe_allowed(path)}"
        else:
            message = _explain_value(document.data, path, here)
        problems.append(Problem(document.line_of(path), path, message))
    return problems


def explain_unknown(path: KeyPath, meant: Sequence[KeyPath]) -> str:
    """Return what to say about a key that no schema knows."""
    if len(meant) == 1 and meant[0][-1] == path[-1]:
        return f"unknown key; it belongs under {format_path(meant[0][:-1])}, as {format_path(meant[0])}"
    if meant:
        return f"unknown key; did you mean {join_choices(map(format_path, meant))}?"
    siblings = join_choices(_list_siblings(path), last="and")
    return f"unknown key; allowed: {siblings or f'none, write - {path[-2]}'}"


def show(value: Any) -> str:
    """Return a value as JSON on one line, shortened, without control characters: text is in quotes."""
    return shorten(json.dumps(value, ensure_ascii=False, default=str))


def join_choices(choices: Iterable[str], *, last: str = "or", most: int = 12) -> str:
    """Return `a, b or c`; of more than most choices the first half, and how many more there are."""
    words = list(choices)
    if len(words) > most:
        words[most // 2 :] = [f"{len(words) - most // 2} more"]
    return f" {last} ".join([*([", ".join(words[:-1])] if len(words) > 1 else []), *words[-1:]])


def find_nearest(word: str, choices: Iterable[str]) -> str | None:
    """Return the choice that looks most like a word, whatever the case; None if all look different."""
    by_lower = {choice.lower(): choice for choice in choices}
    near = get_close_matches(word.lower(), by_lower, n=1)
    return by_lower[near[0]] if near else None


def _locate(data: Any, location: Sequence[str | int], kind: str, context: dict[str, Any]) -> Mistake:
    """Return an error at its place in the file, without pydantic's names for the parts of a union."""
    path: KeyPath = ()
    for key in location:
        is_item = isinstance(data, list) and isinstance(key, int) and key < len(data)
        if is_item or (isinstance(data, dict) and key in data):
            path, data = (*path, key), data[key]
        elif path[:1] == ("transforms",) and data == key:  # a bare name, which has no arguments
            path, data = (*path, key), {}
    if kind == "missing" and isinstance(location[-1], int):  # a list of fixed length, which is too short
        return Mistake(path, "too_short", {"min_length": location[-1] + 1})
    if kind == "too_short" and len(data) >= context["min_length"]:  # pydantic did not count wrong items
        kind = "wrong_items"
    return Mistake((*path, location[-1]) if kind == "missing" else path, kind, context)


def _list_keys(section: KeyPath) -> list[KeyPath]:
    """Return every key of params.yaml, or those that the arguments of a transform have."""
    if section[:1] != ("transforms",):
        return list(_walk_keys(Params, ()))
    named = next(transform for transform in TRANSFORMS if transform.__name__ == section[-1])
    return [(*section, key) for key in named.model_fields if key != "name"]


def _list_siblings(path: KeyPath) -> list[str]:
    return [str(known[-1]) for known in _list_keys(path[:-1]) if known[:-1] == path[:-1]]


def _walk_keys(schema: type[Schema], path: KeyPath) -> Iterator[KeyPath]:
    for key, field in schema.model_fields.items():
        yield (*path, key)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Schema):
            yield from _walk_keys(field.annotation, (*path, key))


def _explain_value(data: Any, path: KeyPath, here: Sequence[Mistake]) -> str:
    """Return `found "adamm"; allowed: sgd, adam or adamw; did you mean adam?`."""
    value = data
    for key in path:
        value = value[key]
    for mistake in here:
        if "error" in mistake.context:  # from a validator of ours, which says it in its own words
            message = str(mistake.context["error"])
            return f"found {show(value)}; {message}" if message.startswith("allowed:") else message
    choices = [choice for mistake in here for choice in _list_choices(mistake)]
    if here[0].kind == "union_tag_invalid":
        value, allowed = here[0].context["tag"], f"{join_choices(choices)}, see schemas/params.schema.json"
    else:
        allowed = _describe_allowed(path)
    reasons = [
        _REASONS[mistake.kind].format_map(mistake.context) for mistake in here if mistake.kind in _REASONS
    ]
    guesses = list(_guess(path, value, choices))
    return "; ".join([f"found {show(value)}", f"allowed: {allowed}", *reasons[:1], *guesses[:1]])


def _list_choices(mistake: Mistake) -> list[str]:
    """Return the values that pydantic names one by one, as in 'sgd', 'adam' or 'adamw'."""
    expected = mistake.context.get("expected_tags") or mistake.context.get("expected") or ""
    return [choice.strip("'") for choice in re.split(r", | or ", expected) if choice]


def _describe_allowed(path: KeyPath) -> str:
    """Return what is allowed in a place: `image or a whole number of at least 1 and at most 4096`."""
    words: list[str] = []
    for mistake in _try(path, _NOTHING):
        kind = "" if mistake.path else mistake.kind
        words += _list_choices(mistake)
        if kind in ("int_type", "float_type"):
            tried = [*_try(path, -_HUGE), *_try(path, _HUGE)]
            bounds = [_BOUNDS[m.kind].format_map(m.context) for m in tried if m.kind in _BOUNDS]
            words.append(f"{_TYPES[kind]} {' and '.join(bounds)}".strip())
        elif kind == "tuple_type":
            words.append(f"a list, each item {_describe_allowed((*path, 0))}")
        elif kind == "model_type":
            keys = join_choices(_list_siblings((*path, "")), last="and")
            words.append(f"a section with the keys {keys}" if keys else "{}, a section without keys")
        elif kind in _TYPES:
            words.append(_TYPES[kind])
        elif "error" in mistake.context:
            words.append(str(mistake.context["error"]).removeprefix("allowed: "))
    return join_choices(dict.fromkeys([*(["null"] if _accepts(path, None) else []), *words]))


def _try(path: KeyPath, value: Any) -> list[Mistake]:
    """Return the mistakes at and below a place if a value stood there; their paths begin at the place."""
    place = tuple(0 if isinstance(key, int) else key for key in path)
    for key in reversed(path):
        value = [value] if isinstance(key, int) else {key: value}
    mistakes = [mistake for mistake in find_mistakes(value) if mistake.path[: len(place)] == place]
    return [mistake._replace(path=mistake.path[len(place) :]) for mistake in mistakes]


def _accepts(path: KeyPath, value: Any) -> bool:
    return not _try(path, value)


def _guess(path: KeyPath, value: Any, choices: Sequence[str]) -> Iterator[str]:
    """Yield what was probably meant, if anything is probable: only what the schemas accept there."""
    if (value is False or str(value).lower() in ("", "none", "null")) and _accepts(path, None):
        yield "did you mean null?"
    if isinstance(value, str):
        if nearest := find_nearest(value, choices):
            yield f"did you mean {nearest}?"
        if value.lower() in _FLAGS and _accepts(path, flag := _FLAGS[value.lower()]):
            yield f"did you mean {show(flag)}?"
        with suppress(ValueError):  # a decimal comma, or quotes around a number
            number = float(value.replace(",", "."))
            for plain in (int(number) if number.is_integer() else number, number):
                if _accepts(path, plain):
                    yield f"write {plain}, without quotes"
        if path and value in [c for m in _try((*path, "name"), _NOTHING) for c in _list_choices(m)]:
            yield f"did you mean {format_path((*path, 'name'))}: {value}?"
    elif isinstance(value, float) and value.is_integer() and _accepts(path, int(value)):
        yield f"write {int(value)}"
    elif value is not None and not isinstance(value, dict | list) and _accepts(path, str(value)):
        yield "put it in quotes"
