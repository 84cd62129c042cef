"""A stage refuses to publish beside inputs that did not make its result."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.params import Params
from stages.params.read import read_params
from stages.shared import inputs
from stages.shared.errors import InputError
from stages.shared.inputs import NEUTRAL, StageInputs, flatten, hash_json, leaves, record_inputs
from tests.train.project import make_project, write_params
from tests.vision.completeness import read_params_file

STAGES = ("ingest", "prepare-dataset", "train", "evaluate", "export")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prepared data set, parameters, a folder of images, and a copy of the code, which is what runs."""
    make_project(tmp_path, monkeypatch)
    for name in ("stages", "schemas"):
        shutil.copytree(inputs.CODE_ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.pyc"))
    shutil.copy(inputs.CODE_ROOT / "dvc.yaml", tmp_path)
    monkeypatch.setattr(inputs, "CODE_ROOT", tmp_path)
    for label in ("cat", "dog"):
        (tmp_path / "data/raw" / label).mkdir(parents=True)
        (tmp_path / f"data/raw/{label}/1.png").write_bytes(b"pixels")
    (tmp_path / "data/model").mkdir()
    (tmp_path / "data/model/best.safetensors").write_bytes(b"weights")
    write_params(tmp_path, dataset__source="data/raw")
    return tmp_path


def take(stage: str) -> StageInputs:
    return record_inputs(stage, read_params(), read_params)


def refusal(taken: StageInputs) -> str:
    """Return what a stage says that was started on something else than is there now."""
    with pytest.raises(InputError) as caught:
        taken.check_unchanged()
    return str(caught.value)


def append(path: str) -> None:
    with Path(path).open("a") as file:
        file.write("\n")


EDITS: list[tuple[str, Callable[[], Any], str]] = [
    ("train", lambda: append("stages/train/loop.py"), "stages/train/loop.py: changed while"),
    (
        "train",
        lambda: append("stages/vision/networks/new.py"),
        "networks/new.py: was added while",
    ),
    ("train", lambda: Path("schemas/train/loss.py").unlink(), "schemas/train/loss.py: was deleted while"),
    (
        "evaluate",
        lambda: append("stages/evaluate/report/summary.py"),
        "report/summary.py: changed while",
    ),
    ("train", lambda: append("data/prepared/labels.npy"), "data/prepared/labels.npy: changed while"),
    (
        "prepare-dataset",
        lambda: append("data/images/table.safetensors"),
        "data/images/table.safetensors: changed",
    ),
    ("evaluate", lambda: append("data/model/best.safetensors"), "data/model/best.safetensors: changed while"),
    ("ingest", lambda: append("data/raw/cat/1.png"), "data/raw/cat/1.png: changed while"),
    ("ingest", lambda: append("data/raw/cat/2.png"), "data/raw/cat/2.png: changed while"),
    ("ingest", lambda: Path("data/raw/dog/1.png").unlink(), "data/raw/dog: changed while"),
    ("ingest", lambda: shutil.rmtree("data/raw"), "data/raw/cat: was deleted while"),
    ("ingest", lambda: Path("data/raw/emu").mkdir(), "data/raw/emu: was added while"),
    ("train", lambda: Path("params.yaml").unlink(), "params.yaml: "),
    ("train", lambda: Path("params.yaml").write_text("- nonsense"), "; that changed while"),
]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(("stage", "edit", "message"), EDITS, ids=[edit[2] for edit in EDITS])
def test_an_edit_while_a_stage_runs_is_named(stage: str, edit: Callable[[], Any], message: str) -> None:
    """Whatever changes of code, data and parameters is refused, and the file is named."""
    taken = take(stage)
    edit()
    assert message in refusal(taken)


def other_value(value: object) -> object:
    """Return something else, which need not be allowed."""
    return not value if isinstance(value, bool) else f"not {value}"


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("stage", STAGES)
def test_every_parameter_counts(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each value of the stage's sections is compared by its key, and is a part of what a state belongs to."""
    taken = take(stage)
    document = read_params_file()
    assert taken.values.keys() == {
        key for section in taken.sections for key, _ in leaves(section, document[section])
    }
    recorded = taken.describe(data_sha256="0" * 64)
    for key, value in taken.values.items():
        changed = {**taken.values, key: other_value(value)}
        assert hash_json(changed) != hash_json(dict(taken.values))
        monkeypatch.setattr(inputs, "flatten", lambda *_, changed=changed, **__: changed)
        assert refusal(taken).startswith(f"params.yaml: {key}: was ")
        other = StageInputs(**{**vars(taken), "values": changed}).describe(data_sha256="0" * 64)
        assert (other == recorded) == (key in NEUTRAL)


def test_a_comment_changes_nothing(project: Path) -> None:
    """What DVC does not see is no change: a comment, compiled Python, another link to a data file."""
    taken = take("train")
    before = taken.describe(data_sha256="0" * 64)
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(f"# A comment.\n{text}")
    (project / "stages/train/__pycache__").mkdir(exist_ok=True)
    (project / "stages/train/__pycache__/loop.cpython-299.pyc").touch()
    os.link(project / "data/prepared/labels.npy", project / "data/link.npy")
    taken.check_unchanged()
    assert take("train").describe(data_sha256="0" * 64) == before


def test_records_hold_no_paths(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same inputs in another folder have the same record."""
    before = take("train").describe(data_sha256="0" * 64)
    shutil.copytree(project, tmp_path / "else where", ignore=shutil.ignore_patterns("else where"))
    monkeypatch.chdir(tmp_path / "else where")
    monkeypatch.setattr(inputs, "CODE_ROOT", tmp_path / "else where")
    assert take("train").describe(data_sha256="0" * 64) == before


@pytest.mark.usefixtures("project")
def test_many_changes_are_cut_short() -> None:
    """Ten lines, how many more there are, and what to do."""
    taken = take("ingest")
    for number in range(30):
        Path(f"data/raw/{number}").mkdir()
    lines = refusal(taken).splitlines()
    assert len(lines) == 12
    assert lines[-2] == "20 more"
    assert lines[-1].startswith("nothing was published: ")


@pytest.mark.usefixtures("project")
def test_changed_parameters_may_be_set_back() -> None:
    """Beside running again there is the result of this run; and what lets two run side by side is named."""
    taken = take("train")
    document = json.loads(Path("params.yaml").read_text())
    lr = document["optimizer"]["lr"]
    document["optimizer"]["lr"], document["loss"]["class_weights"] = 0.5, "balanced"
    Path("params.yaml").write_text(json.dumps(document))
    *_, again, back, beside = refusal(taken).splitlines()
    assert again.endswith("; run it again")
    assert f"set loss.class_weights back to null, optimizer.lr back to {lr} and run the same command" in back
    assert "--temp" in beside


def test_neutral_parameters_exist() -> None:
    """Every parameter that changes no result is one that there is."""
    params = Params.model_validate(read_params_file())
    assert set(flatten(params, sections=tuple(Params.model_fields))) >= NEUTRAL
