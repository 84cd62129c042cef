"""What was measured once on this machine and holds for every run after it, so that runs repeat."""

from collections.abc import Callable, Mapping
from pathlib import Path

from filelock import FileLock

from schemas.train.measured import Measured
from stages.shared.errors import InputError
from stages.shared.files import read_sealed_json, write_sealed_json
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
            write_sealed_json(memory, Measured(answers=known))
        return known[key]


def _read(memory: Path) -> dict[str, str]:
    """Return what was measured before; nothing if there is nothing, or it is damaged."""
    try:
        return dict(read_sealed_json(memory, Measured, made_by="dvc repro").answers)
    except InputError:
        return {}
