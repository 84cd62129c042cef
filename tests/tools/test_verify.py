"""`python -m tools.verify` names what does not agree, with the real DVC."""

import shutil
from pathlib import Path

import pytest

from stages.params.read import read_params
from stages.shared.errors import InputError
from tests.faults.small_project import make_small_project
from tests.pipeline.project import Project
from tools.dvc_lock import read_lock
from tools.verify import check_artifacts, check_lock

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A small project in which all stages ran."""
    project = make_small_project(tmp_path_factory.mktemp("verify") / "project", num_epochs=2)
    project.run("dvc repro")
    return project


@pytest.fixture
def project(reproduced: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of it, which is the current folder."""
    shutil.copytree(reproduced.root, tmp_path / "copy", symlinks=True)
    monkeypatch.chdir(tmp_path / "copy")
    for name in ("DVC_ROOT", "DVC_STAGE"):
        monkeypatch.delenv(name, raising=False)
    return Project(tmp_path / "copy")


def find_problems() -> list[str]:
    return [*check_lock()[0], *check_artifacts(read_params())]


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.usefixtures("project")
def test_an_untouched_project_agrees() -> None:
    """After `dvc repro` there is nothing to say, and every output was looked at."""
    problems, num_files = check_lock()
    assert problems == []
    assert check_artifacts(read_params()) == []
    assert num_files == sum(
        path.is_file() and path.name != ".gitignore" and path.suffix not in (".zip", ".dvc", ".md", ".py")
        for path in Path("data").rglob("*")
    )


def test_a_changed_parameter_is_named(project: Project) -> None:
    """By its key, with both values, and in what was made by the other value; a comment is no change."""
    project.set("training:", "# A comment.\ntraining:")
    assert find_problems() == []
    project.set("lr: 0.004", "lr: 0.5")
    problems = find_problems()
    assert problems[0].startswith("train: optimizer.lr: dvc.lock says 0.004, params.yaml 0.5; ")
    assert any(
        problem.startswith("data/model/best.safetensors: was trained with other params")
        for problem in problems
    )


@pytest.mark.usefixtures("project")
def test_changed_code_is_named() -> None:
    """By the folder that dvc.lock knows."""
    with Path("stages/train/loop.py").open("a") as file:
        file.write("\n")
    assert find_problems() == [
        "train: stages/train: differs from dvc.lock; bring it up to date with: dvc repro"
    ]


@pytest.mark.usefixtures("project")
def test_every_damaged_output_is_named() -> None:
    """One flipped bit in any file of any output is found."""
    for path in sorted(path for path in Path("data").rglob("*") if path.suffix in KINDS):
        data = path.read_bytes()
        flip(path)
        problems = find_problems()
        assert any("differs from dvc.lock" in problem for problem in problems), path
        path.write_bytes(data)
    assert find_problems() == []


KINDS = {".npy", ".json", ".csv", ".tsv", ".safetensors", ".html"}


@pytest.mark.usefixtures("project")
def test_every_damaged_or_missing_cache_object_is_named() -> None:
    """The bytes that DVC would bring back are rehashed too."""
    objects = sorted(path for path in Path(".dvc/cache/files/md5").rglob("*") if path.is_file())
    for number, path in enumerate(objects):
        if number % 2:
            flip(path)
        else:
            path.unlink()
    lines = set(check_lock()[0])
    assert any("is damaged in the cache" in line for line in lines)
    assert any("is missing from the cache" in line for line in lines)


def remove(output: str) -> None:
    shutil.rmtree(output) if Path(output).is_dir() else Path(output).unlink()


@pytest.mark.usefixtures("project")
def test_a_missing_output_is_named() -> None:
    """Others, made from it, are checked all the same."""
    remove("data/prepared")
    problems = find_problems()
    assert "prepare-dataset: data/prepared: is missing; bring it back with: dvc checkout" in problems
    assert "data/prepared/manifest.json: there is no such file; re-create it with: dvc repro" in problems


@pytest.mark.usefixtures("project")
def test_a_new_clone_has_nothing_to_verify() -> None:
    """One line says so, rather than one for each output."""
    for entry in (entry for stage in read_lock().values() for entry in stage["outs"]):
        remove(entry["path"])
    shutil.rmtree(".dvc/cache")
    with pytest.raises(InputError, match="nothing was made here yet; make it with: dvc repro"):
        check_lock()


def test_training_again_gives_the_same_bytes(project: Project) -> None:
    """--rerun trains from the first step, elsewhere, and compares every byte of every output."""
    assert "training again gave the same bytes" in project.run("python -m tools.verify --rerun")
