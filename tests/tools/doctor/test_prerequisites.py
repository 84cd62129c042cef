"""What DVC needs before it starts a stage, and does not name when it is missing."""

import errno
import fcntl
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.imports import ROOT
from tests.images.trees import write_folder
from tools.doctor.prerequisites import check_prerequisites, describe_obstacles_of_experiments


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The committed parameters and what they name, in a Git repository without a commit."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (tmp_path / "data/weights").mkdir(parents=True)
    (tmp_path / "data/weights/none").touch()
    (tmp_path / "data/digits.zip").touch()
    (tmp_path / ".dvc").mkdir()
    git("init", "--quiet")
    return tmp_path


def git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], check=True)


def found() -> list[str]:
    return [obstacle.text for obstacle in check_prerequisites(Path(".dvc").absolute())]


def set_source(source: str) -> None:
    text = Path("params.yaml").read_text(encoding="utf-8")
    text = re.sub(r"(?m)^  source: [^#]*", lambda _: f"  source: {source} ", text)
    Path("params.yaml").write_text(text, encoding="utf-8")


def test_what_is_there_is_no_obstacle() -> None:
    """Nothing is said of dependencies that exist."""
    assert found() == []


def test_what_is_missing_is_named_with_what_to_do(project: Path) -> None:
    """Both keys, each with its path."""
    (project / "data/digits.zip").unlink()
    (project / "data/weights/none").unlink()
    source, weights = found()
    assert source.startswith("dataset.source: data/digits.zip: there is no such file or folder")
    assert source.endswith("or set dataset.source to where yours are")
    assert weights.endswith("or set network.weights_file: data/weights/none")


def test_a_frozen_stage_needs_nothing(project: Path) -> None:
    """DVC takes its outputs as they are, so its images may be elsewhere."""
    (project / "data/digits.zip").unlink()
    (project / "dvc.yaml").write_text("stages: {ingest: {cmd: x, frozen: true}}")
    assert found() == []


def test_what_dvc_tracks_comes_back(project: Path) -> None:
    """Beside its .dvc file the way back is DVC's."""
    (project / "data/digits.zip").rename(project / "data/digits.zip.dvc")
    assert found()[0].endswith("bring it back with: dvc checkout, or dvc pull")


def test_the_record_of_dvc_is_not_the_images(project: Path) -> None:
    """`dvc add` writes a .dvc file, which DVC itself refuses as a dependency without saying what to do."""
    (project / "data/digits.zip.dvc").touch()
    set_source("data/digits.zip.dvc")
    (line,) = found()
    assert line.startswith("dataset.source: data/digits.zip.dvc: is DVC's record of what was added")
    assert line.endswith("set dataset.source: data/digits.zip")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("''", 'params.yaml:6: dataset.source: found ""; allowed: text; it must not be empty'),
        ("'data/raw '", 'params.yaml:6: dataset.source: found "data/raw "; allowed: a path without spaces'),
        ("data", "params.yaml:6: dataset.source: found data, which holds data/images, an output of the"),
        ("[", "params.yaml:6: is not valid YAML"),
    ],
)
def test_a_wrong_file_is_explained(source: str, expected: str) -> None:
    """As `python -m schemas` does; DVC calls some of it an unexpected error."""
    set_source(source)
    [line] = found()
    assert line.startswith(expected)


@pytest.mark.parametrize("name", [b"caf\xe9/1.png", b"cat/caf\xe9.png"])
def test_names_that_are_not_utf8(name: bytes, project: Path) -> None:
    """As from a zip of an old Windows: DVC stops with `surrogates not allowed`."""
    write_folder(project / "data/raw", {os.fsdecode(name): b""})
    set_source("data/raw")
    [line] = found()
    assert r"caf\udce9" in line
    assert "its name is not UTF-8" in line
    assert "convmv -r -f latin1" in line


def test_no_git_at_all(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    """Git is asked for, not a repository; nothing is said of what Git alone could tell."""
    monkeypatch.setenv("PATH", "")
    assert found() == ["git: is not installed, or not on PATH; DVC needs it; install it"]
    assert list(describe_obstacles_of_experiments()) == []


def test_a_repository_of_another_user(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    """As in a container: Git refuses the repository, and `git init` would not help."""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # what Git's own tests set
    [line] = found()
    assert "belongs to another user" in line
    assert "git config --global --add safe.directory" in line


def test_a_folder_without_git(tmp_path_factory: pytest.TempPathFactory, project: Path) -> None:
    """As after the download of a zip file; --fix makes a repository, unless DVC is told to need none."""
    (project / ".git").rename(tmp_path_factory.mktemp("elsewhere") / "git")
    [obstacle] = check_prerequisites(Path(".dvc").absolute())
    assert obstacle.text.endswith("make it with: git init")
    (project / ".dvc/config.local").write_text("[core]\n    no_scm = true\n")
    assert found() == []
    (project / ".dvc/config.local").unlink()
    assert obstacle.fix is not None
    obstacle.fix()
    assert found() == []


def test_a_damaged_configuration(project: Path) -> None:
    """DVC ends in a traceback at it, without the file's name; the doctor says which, and goes on."""
    (project / ".dvc/config").write_text("[core\n")
    (project / "data/weights/none").unlink()
    config, weights = found()
    assert config.startswith(f"{project}/.dvc/config: DVC cannot read its configuration: Invalid line")
    assert weights.startswith("network.weights_file: ")


def test_a_file_system_without_locks(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC would say for ever that another dvc is at work; told to use hard links it works."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fail)
    (project / ".dvc/tmp").mkdir()
    (project / ".dvc/tmp/lock").touch()
    [obstacle] = check_prerequisites(project / ".dvc")
    assert "its file system has no locks (No locks available)" in obstacle.text
    assert obstacle.fix is not None
    obstacle.fix()
    assert found() == []
    assert not (project / ".dvc/tmp/lock").exists()


def test_a_locale_without_utf8() -> None:
    """DVC would stop at the first name beyond ASCII; the doctor itself begins again in UTF-8 mode."""
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "tools.doctor", "--inputs"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("locale: file names are not read as UTF-8")
    assert len(done.stderr.splitlines()) == 1


def test_what_copies_of_the_repository_lack(project: Path) -> None:
    """Images that Git or DVC tracks are found by `dvc exp run --temp`, others are not."""
    git("add", "data/digits.zip")
    [no_commit] = describe_obstacles_of_experiments()
    assert no_commit.startswith("git: has no commit yet, which dvc exp run needs")
    who = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    git(*who, "commit", "--quiet", "--allow-empty", "--message", "start")
    (project / "data/raw/cat").mkdir(parents=True)
    (project / "data/raw/cat/1.png").touch()
    set_source("data/raw")
    [line] = describe_obstacles_of_experiments()
    assert line.startswith("dataset.source: data/raw: is in neither Git nor DVC")
    git("add", "data/raw")
    assert list(describe_obstacles_of_experiments()) == []
    git("rm", "-r", "--quiet", "--cached", "data/raw")
    for tracked in ("data/raw.dvc", "data.dvc"):
        (project / tracked).touch()
        git("add", tracked)
        assert list(describe_obstacles_of_experiments()) == []
        git("rm", "--quiet", "--force", tracked)
    set_source("/elsewhere")
    assert list(describe_obstacles_of_experiments()) == []
