"""The command `python -m schemas`."""

import subprocess
import sys
from pathlib import Path

import pytest

from schemas import __main__ as command
from schemas.__main__ import format_yaml
from schemas.params import Params
from stages.params.document import parse_yaml
from stages.params.read import read_params
from stages.shared.errors import InputError
from tests.params.wrong_params import ROOT, good_params


def run(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the command in this process."""
    monkeypatch.setattr(sys, "argv", ["schemas", *arguments])
    command.main()


def test_effective_parameters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A good file comes out as YAML: what is in use, torchvision's defaults spelled out."""
    data = good_params()
    data["transforms"].insert(0, "RandomHorizontalFlip")
    data["optimizer"]["name"] = "sgd"
    path = tmp_path / "params.yaml"
    path.write_text(format_yaml(data))
    run(str(path), monkeypatch=monkeypatch)
    printed = capsys.readouterr().out
    assert printed.startswith(f"# {path} is valid\n\ndataset:\n")
    assert "\n  - RandomHorizontalFlip: {p: 0.5}\n" in printed
    assert "\n  sgd:\n    momentum: 0.9\n" in printed
    assert "adam:" not in printed
    assert "adamw:" not in printed


def test_all_parameters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --all the blocks that are not in use come too, and are marked."""
    data = good_params()
    data["optimizer"]["name"] = "sgd"
    path = tmp_path / "params.yaml"
    path.write_text(format_yaml(data))
    run(str(path), "--all", monkeypatch=monkeypatch)
    printed = capsys.readouterr().out
    assert "\n  adam: # unused: optimizer.name is sgd\n    betas: [0.9, 0.999]\n" in printed
    assert "\n  adamw: # unused: optimizer.name is sgd\n" in printed
    assert parse_yaml(printed).data == Params.model_validate(data).model_dump(mode="json")


def test_printed_parameters_are_a_good_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is printed for the committed file, read again, means the same."""
    run(str(ROOT / "params.yaml"), "--all", monkeypatch=monkeypatch)
    (tmp_path / "printed.yaml").write_text(capsys.readouterr().out)
    assert read_params(tmp_path / "printed.yaml") == read_params(ROOT / "params.yaml")


def test_order_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sections and keys come out as they stand in the file, to be read side by side."""
    data = good_params()
    shuffled = {
        key: dict(reversed(value.items())) if isinstance(value, dict) else value
        for key, value in reversed(data.items())
    }
    (tmp_path / "params.yaml").write_text(format_yaml(shuffled))
    run(str(tmp_path / "params.yaml"), "--all", monkeypatch=monkeypatch)
    printed = parse_yaml(capsys.readouterr().out).data
    assert list(printed) == list(shuffled)
    assert list(printed["optimizer"]) == list(shuffled["optimizer"])


def test_wrong_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong file raises what run_stage prints."""
    (tmp_path / "params.yaml").write_text("a: 1")
    with pytest.raises(InputError, match=r"params\.yaml:1: a: unknown key"):
        run(str(tmp_path / "params.yaml"), monkeypatch=monkeypatch)


def test_write_json_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The JSON Schema is written where line 1 of params.yaml says, and nothing is printed or checked."""
    monkeypatch.setattr(command, "JSON_SCHEMA", tmp_path / "params.schema.json")
    run("--write-json-schema", "no-such-file", monkeypatch=monkeypatch)
    assert (tmp_path / "params.schema.json").read_text() == command.format_json_schema()


def test_in_the_shell(tmp_path: Path) -> None:
    """Without a file it checks params.yaml in the working folder; a missing one is one line and status 1."""
    result = subprocess.run(
        [sys.executable, "-m", "schemas"],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (1, "")
    assert (
        result.stderr
        == "params.yaml: there is no such file; run from the folder that holds it, or give its path\n"
    )
