"""A GPU or a process that runs out of memory: one line, exit 1, and what was trained is kept.

There is no GPU here: steps raise what torch raises there.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from stages.evaluate.__main__ import main as evaluate
from stages.shared.errors import InputError
from stages.train import stage
from stages.train.__main__ import main as train
from tests.train.project import hash_files, make_project, write_params
from tests.vision.completeness import ROOT
from tests.vision.torch_state import keep_torch_settings
from tools import lr_range_test

FULL = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.15 GiB of which "
    "3.12 GiB is free. Including non-PyTorch memory, this process has 76.01 GiB memory in use."
)
SAID = "the GPU ran out of memory (tried to allocate 20.00 GiB, 3.12 GiB is free); "

FULL_AFTER_STEPS = """
import runpy, sys, torch
left, text, backward = int(sys.argv.pop(1)), sys.argv.pop(1), torch.Tensor.backward

def count_down(loss):
    global left
    backward(loss)
    left -= 1
    if left < 0:
        raise torch.OutOfMemoryError(text)

torch.Tensor.backward = count_down
runpy.run_module("stages.train", run_name="__main__")
"""
"""The stage on a GPU that is full once a backward pass was taken more often than the first argument says."""


@pytest.fixture(autouse=True)
def _keep_torch_settings() -> Iterator[None]:
    with keep_torch_settings():
        yield


def test_a_run_resumes_when_there_is_memory_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line names the parameters and what is kept; the same command ends in the bytes of an unbroken run.

    Memory runs out in the second part of a batch, whose first part has left gradients and sums by then.
    """
    make_project(tmp_path, monkeypatch)
    write_params(
        tmp_path, training__num_epochs=2, training__accumulation_steps=2, training__save_every_steps=2
    )
    train()
    unbroken = hash_files(tmp_path / "data")
    full = subprocess.run(
        [sys.executable, "-c", FULL_AFTER_STEPS, "15", FULL],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert full.returncode == 1
    assert full.stderr == (
        f"train: {SAID}lower loader.batch_size or raise training.accumulation_steps; the state saved in "
        "epoch 2, after step 2 of 5 is kept: the same command resumes there, should more memory be free, and "
        "with other parameters training starts again\n"
    )
    capsys.readouterr()
    train()
    assert "train: resumes in epoch 2, after step 2 of 5" in capsys.readouterr().out
    assert hash_files(tmp_path / "data") == unbroken


def test_before_anything_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory runs out in the first step, as it mostly does, the line promises nothing."""
    make_project(tmp_path, monkeypatch)

    def run_epoch(*arguments: object, **more: object) -> None:
        raise torch.OutOfMemoryError(FULL)

    monkeypatch.setattr(stage, "run_epoch", run_epoch)
    with pytest.raises(InputError, match=r"training\.accumulation_steps; nothing was saved of this run yet$"):
        train()


def test_the_other_commands_name_what_they_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each names the parameters that count for it."""
    make_project(tmp_path, monkeypatch)
    train()

    def forward(*arguments: object, **more: object) -> None:
        raise torch.OutOfMemoryError(FULL)

    monkeypatch.setattr(torch.nn.Linear, "forward", forward)
    with pytest.raises(InputError) as raised:
        evaluate()
    assert str(raised.value) == f"evaluate: {SAID}lower evaluation.batch_size"
    monkeypatch.setattr(sys, "argv", ["lr_range_test"])
    with pytest.raises(InputError) as raised:
        lr_range_test.main()
    expected = f"lr_range_test: {SAID}lower loader.batch_size or raise training.accumulation_steps"
    assert str(raised.value) == expected
