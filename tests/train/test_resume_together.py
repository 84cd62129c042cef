"""Features that each keep state, together: a stopped run ends in the bytes of one that was not stopped."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stages.params.read import read_params
from stages.shared.inputs import record_inputs
from stages.shared.stopping import Stopped
from stages.train.resume import SavedState
from stages.train.stage import train
from stages.train.state import TrainingState
from tests.train.project import hash_files, make_project, write_params
from tests.vision.torch_state import keep_torch_settings

_PLATEAU = {"patience_epochs": 0, "min_delta": 10.0, "gamma": 0.5, "min_lr_fraction": 0.001}
_LAST_OF_ALL: dict[str, Any] = {
    "lr_scheduler__name": "plateau",
    "lr_scheduler__plateau": _PLATEAU,
    "loader__sampling": "balanced",
    "training__ema_decay": 0.9,
    "training__accumulation_steps": 2,
    "training__max_grad_norm": 0.5,
    "training__precision": "bfloat16",
}
_STOP_AT = 9
"""Of five steps an epoch and its end: in the second epoch, the last that may be frozen."""

_MIXED = ["ToTensor", {"Normalize": {"mean": "dataset", "std": "dataset"}}, "MixUp"]
_PLAIN = _MIXED[:2]


@pytest.fixture(autouse=True)
def _keep_torch_settings() -> Iterator[None]:
    with keep_torch_settings():
        yield


def run(monkeypatch: pytest.MonkeyPatch, *, stop_at: int | None = None) -> dict[str, str]:
    """Train in the current folder, saving and stopping at a save point, and return the outputs' hashes."""
    points: list[int] = []

    def save_point(saved: SavedState, state: TrainingState) -> None:
        points.append(state.step)
        if len(points) == stop_at:
            saved.save(state)
            raise Stopped

    monkeypatch.setattr(SavedState, "save_point", save_point)
    params = read_params()
    train(params, record_inputs("train", params, read_params))
    return {name: value for name, value in hash_files(Path("data")).items() if "prepared" not in name}


@pytest.mark.parametrize(
    "changes",
    [
        {"transforms": _MIXED, "optimizer__name": "muon", "network__name": "resnet"},
        {"transforms": _PLAIN, "transfer__freeze": "backbone", "transfer__unfreeze_after_epochs": 2},
    ],
    ids=["mixed", "frozen"],
)
def test_a_stopped_run_of_all_features_ends_in_the_same_bytes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
) -> None:
    """Plateau, average, accumulation, balanced sampling and bfloat16, with MixUp or a frozen backbone."""
    make_project(tmp_path, monkeypatch)
    if "transfer__freeze" in changes:
        write_params(tmp_path, training__num_epochs=1)
        run(monkeypatch)
        weights = tmp_path / "first.safetensors"
        (tmp_path / "data/model/last.safetensors").rename(weights)
        changes = {**changes, "network__weights_file": "first.safetensors"}
    write_params(tmp_path, **_LAST_OF_ALL, **changes)
    expected = run(monkeypatch)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    with pytest.raises(Stopped):
        run(monkeypatch, stop_at=_STOP_AT)
    capsys.readouterr()
    assert run(monkeypatch) == expected
    assert "train: resumes in epoch 2, after step 3 of 5" in capsys.readouterr().out
