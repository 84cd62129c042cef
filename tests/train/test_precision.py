"""The precision of training steps, and compiled ones."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from schemas.train.training import PrecisionChoice
from stages.shared.errors import InputError
from stages.train.loop import run_epoch
from stages.train.precision import choose_precision, compile_steps
from stages.vision.checkpoint import hash_weights
from tests.pipeline.project import ROOT
from tests.train.toy import make_training, never_save
from tests.vision.devices import DEVICES
from tests.vision.prepared import write_prepared
from tests.vision.torch_state import keep_torch_settings

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with keep_torch_settings():
        torch.set_num_threads(1)
        yield
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()


def pretend(
    monkeypatch: pytest.MonkeyPatch, *, avx512: bool = False, cuda: bool = False, capability: str = "AVX512"
) -> None:
    """Have torch say which hardware multiplies bfloat16 by instructions of its own."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)

    def is_bf16_supported(including_emulation: bool = True) -> bool:
        return including_emulation or cuda

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_bf16_supported)


@pytest.mark.parametrize("wanted", ["float32", "bfloat16"])
@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_named_precision_is_taken(
    monkeypatch: pytest.MonkeyPatch, wanted: PrecisionChoice, has_bfloat16: bool
) -> None:
    """Whatever the hardware has."""
    pretend(monkeypatch, avx512=has_bfloat16)
    assert choose_precision(wanted, CPU) == wanted


@pytest.mark.parametrize(
    ("device", "hardware", "expected"),
    [
        ("cpu", {"avx512": True}, "bfloat16"),
        ("cpu", {"avx512": False, "cuda": True}, "float32"),
        ("cpu", {"avx512": False, "capability": "AVX2"}, "float32"),
        ("cpu", {"avx512": True, "capability": "AVX2"}, "float32"),
        ("cuda", {"cuda": True}, "bfloat16"),
        ("cuda", {"cuda": False, "avx512": True}, "float32"),
        ("mps", {"cuda": True, "avx512": True}, "float32"),
    ],
)
def test_auto_is_bfloat16_where_the_device_has_it(
    monkeypatch: pytest.MonkeyPatch, device: str, hardware: dict[str, Any], expected: str
) -> None:
    """Never where torch emulates it, as on a CPU with AVX2 alone: that is ten times slower than float32."""
    pretend(monkeypatch, **hardware)
    assert choose_precision("auto", torch.device(device)) == expected


def test_float16_trains_on_cuda_only() -> None:
    """Elsewhere it is refused in one line."""
    assert choose_precision("float16", torch.device("cuda")) == "float16"
    with pytest.raises(InputError, match=r"^params\.yaml: training\.precision: found float16, .*not on cpu"):
        choose_precision("float16", CPU)


def make_network() -> nn.Sequential:
    """Return a network with statistics that a forward pass changes."""
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(32, 3))


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="needs a C++ compiler")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("device", DEVICES)
def test_compiled_training_repeats_and_resumes_in_the_same_bits(tmp_path: Path, device: str) -> None:
    """A compiled run resumed in the middle of an epoch ends in the bits of one that never stopped.

    Both come close to a run that is not compiled, and the weights keep their names.
    """
    manifest = write_prepared(tmp_path)
    settings: dict[str, Any] = {"dropout": 0.5, "device": torch.device(device)}

    def run(*, is_compiled: bool, stop_at: int | None = None) -> dict[str, torch.Tensor]:
        toy = make_training(tmp_path, manifest, is_compiled=is_compiled, **settings)
        if stop_at is not None:
            saved: dict[str, Any] = {}

            def save(state: Any) -> None:
                if state.step == stop_at and not saved:
                    saved.update({"state": deepcopy(state.state_dict())})

            run_epoch(*toy, save_point=save)
            torch._dynamo.reset()
            toy = make_training(tmp_path, manifest, is_compiled=is_compiled, **settings)
            toy.state.load_state_dict(saved["state"])
        while toy.state.epoch < 2:
            run_epoch(*toy, save_point=never_save)
        return {name: tensor.cpu() for name, tensor in toy.state.network.state_dict().items()}

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


_PROGRAM = """
import torch
from torch import nn
from stages.train.precision import compile_steps
network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(32, 3))
compile_steps(network)(torch.ones(2, 1, 6, 6))
"""


@pytest.mark.timeout(180)
def test_without_a_compiler_one_line_says_so(tmp_path: Path) -> None:
    """Where torch finds no C++ compiler, or cannot compile the network, the user gets one line."""
    settings = {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        cwd=ROOT,
        env={**os.environ, **settings, "CXX": str(tmp_path / "no-compiler")},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert re.fullmatch(
        r"stages\.shared\.errors\.InputError: params\.yaml: training\.compile: found true, but torch cannot "
        r"compile this network here \(.*No working C\+\+ compiler.*\); .* set training\.compile: false",
        done.stderr.splitlines()[-1],
    )
