"""Dependencies that parameters name and that are not there."""

from pathlib import Path

import pytest

from tests.architecture.imports import ROOT
from tools.doctor.missing_inputs import check_missing_inputs


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The committed parameters, and what they name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (tmp_path / "data/weights").mkdir(parents=True)
    (tmp_path / "data/weights/none").touch()
    (tmp_path / "data/digits.zip").touch()
    return tmp_path


def found() -> list[str]:
    return [obstacle.text for obstacle in check_missing_inputs()]


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


def test_what_dvc_tracks_comes_back(project: Path) -> None:
    """Beside its .dvc file the way back is DVC's."""
    (project / "data/digits.zip").rename(project / "data/digits.zip.dvc")
    assert found()[0].endswith("bring it back with: dvc checkout, or dvc pull")


@pytest.mark.parametrize("text", ["", "- a", "dataset: 3", "dataset: {source: 3}", "dataset: [", "3"])
def test_a_wrong_file_is_no_concern_of_it(project: Path, text: str) -> None:
    """The doctor goes on to what else stands in the way."""
    (project / "params.yaml").write_text(text)
    assert found() == []
