"""What was measured once on this machine and holds for every run after it, so that runs repeat."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from filelock import FileLock

from stages.shared.files import write_text
from stages.shared.inputs import hash_json


def recall(memory: Path, question: Mapping[str, object], *, measure: Callable[[], str]) -> str:
    """Return the answer to a question that was asked before, or measure it now and remember it.

    A measurement can go either way where both ways are about as fast. So of two runs that ask at once, as
    queue workers do, the second waits for what the first finds: they would also slow each other down.

    Args:
        memory: The JSON file that remembers.
        question: All that the answer depends on, as plain values.
        measure: Finds the answer out, a word.
    """
    key = hash_json(dict(question))
    memory.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(memory.with_suffix(".lock")):
        known = _read(memory)
        if key not in known:
            known[key] = measure()
            write_text(memory, _format(known))
        return known[key]


def _read(memory: Path) -> dict[str, str]:
    """Return what was measured before; nothing if there is nothing, or it is damaged."""
    try:
        data = memory.read_bytes()
        known: dict[str, str] = json.loads(data)["answers"]
        return known if _format(known).encode() == data else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _format(known: Mapping[str, str]) -> str:
    return json.dumps({"answers": known, "sha256": hash_json(known)}, indent=1)
