"""A stage ends with status 0, or with lines a person can act on; a bug keeps its traceback."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.shared import errors
from stages.shared.errors import InputError, describe_error, find_builder, run_stage
from stages.shared.stopping import Stopped
from tests.architecture.imports import ROOT


def raiser(error: BaseException) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


def outcome(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    """Return exit status and what stderr says."""
    with pytest.raises(SystemExit) as stopped:
        run_stage(raiser(error))
    return stopped.value.code, capsys.readouterr().err


@pytest.fixture(autouse=True)
def _without_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_ROOT", raising=False)


@pytest.mark.parametrize(
    "error", [MemoryError(), ImportError("libc.so.6: failed to map segment from shared object")]
)
def test_lack_of_memory(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    """It is the machine's, and ends in one line."""
    status, printed = outcome(error, capsys)
    assert status == 1
    assert printed.startswith("there is too little memory")
    assert printed.count("\n") == 1


def test_success() -> None:
    """A stage that returns, returns."""
    done = []
    run_stage(lambda: done.append(1))
    assert done == [1]


@pytest.mark.parametrize("stage", ["ingest", "prepare_dataset", "train", "evaluate"])
def test_a_stage_explains_itself_and_takes_no_arguments(stage: str, tmp_path: Path) -> None:
    """--help says what it does and that `dvc repro` runs it; anything else is one line; neither runs it."""

    def call(argument: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", f"stages.{stage}", argument],
            cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    name = stage.replace("_", "-")
    status, printed, error = call("--help")
    assert (status, error) == (0, "")
    assert printed.startswith(f"{name}: ")
    assert "`dvc repro` runs it" in printed
    status, printed, error = call("--epochs=3")
    assert (status, printed, error.count("\n")) == (2, "", 1)
    assert error.startswith(f"{name}: found --epochs=3; allowed: no arguments")


def test_input_error(capsys: pytest.CaptureFixture[str]) -> None:
    """The message is all that is printed, every line of it."""
    assert outcome(InputError("a.yaml:1: wrong\na.yaml:2: wrong"), capsys) == (
        1,
        "a.yaml:1: wrong\na.yaml:2: wrong\n",
    )


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FileNotFoundError(2, "No such file or directory", "a.txt"), "a.txt: No such file or directory"),
        (PermissionError(13, "Permission denied", "new\nline"), "new\\nline: Permission denied"),
        (PermissionError(13, "Permission denied", "caf\udce9"), "caf\\udce9: Permission denied"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("odd"), "odd"),
        (OSError(19, "No such device"), f"No such device{errors._CANNOT_MAP}"),
        (OSError("No such device (os error 19)"), f"No such device (os error 19){errors._CANNOT_MAP}"),
        (OSError(), "OSError"),
    ],
)
def test_refusal_of_the_operating_system(
    error: OSError, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full disk or a missing permission is one line, with the file where there is one."""
    assert outcome(error, capsys) == (1, f"{line}\n")


def test_below_dvc(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """DVC has removed the outputs before the stage began; if there was a good run, the way back is told."""
    monkeypatch.setenv("DVC_ROOT", "/project")
    monkeypatch.chdir(tmp_path)
    assert outcome(InputError("wrong"), capsys) == (1, "wrong\n")
    (tmp_path / "dvc.lock").touch()
    status, text = outcome(InputError("wrong"), capsys)
    assert status == 1
    assert text.splitlines() == ["wrong", "dvc checkout brings back the outputs of the last good run"]


def test_stopping(capsys: pytest.CaptureFixture[str]) -> None:
    """A stage that was stopped says so in its own words, with a status of its own."""
    assert outcome(Stopped("stopped after step 3"), capsys) == (75, "stopped after step 3\n")


@pytest.mark.parametrize("error", [ValueError("bug"), AssertionError("bug"), KeyError("bug")])
def test_bugs_keep_their_traceback(error: Exception) -> None:
    """What is not the user's fault is raised as it is."""
    with pytest.raises(type(error)):
        run_stage(raiser(error))


def test_names_that_the_terminal_cannot_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class called café is printed as an escape where the terminal knows ASCII only; nothing breaks."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    run_stage(lambda: print("café", flush=True))
    assert raw.getvalue() == b"caf\\xe9\n"


def test_in_a_process(tmp_path: Path) -> None:
    """Seen from outside: status 1, one line on stderr, no traceback."""
    code = "from stages.shared.errors import *\ndef main(): raise InputError('wrong')\nrun_stage(main)"
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "wrong\n")


def test_names_of_files_are_utf8_in_any_locale(tmp_path: Path) -> None:
    """Python may take them for ASCII, as with LC_ALL=C and PYTHONUTF8=0; then the stage begins again."""
    (tmp_path / "naïve").touch()
    code = (
        "import os, sys; from stages.shared.errors import run_stage\n"
        "run_stage(lambda: print(os.getpid(), ascii(os.listdir('.')), sys.argv[1]))"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", code, "naïve"],
        cwd=tmp_path,
        env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
    )
    answer = started.communicate()[0].decode()
    assert answer == f"{started.pid} ['na\\xefve'] naïve\n"


def test_a_variant_without_code_is_named() -> None:
    """As when a schema has got a new optimizer, and its function is not written yet."""
    assert find_builder({"adam": 1}, "adam", key="optimizer.name", module="optimizer.py") == 1
    with pytest.raises(
        InputError, match=r"optimizer\.name: found lion, which optimizer\.py does not build yet"
    ):
        find_builder({"adam": 1}, "lion", key="optimizer.name", module="optimizer.py")


def test_what_is_quoted_of_foreign_bytes_is_short_and_escaped() -> None:
    """A library's message may quote a megabyte of a file, with escape sequences in it."""
    assert describe_error(ValueError("a\x1b[2J\nsecond line")) == "a\\x1b[2J"
    assert describe_error(KeyError()) == "KeyError"
    assert describe_error(ValueError("x" * 10**6)) == "x" * 297 + "..."
