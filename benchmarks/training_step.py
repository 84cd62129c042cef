"""One training step of a three-layer CNN at batch 256: darkroom's loop against loops written by hand.

    python -m benchmarks.training_step

`plain` is what people write: float32, NCHW. `hand-tuned` is what is commonly advised for a processor:
channels_last, a fused optimizer, and bfloat16 autocast where the processor has it; darkroom's precision is
`auto`, as users have it, which chooses the same way. Both pool after ReLU, as is customary; `hand-tuned,
pools first` pools before it, as darkroom does: the same values from a quarter of the work. Same AdamW,
cross-entropy and batch in memory. darkroom alone computes deterministically, and keeps memory that it frees.
Each has a process of its own, and they take turns.
"""

import argparse
import os
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn, optim
from torch.nn import functional

from benchmarks.timing import Seconds, Stopwatch, in_own_process, print_table
from schemas.shared.manifest import ImageForm
from schemas.train.optimizer import Optimizer
from schemas.vision.network import ChosenNetwork, Cnn
from schemas.vision.runtime import Numerics
from stages.params.read import read_params
from stages.shared.process import keep_freed_memory
from stages.train.epoch_table import TrainingProgress
from stages.train.loop import Phase, Training, train_steps
from stages.train.loss import CrossEntropy
from stages.train.optimizer import build_optimizer
from stages.train.parts import PartSampler
from stages.train.precision import choose_precision, has_bfloat16
from stages.train.sampler import EpochSampler
from stages.train.state import begin_state
from stages.vision.networks import build_network
from stages.vision.runtime import make_deterministic

CPU = torch.device("cpu")
SIDE_PX, NUM_CLASSES = 32, 10
CHANNELS = (32, 64, 128)
WANTED = {"plain": 2.5, "hand-tuned": 1.1, "hand-tuned, pools first": None}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_step", description=__doc__)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=5, help="steps of each measurement")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    settings = (arguments.batch_size, arguments.steps, arguments.threads)
    seconds: dict[str, list[Seconds]] = {name: [] for name in CONTESTANTS}
    with ExitStack() as processes:
        calls = {
            name: processes.enter_context(in_own_process(partial(build, name, *settings)))
            for name in CONTESTANTS
        }
        for round_number in range(arguments.rounds + 1):
            for name, call in calls.items():
                taken = call()
                if round_number:  # the first one prepares what the others use
                    seconds[name].append(taken)
    print(f"{arguments.steps} steps of {arguments.batch_size} images, {arguments.threads} threads")
    print(
        f"darkroom computes in {choose_precision('auto', CPU)}, which training.precision: auto chooses here"
    )
    for kind in Seconds._fields:
        of_kind = {name: [getattr(each, kind) for each in values] for name, values in seconds.items()}
        print(f"\nby the {kind}:")
        print_table(of_kind, base="darkroom")
        for base, wanted in WANTED.items():
            ratios = [slow / fast for slow, fast in zip(of_kind[base], of_kind["darkroom"], strict=True)]
            line = f"darkroom is {statistics.median(ratios):.2f} times as fast as {base}"
            print(line + (f" (wanted: {wanted})" if wanted else ""))


def build(name: str, batch_size: int, num_steps: int, threads: int) -> Callable[[], Seconds]:
    """Return a contestant's loop over a batch in memory, in the process that it is to run in."""
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch_size, 3, SIDE_PX, SIDE_PX, generator=generator)
    labels = torch.randint(NUM_CLASSES, (batch_size,), generator=generator)
    run = CONTESTANTS[name](images, labels, num_steps=num_steps)

    def measure() -> Seconds:
        stopwatch = Stopwatch()
        run()
        return stopwatch.read()

    return measure


def build_layers(*, pools_first: bool = False) -> nn.Sequential:
    """Return the network as people write it: convolution, ReLU, pooling; or with pooling before ReLU."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    in_channels = 3
    for channels in CHANNELS:
        after: list[nn.Module] = [nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Conv2d(in_channels, channels, 3, padding=1), *(after[::-1] if pools_first else after)]
        in_channels = channels
    side_px = SIDE_PX // 2 ** len(CHANNELS)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(in_channels * side_px**2, NUM_CLASSES))


def build_plain(images: Tensor, labels: Tensor, *, num_steps: int) -> Callable[[], None]:
    """Return the loop of every tutorial."""
    network = build_layers()
    optimizer = optim.AdamW(network.parameters(), lr=1e-3)

    def run() -> None:
        torch.use_deterministic_algorithms(False)
        for _ in range(num_steps):
            loss = functional.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()

    return run


def build_hand_tuned(
    images: Tensor, labels: Tensor, *, num_steps: int, pools_first: bool = False
) -> Callable[[], None]:
    """Return the loop with the usual advice followed."""
    network = build_layers(pools_first=pools_first).to(memory_format=torch.channels_last)
    optimizer = optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    images = images.contiguous(memory_format=torch.channels_last)

    def run() -> None:
        torch.use_deterministic_algorithms(False)
        for _ in range(num_steps):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=has_bfloat16(CPU)):
                loss = functional.cross_entropy(network(images).float(), labels)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()

    return run


def build_ours(images: Tensor, labels: Tensor, *, num_steps: int) -> Callable[[], None]:
    """Return darkroom's own loop over the same batch: all that its steps do, sums and schedule too."""
    keep_freed_memory()  # as the stage does when it starts
    numerics = Numerics(threads=torch.get_num_threads(), precision=choose_precision("auto", CPU))
    torch.manual_seed(0)
    network = build_network(
        ChosenNetwork(name="cnn", arguments=Cnn(channels=CHANNELS, kernel_size=3, dropout=0.0)),
        image=ImageForm(color="rgb", height_px=SIDE_PX, width_px=SIDE_PX, resize="squish"),
        num_classes=NUM_CLASSES,
    ).to(memory_format=torch.channels_last)
    section = read_params().optimizer.model_dump()
    optimizer = build_optimizer(
        Optimizer.model_validate({**section, "name": "adamw", "lr": 1e-3}), network.parameters()
    )
    batch = (images.contiguous(memory_format=torch.channels_last), labels)
    training = Training(
        criterion=CrossEntropy(label_smoothing=0.0),
        mixing=None,
        train_images=cast(Any, _NoImages()),
        val_images=cast(Any, _NoImages()),
        parts=PartSampler(
            EpochSampler(labels.repeat(num_steps), shuffle=False, seed=0), batch_size=len(labels)
        ),
        num_classes=NUM_CLASSES,
        best_metric="loss",
        max_grad_norm=None,
        device=CPU,
        numerics=numerics,
        seed=0,
        progress=TrainingProgress(num_epochs=10**6, images_per_epoch=len(labels) * num_steps),
    )
    phase = Phase(network, network, train_batches=cast(Any, [batch] * num_steps), val_batches=cast(Any, []))
    state = begin_state(
        network,
        optimizer,
        optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0),
        steps_per_epoch=num_steps,
        device=training.device,
    )

    def run() -> None:
        make_deterministic(numerics)
        train_steps(training, state, phase, save_point=lambda state: None)
        state.start_next_epoch()

    return run


class _NoImages:
    """Stands in for the data set: batches are in memory already."""

    def set_epoch(self, epoch: int) -> None:
        """Take note of nothing."""


CONTESTANTS: dict[str, Callable[..., Callable[[], None]]] = {
    "plain": build_plain,
    "hand-tuned": build_hand_tuned,
    "hand-tuned, pools first": partial(build_hand_tuned, pools_first=True),
    "darkroom": build_ours,
}


if __name__ == "__main__":
    main()
