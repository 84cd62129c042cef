"""Two processes of one thread against one process of two threads, and against plain DistributedDataParallel.

    python -m benchmarks.processes

A resnet on photographs of 64 px, AdamW, float32, one batch in memory: training steps alone. darkroom's two
processes give the bytes of its one process of one thread; DDP's do not, for its sums depend on how many there
are. One process of two threads has whole batches, as users without `cluster` have them. The contestants have
processes of their own and take turns.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn, optim
from torch.nn import functional

from benchmarks.timing import Stopwatch, in_own_process, print_table
from schemas.shared.manifest import ImageForm
from schemas.vision.network import ChosenNetwork, ResNet
from schemas.vision.runtime import Numerics
from stages.shared.process import keep_freed_memory
from stages.train.epoch_table import TrainingProgress
from stages.train.loop import Phase, Training, train_steps
from stages.train.loss import CrossEntropy
from stages.train.parts import PartSampler
from stages.train.ranks import ALONE, Group, Processes
from stages.train.sampler import EpochSampler
from stages.train.state import TrainingState, begin_state
from stages.vision.networks import build_network
from stages.vision.runtime import make_deterministic

CPU = torch.device("cpu")
NUM_CLASSES = 10


class Contestant(NamedTuple):
    """Who computes the steps."""

    num_processes: int
    threads: int
    num_parts: int
    is_ddp: bool = False


CONTESTANTS = {
    "2 processes, 1 thread": Contestant(2, 1, 2),
    "1 process, 2 threads": Contestant(1, 2, 1),
    "1 process, 1 thread": Contestant(1, 1, 2),
    "DDP, 2 processes, 1 thread": Contestant(2, 1, 2, is_ddp=True),
}


class Settings(NamedTuple):
    """What all compute."""

    batch_size: int
    side_px: int
    num_steps: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.processes", description=__doc__)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--side-px", type=int, default=64)
    parser.add_argument("--steps", type=int, default=4, help="steps of each measurement")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    settings = Settings(arguments.batch_size, arguments.side_px, arguments.steps)
    seconds: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        pool = stack.enter_context(ThreadPoolExecutor(2))
        calls: dict[str, list[Callable[[], float]]] = {
            name: [
                stack.enter_context(
                    in_own_process(partial(build, contestant, rank, settings, f"file://{folder}/{number}"))
                )
                for rank in range(contestant.num_processes)
            ]
            for number, (name, contestant) in enumerate(CONTESTANTS.items())
        }
        for round_number in range(arguments.rounds + 1):
            for name, of_ranks in calls.items():
                taken = list(pool.map(lambda call: call(), of_ranks))
                if round_number:  # the first one prepares what the others use
                    seconds[name].append(max(taken))
    print(f"{settings.num_steps} steps of {settings.batch_size} images of {settings.side_px} px, float32")
    base = "2 processes, 1 thread"
    print_table(seconds, base=base)
    for other in ("1 process, 2 threads", "DDP, 2 processes, 1 thread"):
        ratios = [slow / fast for slow, fast in zip(seconds[other], seconds[base], strict=True)]
        print(f"{base}: {statistics.median(ratios):.2f} times as fast as {other}")


def build(contestant: Contestant, rank: int, settings: Settings, meet_at: str) -> Callable[[], float]:
    """Return what runs the steps of one process and returns how long they took."""
    keep_freed_memory()
    torch.set_num_threads(contestant.threads)
    torch.manual_seed(0)
    image = ImageForm(color="rgb", height_px=settings.side_px, width_px=settings.side_px, resize="squish")
    network: nn.Module = build_network(
        ChosenNetwork(
            name="resnet", arguments=ResNet(widths=(32, 64, 128), blocks_per_stage=2, stem_stride=2)
        ),
        image=image,
        num_classes=NUM_CLASSES,
    ).to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(settings.batch_size, 3, settings.side_px, settings.side_px, generator=generator)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(NUM_CLASSES, (settings.batch_size,), generator=generator)
    optimizer = optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    if contestant.is_ddp:
        run = build_ddp(network, optimizer, images, labels, rank=rank, settings=settings, meet_at=meet_at)
    else:
        group: Processes = ALONE
        if contestant.num_processes > 1:
            group = Group(rank, contestant.num_processes, meet_at=meet_at, device=CPU)
        run = build_ours(network, optimizer, images, labels, contestant, group, num_steps=settings.num_steps)

    def measure() -> float:
        stopwatch = Stopwatch()
        run()
        return stopwatch.read().clock

    return measure


def build_ddp(
    network: nn.Module,
    optimizer: optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    *,
    rank: int,
    settings: Settings,
    meet_at: str,
) -> Callable[[], None]:
    """Return the loop of the tutorial, over this process's half of the batch."""
    torch.distributed.init_process_group("gloo", init_method=meet_at, rank=rank, world_size=2)
    parallel = nn.parallel.DistributedDataParallel(network)
    # A slice along the batch keeps channels_last.
    own_images, own_labels = images.chunk(2)[rank], labels.chunk(2)[rank]

    def run() -> None:
        for _ in range(settings.num_steps):
            loss = functional.cross_entropy(parallel(own_images), own_labels)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()

    return run


def build_ours(
    network: nn.Module,
    optimizer: optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    contestant: Contestant,
    group: Processes,
    *,
    num_steps: int,
) -> Callable[[], None]:
    """Return darkroom's own loop over the process's parts of the batch."""
    numerics = Numerics(threads=contestant.threads, precision="float32")
    parts = PartSampler(
        EpochSampler(labels.repeat(num_steps), shuffle=False, seed=0),
        batch_size=len(labels),
        num_parts=contestant.num_parts,
        processes=group,
    )
    batches = [
        (images[part.samples % len(images)], labels[part.samples % len(labels)])
        for step in range(num_steps)
        for part in parts.of_step(step)
    ]
    training = Training(
        criterion=CrossEntropy(label_smoothing=0.0),
        mixing=None,
        train_images=cast(Any, _NoImages()),
        val_images=cast(Any, _NoImages()),
        parts=parts,
        num_classes=NUM_CLASSES,
        best_metric="loss",
        max_grad_norm=None,
        device=CPU,
        numerics=numerics,
        seed=0,
        progress=TrainingProgress(num_epochs=10**6, images_per_epoch=len(labels) * num_steps),
    )
    phase = Phase(network, network, train_batches=cast(Any, batches), val_batches=cast(Any, []))
    schedule = optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    state = begin_state(network, optimizer, schedule, steps_per_epoch=num_steps, device=CPU)

    def ask_to_stop(state: TrainingState) -> None:
        """Ask all processes whether any was asked to stop, as the stage does after every step."""
        group.any(False)

    def run() -> None:
        make_deterministic(numerics)
        train_steps(training, state, phase, save_point=ask_to_stop)
        state.start_next_epoch()

    return run


class _NoImages:
    """Stands in for the data set: batches are in memory already."""

    def set_epoch(self, epoch: int) -> None:
        """Take note of nothing."""


if __name__ == "__main__":
    main()
