"""A stage sees the files that DVC sees."""

from pathlib import Path

import pytest
from dvc.fs import localfs
from dvc.ignore import DvcIgnoreFilter

from stages.shared.inputs import look_at
from stages.shared.paths import walk_seen_by_dvc

FILES = (
    ".DS_Store",
    ".git/config",
    ".hidden",
    "cat/1.png",
    "cat/Thumbs.db",
    "cat/notes.txt",
    "cat/keep.txt",
    "cat/deep/1.png",
    "cat/deep/2.png",
    "cat/[1].png",
    "dog/1.png",
    "dog/10.png",
    "dog/old/1.png",
    "dog/old/2.png",
    "old",
)
PATTERNS = {
    "nothing": "",
    "names": "Thumbs.db\n.DS_Store\n",
    "a suffix, with an exception": "*.txt\n!keep.txt\n",
    "the last one counts": "!keep.txt\n*.txt\n",
    "a folder": "old/\n",
    "a file or folder": "old\n",
    "nothing comes back into an ignored folder": "old\n!data/raw/dog/old/1.png\n",
    "from the top": "/data/raw/dog/1*.png\n",
    "from the top only": "/old\n/cat\n",
    "stars": "**/deep/*.png\ndata/**/\\[1].png\n",
    "a comment and spaces": "# notes\n\n  *.txt  \n\\#x\n",
    "everything but": "data/raw/cat/*\n!data/raw/cat/deep\n",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The top of a project, with files in data/raw."""
    monkeypatch.chdir(tmp_path)
    for name in FILES:
        path = tmp_path / "data" / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def list_seen(folder: str) -> set[str]:
    """Return the files that a stage sees."""
    return {f"{place}/{name}" for place, _, names in walk_seen_by_dvc(folder) for name in names}


def list_seen_by_dvc(project: Path, folder: str) -> set[str]:
    """Return the files that DVC itself sees."""
    found = DvcIgnoreFilter(localfs, str(project)).find(localfs, str(project / folder))
    return {Path(path).relative_to(project).as_posix() for path in found}


@pytest.mark.parametrize("text", PATTERNS.values(), ids=PATTERNS)
def test_patterns_mean_what_they_mean_to_dvc(text: str, project: Path) -> None:
    """DVC's own code is the reference."""
    (project / ".dvcignore").write_text(text)
    expected = list_seen_by_dvc(project, "data/raw")
    assert list_seen("data/raw") == expected
    assert ("data/raw/dog/1.png" in expected) == (text != PATTERNS["from the top"])


def test_a_folder_has_patterns_of_its_own(project: Path) -> None:
    """They come after those above, and hold in that folder and below it."""
    (project / ".dvcignore").write_text("*.txt\n")
    (project / "data" / "raw" / "cat" / ".dvcignore").write_text("!keep.txt\n/deep/2.png\n*.db\n")
    expected = list_seen_by_dvc(project, "data/raw")
    assert list_seen("data/raw") == expected
    assert {"data/raw/cat/keep.txt", "data/raw/cat/deep/1.png"} < expected
    assert list_seen("data/raw/cat") == {path for path in expected if path.startswith("data/raw/cat/")}


def test_outside_the_project_nothing_is_ignored(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC's rules end at the top of the project."""
    (project / "data" / ".dvcignore").write_text("*\n")
    (project / "elsewhere").mkdir()
    monkeypatch.chdir(project / "elsewhere")
    for top in (f"{project}/data/raw", "../data/raw"):
        assert list_seen(top) == {f"{top}/{name}" for name in FILES}


def test_what_dvc_ignores_may_change_while_a_stage_runs(project: Path) -> None:
    """Opening a folder of images in a file manager is no change of the input."""
    (project / ".dvcignore").write_text("Thumbs.db\n")
    before = look_at((Path("data/raw"),))
    (project / "data" / "raw" / "dog" / "Thumbs.db").write_text("new")
    assert look_at((Path("data/raw"),)) == before
    (project / "data" / "raw" / "dog" / "new.png").write_text("new")
    assert look_at((Path("data/raw"),)) != before
