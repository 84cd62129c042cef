"""`python -m tools.verify --rerun` finds elsewhere what training found here."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.params.read import read_params
from stages.shared.paths import MODEL
from stages.train.__main__ import main
from tests.train.project import make_project, write_params
from tests.vision.torch_state import keep_torch_settings
from tools.verify import check_rerun


@pytest.fixture(autouse=True)
def _keep_torch_settings() -> Iterator[None]:
    with keep_torch_settings():
        yield


@pytest.mark.parametrize("file", ["start.safetensors", "../beside/start.safetensors"])
def test_pretrained_weights_are_those_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    """A relative path leads to the same file, also one beside the project."""
    project = tmp_path / "project"
    (tmp_path / "beside").mkdir()
    project.mkdir()
    make_project(project, monkeypatch)
    write_params(project, training__num_epochs=1)
    main()
    shutil.copy(MODEL / "last.safetensors", file)
    write_params(project, training__num_epochs=1, network__weights_file=file)
    main()
    assert check_rerun(read_params()) == []
