"""A stage does not begin what the disk has no room for."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages.shared.errors import InputError
from stages.shared.free_space import refuse_full_disk


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with 100 MiB free."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100 * 2**20))


@pytest.mark.usefixtures("disk")
def test_twice_the_output_has_to_fit(tmp_path: Path) -> None:
    """DVC's cache may copy it; what is kept beside it counts once."""
    refuse_full_disk(tmp_path, num_bytes=50 * 2**20)
    refuse_full_disk(tmp_path, num_bytes=20 * 2**20, kept_bytes=60 * 2**20)
    with pytest.raises(InputError, match=r"needs 102 MiB of disk, and 100 MiB are free; make room"):
        refuse_full_disk(tmp_path, num_bytes=51 * 2**20)
    with pytest.raises(InputError, match="needs 101 MiB"):
        refuse_full_disk(tmp_path, num_bytes=20 * 2**20, kept_bytes=61 * 2**20)


@pytest.mark.usefixtures("disk")
def test_what_is_there_already_needs_no_room(tmp_path: Path) -> None:
    """Images that earlier runs decoded are linked; never is more taken off than the output is large."""
    refuse_full_disk(tmp_path, num_bytes=90 * 2**20, linked_bytes=80 * 2**20)
    with pytest.raises(InputError, match="needs 101 MiB"):
        refuse_full_disk(tmp_path, num_bytes=90 * 2**20, linked_bytes=79 * 2**20)
    with pytest.raises(InputError, match="needs 101 MiB"):
        refuse_full_disk(tmp_path, num_bytes=101 * 2**20, linked_bytes=999 * 2**20)


def test_an_output_that_is_not_there_yet(tmp_path: Path) -> None:
    """The folder above it tells how much is free."""
    refuse_full_disk(tmp_path / "data" / "model", num_bytes=1)
    with pytest.raises(InputError, match="data/model: needs"):
        refuse_full_disk(tmp_path / "data" / "model", num_bytes=2**60)
