"""What the doctor finds."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """Something that stands in the way of the next run."""

    text: str
    """One line: where, what was found, and what to do."""

    mend: Callable[[], None] | None = None
    """Puts it right; None if that is for a person to do."""
