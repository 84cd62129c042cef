"""Training steps made by torch's compiler: whether that pays, and how to do it."""

import os
import shutil
import statistics
import subprocess
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import nn

from schemas.shared.image import ImageForm
from schemas.vision.runtime import Numerics
from stages.shared.errors import InputError
from stages.train.measured import recall
from stages.train.trial_steps import try_steps
from stages.vision.dropout import find_dropouts

_MIN_SECONDS = 300.0
"""A run whose steps take less has no time to save: compiling alone takes from 10 seconds to minutes."""

_MIN_SAVING = 1.5
"""The seconds saved must be so many times those that compiling takes."""

_ROUNDS = 5


class Steps(NamedTuple):
    """The steps that training takes."""

    batch_size: int
    """Images of one forward pass."""

    num_steps: int
    """Forward passes in all epochs."""


class Cost(NamedTuple):
    """Seconds of a step both ways, and of compiling it."""

    eager: float
    compiled: float
    compiling: float

    def pays(self, num_steps: int) -> bool:
        """Return whether so many steps save more than compiling takes."""
        return num_steps * (self.eager - self.compiled) > _MIN_SAVING * self.compiling


def choose_compile(
    wanted: Literal["auto", "on", "off"],
    network: nn.Module,
    *,
    image: ImageForm,
    device: torch.device,
    numerics: Numerics,
    steps: Steps,
    machine: Mapping[str, str],
    memory: Path,
) -> bool:
    """Return whether training steps are to be compiled.

    What was measured once holds for every run after it, for compiled steps have other last bits.

    Args:
        wanted: `training.compile`.
        network: On the device; it is not changed.
        image: The images it takes.
        device: Where it trains.
        numerics: Precision of the forward passes.
        steps: How many, and how large.
        machine: What else the speed depends on.
        memory: The JSON file that remembers.

    Raises:
        InputError: `on`, and there is no compiler, or it cannot compile this network.
    """
    if wanted == "off":
        return False
    if find_compiler() is None:
        if wanted == "on":
            raise InputError(
                "params.yaml: training.compile: found on, but there is no C++ compiler here (g++, clang++, "
                "or what CXX names); install one, or set training.compile: off"
            )
        return False
    measure = partial(
        measure_cost, network, image=image, device=device, numerics=numerics, batch_size=steps.batch_size
    )
    if wanted == "on":
        try:
            measure(rounds=0)
        except Exception as error:
            raise InputError(
                f"params.yaml: training.compile: found on, but this network does not compile: "
                f"{_first_line(error)}; set training.compile: off"
            ) from error
        return True
    question = {
        "layers": str(network),
        "image": image.model_dump(),
        "numerics": numerics.model_dump(),
        "steps": steps._asdict(),
        "machine": dict(machine),
    }
    return recall(memory, question, measure=partial(_decide, measure, num_steps=steps.num_steps)) == "on"


def find_compiler() -> str | None:
    """Return the path of the C++ compiler that torch would use."""
    named = os.environ.get("CXX")
    names = (named,) if named else ("g++", "clang++")
    return next((path for name in names if (path := shutil.which(name))), None)


def describe_compiler() -> str:
    """Return name and version of the compiler, which decides last bits too."""
    compiler = find_compiler()
    if compiler is None:
        return "none"
    with suppress(OSError, subprocess.TimeoutExpired):
        answer = subprocess.run(
            [compiler, "--version"], capture_output=True, text=True, timeout=10, check=False
        )
        return _first_line(answer.stdout)
    return compiler


def compile_steps(network: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the forward pass, compiled when it is first called, over the network's own weights.

    Each shape of a batch is compiled by itself: with code for all of them, which of the two a batch gets, and
    so its bits, would depend on the batches before it, and a resumed run has had others.
    """
    # Compilers in processes of their own would outlive a stage that is killed.
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    for dropout in find_dropouts(network):
        if dropout.p > 0:
            # It draws in NumPy, by samples that change from step to step.
            dropout.forward = torch.compiler.disable(dropout.forward)  # type: ignore[method-assign, no-untyped-call]
    # The compiler looks at gradients of what comes out of such a dropout, which nobody asked for.
    warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")
    compiled: Callable[[torch.Tensor], torch.Tensor] = torch.compile(network, dynamic=False)
    return compiled


def measure_cost(
    network: nn.Module,
    *,
    image: ImageForm,
    device: torch.device,
    numerics: Numerics,
    batch_size: int,
    rounds: int = _ROUNDS,
    min_eager: float = 0.0,
) -> Cost:
    """Return what a step takes both ways, alternating; compiling is left out if eager steps are too quick.

    Without rounds it is only compiled. `min_eager` is in seconds a step.
    """
    with try_steps(network, image=image, device=device, batch_size=batch_size) as (copy, time_step):
        eager = [time_step(copy, numerics) for _ in range(rounds + 1)][1:]
        if rounds and statistics.median(eager) < min_eager:
            return Cost(statistics.median(eager), statistics.median(eager), 0.0)
        compiled = compile_steps(copy)
        compiling = time_step(compiled, numerics)
        pairs = [(time_step(copy, numerics), time_step(compiled, numerics)) for _ in range(rounds)]
    if not pairs:
        return Cost(0.0, 0.0, compiling)
    before, after = (statistics.median(times) for times in zip(*pairs, strict=True))
    return Cost(before, after, compiling)


def _decide(measure: Callable[..., Cost], *, num_steps: int) -> str:
    """Return on or off, and say why."""
    try:
        cost = measure(min_eager=_MIN_SECONDS / num_steps)
    except Exception as error:  # whatever a compiler raises: without it training goes on as well
        print(f"train: training.compile: auto is off: this network does not compile: {_first_line(error)}")
        return "off"
    choice = "on" if cost.pays(num_steps) else "off"
    if cost.compiling:
        print(
            f"train: training.compile: auto is {choice}: compiling takes {cost.compiling:.0f} s, and "
            f"{num_steps:,} steps save {num_steps * (cost.eager - cost.compiled):,.0f} s"
        )
    return choice


def _first_line(error: object) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
