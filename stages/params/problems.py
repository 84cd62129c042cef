"""What is wrong with a file a person wrote, and how it is told: one line each, in the order of the file."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from stages.shared.text import printable

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys and list places that lead to a value; empty for the file as a whole."""

MAX_LINES = 50


class Problem(NamedTuple):
    """One thing that is wrong."""

    line: int
    """Counted from 1."""

    path: KeyPath
    message: str


def format_problems(file: str | Path, problems: Sequence[Problem]) -> str:
    """Return lines like `params.yaml:31: loss.gama: unknown key; did you mean loss.gamma?`."""
    name = shorten(str(file), limit=200)
    lines = [
        f"{name}:{line}: {f'{format_path(path)}: ' if path else ''}{message}"
        for line, path, message in sorted(problems, key=lambda problem: problem.line)
    ]
    # A list of a thousand bad weights is one mistake, not a thousand lines.
    if len(lines) > MAX_LINES:
        lines[MAX_LINES - 1 :] = [f"{name}: and {len(lines) - MAX_LINES + 1} more"]
    return "\n".join(lines)


def format_path(path: KeyPath) -> str:
    """Return the dotted key, as `dvc exp run -S` takes it: `transforms.0.RandomCrop.padding`."""
    return ".".join(shorten(str(key), limit=40) for key in path)


def shorten(text: str, *, limit: int = 60) -> str:
    """Return text on one line, control characters as escapes, with at most limit characters."""
    # What lies beyond the limit is not shown; leaving it out first spares escaping a megabyte.
    escaped = printable(text[: limit + 1])
    return escaped if len(escaped) <= limit else escaped[: limit - 3] + "..."
