"""The precision of `training.precision: auto`."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from schemas.shared.image import ImageForm
from schemas.train.training import PrecisionChoice
from schemas.vision.runtime import Precision
from stages.train import precision as module
from stages.train.precision import choose_precision, measure_speedup
from stages.vision.checkpoint import hash_weights

FORM = ImageForm(color="grayscale", height_px=6, width_px=6, resize="squish")
CPU = torch.device("cpu")


def make_network() -> nn.Sequential:
    """Return a network with statistics that a forward pass changes."""
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Flatten(), nn.Linear(32, 3)
    )


def choose(
    memory: Path, *, wanted: PrecisionChoice = "auto", threads: int = 1, machine: str = "a"
) -> Precision:
    """Return what is chosen for a small network."""
    return choose_precision(
        wanted,
        make_network(),
        image=FORM,
        device=CPU,
        threads=threads,
        machine={"processor": machine},
        memory=memory,
    )


@pytest.mark.parametrize("wanted", ["float32", "bfloat16", "float16"])
def test_named_precision_is_taken(tmp_path: Path, wanted: PrecisionChoice) -> None:
    """Without auto nothing is measured or remembered."""
    assert choose(tmp_path / "memory.json", wanted=wanted) == wanted
    assert not (tmp_path / "memory.json").exists()


@pytest.mark.parametrize(
    ("speedup", "expected"), [(0.0, "float32"), (1.1, "float32"), (1.3, "bfloat16"), (3.0, "bfloat16")]
)
def test_bfloat16_must_be_worth_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, speedup: float, expected: str
) -> None:
    """It is chosen where it is a good deal faster."""
    monkeypatch.setattr(module, "measure_speedup", lambda *_, **__: speedup)
    assert choose(tmp_path / "memory.json") == expected


def test_choice_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run does what the first did; other threads or another machine are measured anew."""
    memory = tmp_path / "deep" / "memory.json"
    measured = iter([3.0, 1.0, 1.0, 1.0])
    monkeypatch.setattr(module, "measure_speedup", lambda *_, **__: next(measured))
    assert choose(memory) == "bfloat16"
    assert choose(memory) == "bfloat16"
    assert choose(memory, threads=2) == "float32"
    assert choose(memory, machine="b") == "float32"
    assert choose(memory) == "bfloat16"
    assert len(json.loads(memory.read_text())["answers"]) == 3


def test_measuring_changes_nothing() -> None:
    """Weights, statistics and random numbers are afterwards what they were; the figure is a ratio."""
    network = make_network()
    weights, random = hash_weights(network.state_dict()), torch.get_rng_state()
    assert 0.01 < measure_speedup(network, image=FORM, device=CPU, threads=1) < 100
    assert hash_weights(network.state_dict()) == weights
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_network_that_fails_in_bfloat16_stays_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a layer has no 16-bit form there is no error but the ratio 0."""

    class Float32Only(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("not implemented for 'BFloat16'")

    assert measure_speedup(Float32Only(), image=FORM, device=CPU, threads=1) == 0.0
