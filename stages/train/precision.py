"""The precision of `training.precision: auto`, measured on this machine once and remembered."""

import statistics
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import nn

from schemas.shared.image import ImageForm
from schemas.train.training import PrecisionChoice
from schemas.vision.runtime import Numerics, Precision
from stages.train.measured import recall
from stages.train.trial_steps import try_steps

_MIN_SPEEDUP = 1.2
"""bfloat16 costs a little accuracy, and must be worth it."""

_ROUNDS = 3
_BATCH_SIZE = 64


def choose_precision(
    wanted: PrecisionChoice,
    network: nn.Module,
    *,
    image: ImageForm,
    device: torch.device,
    threads: int,
    machine: Mapping[str, str],
    memory: Path,
) -> Precision:
    """Return the precision a parameter names, or for auto the one that pays here.

    What was measured once for a network, threads and a machine holds for every run after it.

    Args:
        wanted: `training.precision`.
        network: On the device; it is not changed.
        image: The images it takes.
        device: Where it trains.
        threads: `training.threads`.
        machine: What else the speed depends on.
        memory: The JSON file that remembers.
    """
    if wanted != "auto":
        return wanted
    question = {
        "layers": str(network),
        "image": image.model_dump(),
        "threads": threads,
        "machine": dict(machine),
    }
    measure = partial(_measure, network, image=image, device=device, threads=threads)
    return "bfloat16" if recall(memory, question, measure=measure) == "bfloat16" else "float32"


def _measure(network: nn.Module, *, image: ImageForm, device: torch.device, threads: int) -> str:
    speedup = measure_speedup(network, image=image, device=device, threads=threads)
    choice = "bfloat16" if speedup >= _MIN_SPEEDUP else "float32"
    print(f"train: training.precision: auto is {choice}: bfloat16 is {speedup:.2f} times as fast")
    return choice


def measure_speedup(network: nn.Module, *, image: ImageForm, device: torch.device, threads: int) -> float:
    """Return how many times as fast a training step is in bfloat16; 0 if it does not work at all."""
    both = [Numerics(threads=threads, precision=precision) for precision in ("float32", "bfloat16")]
    try:
        with try_steps(network, image=image, device=device, batch_size=_BATCH_SIZE) as (copy, time_step):
            rounds = [[time_step(copy, numerics) for numerics in both] for _ in range(_ROUNDS + 1)]
    except RuntimeError:
        return 0.0
    # The first round prepares what the others use.
    return statistics.median(slow / fast for slow, fast in rounds[1:])
