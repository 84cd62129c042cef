"""Reading params.yaml: every mistake in it at once, each in one line, before anything else is done."""

from pathlib import Path

from schemas.params import Params, find_conflicts
from stages.params.document import Document, Problem, format_problems, read_document
from stages.params.messages import Mistake, explain, explain_unknown, find_mistakes, match_keys
from stages.params.model_names import find_unknown_names
from stages.shared.errors import InputError

_MAX_ROUNDS = 5
"""A typo in a section's name hides those below it; levels are few."""


def read_params(path: str | Path = "params.yaml") -> Params:
    """Read a parameter file and check all of it.

    Raises:
        InputError: One line for each thing that is wrong, in the order of the file, as in
            `params.yaml:31: loss.gama: unknown key; did you mean loss.gamma?`
    """
    params, problems = check_params(read_document(path))
    if params is None:
        raise InputError(format_problems(path, problems))
    return params


def check_params(document: Document) -> tuple[Params | None, list[Problem]]:
    """Check a document; return the parameters, or None and all that is wrong, what its reader found included.

    A misspelt key gets its right name in the document, so that what it holds is checked too.
    """
    problems = list(document.problems)
    if document.data is None and problems:
        return None, problems
    mistakes: list[Mistake] = []
    for _ in range(_MAX_ROUNDS):
        mistakes = find_mistakes(document.data)
        missing = {mistake.path for mistake in mistakes if mistake.kind == "missing"}
        meant = {old: new[0] for old, new in match_keys(mistakes).items() if len(new) == 1}
        typos = {old: new for old, new in meant.items() if new in missing and new[:-1] == old[:-1]}
        for old, new in typos.items():
            problems.append(Problem(document.line_of(old), old, explain_unknown(old, [new])))
            document.rename(old, new)
        if not typos:
            break
    problems += explain(document, mistakes)
    if mistakes:
        return None, problems
    params = Params.model_validate(document.data)
    conflicts = [
        (tuple(int(key) if key.isdigit() else key for key in conflict.key.split(".")), conflict.message)
        for conflict in find_conflicts(params)
    ]
    for path, message in (*conflicts, *find_unknown_names(params)):
        problems.append(Problem(document.line_of(path), path, message))
    return None if problems else params, problems
