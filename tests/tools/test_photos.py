"""The command `python -m tools.photos`, which `make photos` runs before `dvc repro`."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from stages.params.read import read_params
from stages.shared.errors import InputError
from tests.architecture.imports import ROOT
from tools.photos import main


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder: a repository with a committed params.yaml; weights are always there."""
    root = tmp_path / "project"
    (root / ".dvc").mkdir(parents=True)
    for name in ("params.yaml", "recipes"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, root / name)
    (root / "data" / "raw").mkdir(parents=True)
    for name in ("DVC_ROOT", "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(root)
    for command in (
        "init -q",
        "add params.yaml",
        "-c user.name=T -c user.email=t@example.org commit -qm start",
    ):
        subprocess.run(["git", *command.split()], check=True)
    monkeypatch.setattr("stages.vision.networks.fetch_weights", lambda *chosen, **image: None)
    return root


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """Run the command."""
    monkeypatch.setattr("sys.argv", ["photos", *arguments])
    main()


def edit(old: str, new: str) -> None:
    """Change params.yaml as a user would."""
    text = Path("params.yaml").read_text(encoding="utf-8")
    assert old in text
    Path("params.yaml").write_text(text.replace(old, new), encoding="utf-8")


def read() -> str:
    """Return params.yaml, comments directly behind their values."""
    return re.sub(r"(?<=\S) +# ", " # ", Path("params.yaml").read_text(encoding="utf-8"))


def test_a_committed_file_becomes_the_recipe(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the recipe is changed but the source, and the path of the schema."""
    (project / "images").mkdir()
    run(monkeypatch, "images")
    recipe = Path("recipes/photos.yaml").read_text(encoding="utf-8")
    assert read() == recipe.replace("source: data/raw", "source: images", 1).replace(
        "=../schemas", "=schemas"
    )


@pytest.mark.usefixtures("project")
def test_changes_that_git_does_not_have_are_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says how to keep them and how to give them up; the file stays as it is."""
    edit("seed: 0", "seed: 7")
    before = Path("params.yaml").read_bytes()
    with pytest.raises(InputError, match=r"changes that Git does not have.*git commit.*git checkout"):
        run(monkeypatch, "data/raw")
    assert Path("params.yaml").read_bytes() == before


def test_a_second_time_all_edits_stay(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the same source nothing changes; with another one, that line alone."""
    run(monkeypatch, "data/raw")
    edit("num_epochs: ", "num_epochs: 1")
    edited = Path("params.yaml").read_text(encoding="utf-8")
    run(monkeypatch, "data/raw/")
    assert Path("params.yaml").read_text(encoding="utf-8") == edited
    assert "kept as it is" in capsys.readouterr().out
    (project / "more").mkdir()
    run(monkeypatch, "more")
    assert read() == edited.replace("source: data/raw", "source: more")


@pytest.mark.usefixtures("project")
def test_mistakes_of_the_user_are_named_and_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong edit of what came from the recipe gets its line, as from every stage."""
    run(monkeypatch, "data/raw")
    edit("num_epochs: ", "num_epochs: many")
    before = Path("params.yaml").read_bytes()
    with pytest.raises(InputError, match=r"^params.yaml:\d+: training.num_epochs: found \"many"):
        run(monkeypatch, "data/raw")
    assert Path("params.yaml").read_bytes() == before


@pytest.mark.parametrize(
    "name", ["my photos", "it's # 1", "Bäume: Äste", "a" * 90 + " " + "b" * 90, "-x", "007"]
)
def test_any_name_of_a_folder_arrives(name: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """YAML has a meaning for many signs; the stage reads the name that was given."""
    (project / name).mkdir()
    run(monkeypatch, name)
    assert read_params().dataset.source == name


def test_inside_the_project_the_path_is_relative(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a clone elsewhere finds it; a path outside stays as it was given."""
    run(monkeypatch, str(project / "data" / "raw"))
    assert read_params().dataset.source == "data/raw"
    outside = project.parent / "photos"
    outside.mkdir()
    run(monkeypatch, str(outside))
    assert read_params().dataset.source == str(outside)


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], r"^SOURCE: name a folder of class folders.*make photos SOURCE=path/to/folder$"),
        ([" "], r"^SOURCE: name a folder"),
        (["my", "photos"], r"^SOURCE: found 2 paths; allowed: one; put quotes"),
        (["nowhere"], r"^SOURCE: nowhere: there is no such folder or archive"),
        (["."], r"^params.yaml:\d+: dataset.source: found \., which holds data/images"),
        (["data/model"], r"^params.yaml:\d+: dataset.source: found data/model, which is data/model"),
    ],
)
def test_a_source_that_cannot_be_is_refused(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line, and params.yaml is as it was."""
    Path("data/model").mkdir()
    before = Path("params.yaml").read_bytes()
    with pytest.raises(InputError, match=message) as refusal:
        run(monkeypatch, *arguments)
    assert "\n" not in str(refusal.value)
    assert Path("params.yaml").read_bytes() == before
