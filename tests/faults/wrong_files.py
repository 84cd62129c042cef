"""Wrong parameter files: refused by the stages themselves, soon, with the key's name, and nothing touched."""

import hashlib
import random
import subprocess
import sys
import time
from pathlib import Path

from stages.params.problems import format_path
from stages.params.yaml12 import parse_yaml
from tests.faults.tally import Tally
from tests.params.test_read import problems_of
from tests.params.wrong_params import walk_keys, write_with, wrong_values

MAX_SECONDS = 2.0
_STAGES = ("prepare_dataset", "train", "evaluate")


def give_wrong_files(project: Path, *, count: int, seed: int) -> Tally:
    """Run the stages on wrong files, each as a process of its own.

    Args:
        project: In which all stages ran; its params.yaml is put back.
        count: How many files.
        seed: Of which.
    """
    tally = Tally("wrong parameter files")
    path = project / "params.yaml"
    good = path.read_bytes()
    before = _hash_outputs(project)
    cases = random.Random(seed).sample(list(wrong_values()), count)
    slowest = 0.0
    for number, (key, raw) in enumerate(cases):
        path.write_text(write_with(key, raw), encoding="utf-8")
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", f"stages.{_STAGES[number % len(_STAGES)]}"],
            cwd=project,
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - start
        slowest = max(slowest, seconds)
        named = format_path(key[:-1] if key[-1] in ("RandomCrop", "Normalize") else key)
        is_right = (
            done.returncode == 1
            and named in done.stderr
            and "Traceback" not in done.stderr
            and seconds < MAX_SECONDS
            and _hash_outputs(project) == before
        )
        tally.count(
            is_right, f"{format_path(key)}: {raw}: {done.returncode}, {seconds:.1f} s, {done.stderr[:200]}"
        )
    path.write_bytes(good)
    tally.note = f"slowest {slowest:.2f} s"
    return tally


def misspell_every_key(*, seed: int) -> Tally:
    """Make a one-letter slip in every key there is; the key that was meant must be suggested."""
    generator = random.Random(seed)
    tally = Tally("one-letter slips in keys")
    text = write_with(("training", "num_epochs"), "3")
    for key in walk_keys():
        name = key[-1]
        assert isinstance(name, str)
        if len(name) < 3 or key[-1] in ("RandomCrop", "Normalize"):
            continue
        place = generator.randrange(len(name) - 1)
        letter = generator.choice("abcdefghijklmnopqrstuvwxyz")
        slip = generator.choice(
            (
                name[:place] + name[place + 1 :],
                name[:place] + letter + name[place:],
                name[:place] + letter + name[place + 1 :],
                name[:place] + name[place + 1] + name[place] + name[place + 2 :],
            )
        )
        problems = problems_of(parse_yaml(_rename(text, key, slip)))
        is_right = slip == name or any(
            f"did you mean {format_path(key)}?" in line.message for line in problems
        )
        tally.count(is_right, f"{format_path(key)} as {slip}: {[line.message for line in problems]}")
    return tally


def _rename(text: str, key: tuple[str | int, ...], slip: str) -> str:
    from stages.params.yaml12_scalars import format_yaml
    from tests.params.wrong_params import good_params, value_at

    data = good_params()
    section = value_at(data, key[:-1])
    items = [(slip if name == key[-1] else name, value) for name, value in section.items()]
    section.clear()
    section.update(items)
    return format_yaml(data)


def _hash_outputs(project: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((project / "data").rglob("*"))
        if path.is_file()
    }
