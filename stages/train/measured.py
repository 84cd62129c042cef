"""What was measured once on this machine and holds for every run after it, so that runs repeat."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from stages.shared.files import write_text
from stages.shared.inputs import hash_json


def recall(memory: Path, question: Mapping[str, object], *, measure: Callable[[], str]) -> str:
    """Return the answer to a question that was asked before, or measure it now and remember it.

    A measurement can go either way where both ways are about as fast.

    Args:
        memory: The JSON file that remembers.
        question: All that the answer depends on, as plain values.
        measure: Finds the answer out, a word.
    """
    known, key = _read(memory), hash_json(dict(question))
    if key not in known:
        known[key] = measure()
        write_text(memory, json.dumps(known, indent=1))
    return known[key]


def _read(memory: Path) -> dict[str, str]:
    """Return what was measured before; nothing if there is nothing, or it is damaged."""
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
