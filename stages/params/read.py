"""Reading params.yaml: every mistake in it at once, each in one line, before anything else is done."""

from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from schemas.params import Params, find_conflicts
from stages.params.allowed import describe, forms_at
from stages.params.explain import explain_transform_name, explain_value, show
from stages.params.model_names import find_unknown_names
from stages.params.problems import MAX_LINES, KeyPath, Problem, format_problems
from stages.params.unknown_keys import explain_move, explain_unknown, match_keys
from stages.params.yaml12 import read_document
from stages.params.yaml12_document import Document
from stages.shared.errors import InputError

MAX_ROUNDS = 5
"""A slip can hide another one a level below; levels are few."""


def read_params(path: str | Path = "params.yaml") -> Params:
    """Read a parameter file and check all of it.

    Raises:
        InputError: One line for each thing that is wrong, in the order of the file, as in
            `params.yaml:31: loss.gama: unknown key; did you mean loss.gamma?`
    """
    document = read_document(path)
    params, problems = (None, []) if document.root is None else check_params(document)
    problems = [*document.problems, *problems]
    if problems or params is None:
        raise InputError(format_problems(path, problems))
    return params


def check_params(document: Document) -> tuple[Params | None, list[Problem]]:
    """Check the values that the reader accepted against the schemas and against what DVC makes of them.

    Returns:
        The parameters, unless something is wrong with them; and what that is. The reader's own problems are
        not repeated: the document holds them.
    """
    # A value the reader refused is nothing in the data; that it is nothing is no second mistake.
    refused = [
        problem.path
        for problem in document.problems
        if problem.path and problem.line == document.line_of(problem.path)
    ]
    params, problems = _validate(document)
    told = {problem.path for problem in problems}
    problems += [problem for problem in document.disputed if problem.path not in told]
    if params is not None:
        for conflict in find_conflicts(params):
            path = tuple(int(key) if key.isdigit() else key for key in conflict.key.split("."))
            problems.append(Problem(document.line_of(path), path, conflict.message))
        for path, message in find_unknown_names(params):
            problems.append(Problem(document.line_of(path), path, message))
    problems = [
        problem for problem in problems if not any(problem.path[: len(path)] == path for path in refused)
    ]
    return None if problems else params, problems


def _validate(document: Document) -> tuple[Params | None, list[Problem]]:
    """Check a document against the schemas.

    A misspelt key is put right in the document and the check repeated, so that what it holds is checked too.
    """
    slips: list[Problem] = []
    mistakes: list[_Mistake] = []
    for _ in range(MAX_ROUNDS):
        try:
            return Params.model_validate(document.data), slips
        except ValidationError as error:
            mistakes = [_place(document, details) for details in error.errors(include_url=False)]
        unknown = [mistake.path for mistake in mistakes if mistake.kind == "extra_forbidden"]
        missing = [mistake.path for mistake in mistakes if mistake.kind == "missing"]
        moves = match_keys(document, unknown, missing)
        if not moves or len(mistakes) > MAX_LINES:
            break
        for old, new in moves.items():
            slips.append(Problem(document.line_of(old), old, explain_move(old, new)))
            document.move(old, new)
    return None, [*slips, *_explain(document, mistakes)]


class _Mistake(NamedTuple):
    path: KeyPath
    kind: str
    """Pydantic's name for what is wrong."""

    context: dict[str, object]


def _place(document: Document, error: ErrorDetails) -> _Mistake:
    """Return where in the file an error is: its location without pydantic's names for parts of a union."""
    path: KeyPath = ()
    for place, key in enumerate(error["loc"], start=1):
        is_new_key = place == len(error["loc"]) and error["type"] in ("extra_forbidden", "missing")
        if is_new_key or forms_at((*path, key)) or document.find((*path, key)) is not None:
            path = (*path, key)
    kind = error["type"]
    if kind == "missing" and isinstance(path[-1], int):  # a list of fixed length, which is too short
        path, kind = path[:-1], "too_short"
    return _Mistake(path, kind, error.get("ctx", {}))


def _explain(document: Document, mistakes: list[_Mistake]) -> list[Problem]:
    """Return one problem a place, however many errors pydantic has there."""
    paths = {mistake.path for mistake in mistakes}
    above = {path[:end] for path in paths for end in range(len(path))}
    messages: dict[KeyPath, str] = {}
    for path, kind, context in sorted(mistakes, key=lambda mistake: document.line_of(mistake.path)):
        if len(messages) > MAX_LINES:  # never shown; words for all would take seconds in a large file
            messages.update({} if path in above else {path: ""})
            continue
        node = document.find(path)
        value = None if node is None else node.to_plain()
        if kind == "extra_forbidden":
            messages[path] = explain_unknown(path)
        elif kind == "missing":
            messages[path] = f"missing; add it: {describe(forms_at(path))}"
        elif kind == "value_error":
            message = str(context["error"])
            messages[path] = f"found {show(value)}; {message}" if message.startswith("allowed:") else message
        elif kind == "union_tag_invalid":
            messages[path] = explain_transform_name(value, path)
        # Pydantic also says of a wrong item that its list is none of the other things allowed there.
        elif path not in above or _has_wrong_length(value, path):
            messages[path] = explain_value(value, path)
    return [Problem(document.line_of(path), path, message) for path, message in messages.items()]


def _has_wrong_length(value: object, path: KeyPath) -> bool:
    return isinstance(value, list) and any(
        not form.get("minItems", 0) <= len(value) <= form.get("maxItems", len(value))
        for form in forms_at(path)
        if form.get("type") == "array"
    )
