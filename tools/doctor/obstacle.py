"""The one kind of thing that every check of the doctor yields."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Obstacle:
    """Something that stands in the way of the next run."""

    text: str
    """One line: where, what was found, and what to do."""

    fix: Callable[[], None] | None = None
    """Removes it, or raises InputError or OSError; None if only the user can."""
