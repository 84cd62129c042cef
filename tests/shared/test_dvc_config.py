"""DVC's configuration is DVC's to read: of the system, the user and the repository."""

from pathlib import Path

import pytest

from stages.shared.errors import InputError
from stages.shared.paths import find_object, read_dvc_config


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Where each level has its file; none is there."""
    names = ("system", "global", "repo")
    for name in names:
        (tmp_path / name).mkdir()
    monkeypatch.setenv("DVC_SYSTEM_CONFIG_DIR", str(tmp_path / "system"))
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "global"))
    return {name: tmp_path / name / "config" for name in names} | {"local": tmp_path / "repo/config.local"}


def test_without_any_the_cache_is_in_the_repository(tmp_path: Path, folders: dict[str, Path]) -> None:
    assert find_object("abcd", dvc_folder=tmp_path / "repo") == tmp_path / "repo/cache/files/md5/ab/cd"


@pytest.mark.parametrize("level", ["system", "global", "repo", "local"])
def test_every_level_says_where_the_cache_is(tmp_path: Path, folders: dict[str, Path], level: str) -> None:
    """As DVC has it: relative to the file, with quotes taken off, `%` a character like others."""
    folders[level].write_text('[cache]\n    dir = "../a 100% # cache"\n')
    assert find_object("abcd", dvc_folder=tmp_path / "repo") == tmp_path / "a 100% # cache/files/md5/ab/cd"


@pytest.mark.parametrize("level", ["system", "global", "repo", "local"])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"[cache", "Invalid line"),
        (b"\xff\xfe", "can't decode"),
        (b"[core]\n    autostage = maybe\n", "core"),
        (b"[cache]\n    dir = a\n    dir = b\n", "Duplicate keyword"),
        (b"[cache]\n    size = 3\n", "extra keys not allowed"),
    ],
)
def test_a_damaged_file_is_named(
    tmp_path: Path, folders: dict[str, Path], level: str, text: bytes, told: str
) -> None:
    """In one line; DVC itself ends in a traceback at some of these, and never says which file it is."""
    folders[level].write_bytes(text)
    with pytest.raises(InputError) as caught:
        read_dvc_config(tmp_path / "repo")
    assert str(caught.value).startswith(f"{folders[level]}: DVC cannot read its configuration: ")
    assert told in str(caught.value)
    assert str(caught.value).isprintable()


def test_what_is_no_file_is_named(tmp_path: Path, folders: dict[str, Path]) -> None:
    folders["repo"].mkdir()
    with pytest.raises(InputError, match=f"^{folders['repo']}: Is a directory"):
        read_dvc_config(tmp_path / "repo")
