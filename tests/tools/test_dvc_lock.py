"""Reading dvc.lock, and naming folders as DVC does."""

from pathlib import Path

import pytest

from stages.shared.errors import InputError
from tools.dvc_lock import describe_folder, parse_yaml, read_lock


@pytest.mark.parametrize(
    "text",
    [
        "",
        "stages:",
        "stages: [train]",
        "stages: {train: }",
        "stages: {train: {deps: }}",
        "stages: {train: {outs: [data/model]}}",
        "stages: {train: {outs: [{path: data/model}]}}",
        "stages: {train: {outs: [{path: data/model, md5: 1}]}}",
        "stages: {train: {params: {params.yaml: }}}",
        "<<<<<<< HEAD\nstages: {}\n=======\nstages: {}\n>>>>>>> other",
    ],
)
def test_a_damaged_lock_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """As after a merge, in one line that says how to get it back."""
    monkeypatch.chdir(tmp_path)
    Path("dvc.lock").write_text(text)
    with pytest.raises(
        InputError, match=r"^dvc\.lock: is damaged; bring it back with: git checkout dvc\.lock$"
    ):
        read_lock()


def test_the_committed_lock_is_read() -> None:
    """Every stage with its parameters, dependencies and outputs."""
    stages = read_lock()
    assert stages.keys() >= {"prepare-dataset", "train", "evaluate"}
    assert all(stage.keys() >= {"params", "deps", "outs"} for stage in stages.values())


def test_values_are_those_dvc_reads() -> None:
    """YAML 1.2: `off` is a string and 1e3 a number, unlike in PyYAML."""
    assert parse_yaml("compile: off\nlr: 1e3") == {"compile": "off", "lr": 1000.0}


def test_a_folder_is_what_dvc_sees_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC names images without files of a Git repository among them, and without what .dvcignore names."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "raw"
    (folder / "cat").mkdir(parents=True)
    (folder / "cat" / "1.png").write_bytes(b"a cat")
    name, listed = describe_folder(folder)
    # As `dvc add` named this very folder.
    assert name == "bd65c196c9eb82b1d7eac99a6411dd1f.dir"
    (tmp_path / ".dvcignore").write_text("__pycache__\nThumbs.db\n")
    for unseen in (".git/HEAD", "cat/.git", "cat/__pycache__/1.png", "cat/Thumbs.db"):
        (folder / unseen).parent.mkdir(exist_ok=True)
        (folder / unseen).touch()
    assert describe_folder(folder) == (name, listed)
