"""Parameters, code and data that change while a stage runs; what changes between runs reuses no state."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.vision.runtime import Numerics
from stages.params.read import read_params
from stages.shared import inputs
from stages.shared.errors import InputError
from stages.shared.files import sha256_of
from stages.shared.inputs import NEUTRAL, StageInputs, leaves, record_inputs
from stages.shared.paths import PREPARED
from stages.train.outputs import RunRecord
from tests.faults.tally import Tally

STAGES = ("ingest", "prepare-dataset", "train", "evaluate", "export")
_OTHER = {True: False, False: True}


def edit_while_running(project: Path, *, count: int, seed: int) -> Tally:
    """Change something between the start of a stage and its publishing, each time something else.

    Args:
        project: In which all stages ran; it is left as it was. The current folder, and where code is.
        count: How often.
        seed: Of what is changed, and how.
    """
    generator = random.Random(seed)
    tally = Tally("edits while a stage runs")
    with _code_of(project):
        description = yaml.safe_load((project / "dvc.yaml").read_text())["stages"]
        for number in range(count):
            stage = STAGES[number % len(STAGES)]
            taken = record_inputs(stage, read_params(), read_params)
            kind = ("params", "code", "data")[number // len(STAGES) % 3]
            undo, what = _edit(kind, taken, description[stage], generator)
            try:
                taken.check_unchanged()
            except InputError:
                tally.count(True, what)
            else:
                tally.count(False, f"{stage} published after {what}")
            undo()
    return tally


def change_every_input(project: Path) -> Tally:
    """Change each parameter and each code file that train depends on: its saved state must not be found."""
    tally = Tally("reuse of a state")
    with _code_of(project):
        params = read_params()
        taken = record_inputs("train", params, read_params)
        before = _key_of(taken)
        document = params.model_dump(mode="json")
        for section in taken.sections:
            for key, value in leaves(section, document[section]):
                changed = StageInputs(**{**vars(taken), "values": {**taken.values, key: _other(value)}})
                is_other = _key_of(changed) != before
                tally.count(is_other == (key not in NEUTRAL), f"{key} may change, or must not matter")
        for name in taken.code:
            path = project / name
            whole = path.read_bytes()
            path.write_bytes(whole + b"\n")
            tally.count(_key_of(record_inputs("train", params, read_params)) != before, f"{name} may change")
            path.write_bytes(whole)
        manifest = project / "data/prepared/manifest.json"
        whole = manifest.read_bytes()
        for place in range(0, len(whole), max(1, len(whole) // 200)):
            manifest.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            tally.count(_key_of(taken) != before, f"byte {place} of the manifest may change")
        manifest.write_bytes(whole)
        tally.count(
            _key_of(record_inputs("train", params, read_params)) == before, "the same inputs are others"
        )
    return tally


def _key_of(taken: StageInputs) -> str:
    record = RunRecord(
        inputs=taken.describe(data_sha256=sha256_of(PREPARED / "manifest.json")),
        pretrained_weights=None,
        libraries={},
        device="cpu",
        machine={},
        numerics=Numerics(threads=1, precision="float32"),
        is_compiled=False,
    )
    return record.key


def _other(value: object) -> object:
    if isinstance(value, bool):
        return _OTHER[value]
    if isinstance(value, int | float):
        return value + 1
    return f"{value} otherwise"


def _edit(
    kind: str, taken: StageInputs, description: dict[str, Any], generator: random.Random
) -> tuple[Callable[[], object], str]:
    """Change something of a kind that a stage depends on; return what puts it back, and what it was."""
    if kind == "params":
        return _edit_params(taken, generator)
    if kind == "code":
        path = inputs.CODE_ROOT / generator.choice(sorted(taken.code))
    else:
        files = [
            file for folder in taken.data_paths for file in (folder, *folder.rglob("*")) if file.is_file()
        ]
        path = generator.choice(sorted(files))
    whole = path.read_bytes()
    status = path.stat()
    way = generator.choice(("append", "flip", "delete", "replace"))
    if way == "append" or not whole:
        with path.open("ab") as file:
            file.write(b"\n")
    elif way == "flip":
        place = generator.randrange(len(whole))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    else:
        path.unlink()
        if way == "replace":
            path.write_bytes(whole + b" ")

    def undo() -> None:
        path.unlink(missing_ok=True)
        path.write_bytes(whole)
        path.chmod(status.st_mode)

    return undo, f"{way} of {path.name}"


def _edit_params(taken: StageInputs, generator: random.Random) -> tuple[Callable[[], object], str]:
    """Write another number for one of the stage's parameters, or one that is none."""
    path = Path("params.yaml")
    text = path.read_text()
    numbers = [
        key for key, value in taken.values.items() if type(value) in (int, float) and text.count(f"{value}")
    ]
    key = generator.choice(numbers)
    document = yaml.safe_load(text)
    *sections, name = key.split(".")
    section = document
    for part in sections:
        section = section[part]
    section[name] = generator.choice((section[name] + 1, "nonsense"))
    path.write_text(yaml.safe_dump(document))
    return lambda: path.write_text(text), f"{key}: {section[name]}"


class _code_of:  # noqa: N801, read as a word of the with statement
    """Have the stages take a project's own code for the running one."""

    def __init__(self, project: Path) -> None:
        self._project = project
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> None:
        self._patch.chdir(self._project)
        self._patch.setattr(inputs, "CODE_ROOT", self._project)
        for compiled in self._project.rglob("__pycache__"):
            shutil.rmtree(compiled, ignore_errors=True)

    def __exit__(self, *error: object) -> None:
        self._patch.undo()
