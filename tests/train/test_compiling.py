"""Training steps made by torch's compiler."""

import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import nn

from schemas.shared.image import ImageForm
from schemas.vision.runtime import Numerics
from stages.shared.errors import InputError
from stages.train import compiling as module
from stages.train.compiling import Cost, Steps, choose_compile, compile_steps, find_compiler, measure_cost
from stages.train.loop import run_epoch
from stages.vision.checkpoint import hash_weights
from tests.train.toy import make_training, never_save
from tests.vision.prepared import write_prepared
from tests.vision.torch_state import keep_torch_settings

FORM = ImageForm(color="grayscale", height_px=6, width_px=6, resize="squish")
CPU = torch.device("cpu")
FLOAT32 = Numerics(threads=1, precision="float32")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with keep_torch_settings():
        torch.set_num_threads(1)
        yield
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()


def make_network() -> nn.Sequential:
    """Return a network with statistics that a forward pass changes."""
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(32, 3))


def choose(memory: Path, wanted: Literal["auto", "on", "off"], *, num_steps: int = 1000) -> bool:
    """Return what is chosen for a small network."""
    return choose_compile(
        wanted,
        make_network(),
        image=FORM,
        device=CPU,
        numerics=FLOAT32,
        steps=Steps(batch_size=4, num_steps=num_steps),
        machine={"processor": "a"},
        memory=memory,
    )


def test_off_measures_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is looked for, measured or remembered."""
    monkeypatch.setattr(module, "measure_cost", lambda *_, **__: pytest.fail("measured"))
    assert not choose(tmp_path / "compile.json", "off")
    assert not (tmp_path / "compile.json").exists()


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        (Cost(0.2, 0.1, 30.0), True),  # saves 100 s
        (Cost(0.2, 0.1, 90.0), False),  # saves hardly more than it takes
        (Cost(0.1, 0.2, 10.0), False),
        (Cost(0.1, 0.1, 0.0), False),
    ],
)
def test_auto_compiles_where_it_pays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cost: Cost, expected: bool
) -> None:
    """A thousand steps must save clearly more than compiling takes; the choice holds from then on."""
    monkeypatch.setattr(module, "find_compiler", lambda: "/usr/bin/g++")
    monkeypatch.setattr(module, "measure_cost", lambda *_, **__: cost)
    assert choose(tmp_path / "compile.json", "auto") is expected
    monkeypatch.setattr(module, "measure_cost", lambda *_, **__: pytest.fail("measured twice"))
    assert choose(tmp_path / "compile.json", "auto") is expected


def test_short_runs_are_not_compiled_to_find_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where steps are too quick to save anything, the compiler is not even started."""
    monkeypatch.setattr(module, "compile_steps", lambda *_: pytest.fail("compiled"))
    cost = measure_cost(
        make_network(), image=FORM, device=CPU, numerics=FLOAT32, batch_size=4, min_eager=100.0
    )
    assert cost.eager > 0
    assert not cost.pays(10**9)


def test_without_a_compiler_auto_is_off_and_on_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without one trains as before; asked for by name it is one line."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert find_compiler() is None
    assert not choose(tmp_path / "compile.json", "auto")
    with pytest.raises(
        InputError, match=r"^params.yaml: training.compile: found on, but there is no C\+\+ com"
    ):
        choose(tmp_path / "compile.json", "on")


def test_a_network_that_does_not_compile_trains_anyway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the compiler raises, auto is off with a line, and on is refused in one."""

    def fail(*_: Any, **__: Any) -> Cost:
        raise RuntimeError("backend failed\nwith many lines")

    monkeypatch.setattr(module, "find_compiler", lambda: "/usr/bin/g++")
    monkeypatch.setattr(module, "measure_cost", fail)
    assert not choose(tmp_path / "compile.json", "auto")
    assert capsys.readouterr().out.count("\n") == 1
    with pytest.raises(InputError, match=r"does not compile: backend failed; set training.compile: off$"):
        choose(tmp_path / "compile.json", "on")


def test_measuring_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, statistics and random numbers are afterwards what they were."""
    monkeypatch.setattr(module, "compile_steps", lambda network: network)
    network = make_network()
    weights, random = hash_weights(network.state_dict()), torch.get_rng_state()
    measure_cost(network, image=FORM, device=CPU, numerics=FLOAT32, batch_size=4)
    assert hash_weights(network.state_dict()) == weights
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.skipif(find_compiler() is None, reason="needs a C++ compiler")
@pytest.mark.timeout(180)
def test_compiled_training_repeats_and_resumes_in_the_same_bits(tmp_path: Path) -> None:
    """A compiled run that goes on in the middle of an epoch ends in the bits of one that never stopped.

    Both come close to a run that is not compiled, and the weights keep their names.
    """
    manifest = write_prepared(tmp_path)

    def run(*, is_compiled: bool, stop_at: int | None = None) -> dict[str, torch.Tensor]:
        training, state = make_training(tmp_path, manifest, dropout=0.5, is_compiled=is_compiled)
        if stop_at is not None:
            saved: dict[str, Any] = {}

            def save(state: Any) -> None:
                if state.step == stop_at and not saved:
                    saved.update({"state": deepcopy(state.state_dict())})

            run_epoch(training, state, save_point=save)
            torch._dynamo.reset()
            training, state = make_training(tmp_path, manifest, dropout=0.5, is_compiled=is_compiled)
            state.load_state_dict(saved["state"])
        while state.epoch < 2:
            run_epoch(training, state, save_point=never_save)
        return state.network.state_dict()

    eager = run(is_compiled=False)
    compiled = run(is_compiled=True)
    resumed = run(is_compiled=True, stop_at=4)
    assert compiled.keys() == eager.keys()
    assert hash_weights(resumed) == hash_weights(compiled)
    for name, weight in eager.items():
        torch.testing.assert_close(compiled[name], weight, atol=1e-4, rtol=1e-3)


def test_weights_are_the_networks_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled pass computes with the network's weights, whose names stay."""
    monkeypatch.setattr(torch, "compile", lambda network, **_: network.forward)
    network = make_network().eval()
    names = list(network.state_dict())
    forward = compile_steps(network)
    images = torch.ones(2, 1, 6, 6)
    assert torch.equal(forward(images), network(images))
    assert list(network.state_dict()) == names
