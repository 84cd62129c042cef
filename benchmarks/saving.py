"""What saving the state costs: the share of training time at the default interval.

    python -m benchmarks.saving
    python -m benchmarks.saving --rounds 2 --folder /tmp

Saves the state of the sample's network, and of torchvision's resnet18 under SGD with momentum and under Adam,
each after a step and with a best epoch in it, as training does between two steps: copied, hashed, written,
synced and renamed. Training waits for all of that. The share is that of a save and the interval before it.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn, optim

from schemas.params import Params
from schemas.shared.manifest import ImageForm
from schemas.vision.checkpoint import Calibration, ConfidenceLevel, EpochRecord, Scores
from schemas.vision.network import ChosenNetwork, Torchvision
from stages.params.read import read_params
from stages.train.resume import MAX_TIME_FRACTION, SavedState
from stages.train.state import TrainingState, begin_state, take_snapshot
from stages.vision.networks import build_network

CPU = torch.device("cpu")
NUM_CLASSES = 10
PHOTOGRAPHS = ImageForm(color="rgb", height_px=64, width_px=64, resize="squish")


CALIBRATION = Calibration(
    temperature=1.0,
    levels=(ConfidenceLevel(probability=0.5, num_images=1, num_correct=1, num_effective=1.0),),
    label_probabilities=(0.5,),
)


class Cost(NamedTuple):
    """Of one save, in seconds."""

    wall: float
    processor: float
    sync: float
    """Waiting for the disk."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="saves of each state; default: %(default)s")
    parser.add_argument("--folder", type=Path, default=Path(".dvc"), help="default: %(default)s")
    arguments = parser.parse_args()
    params = read_params()
    torch.set_num_threads(params.training.threads)
    asked = params.training.save_every_seconds
    assert asked is not None, "params.yaml has an interval"
    print(
        f"{'state':<28}{'size':>9}{'save':>9}{'(max)':>9}{'processor':>11}{'sync':>8}{'every':>9}{'share':>8}"
    )
    for name, state in build_states(params):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            costs, num_bytes = measure(state, Path(folder), params, rounds=arguments.rounds)
        wall, processor, sync = (statistics.median(values) for values in zip(*costs, strict=True))
        slowest = max(cost.wall for cost in costs)
        interval = max(asked, wall / MAX_TIME_FRACTION)
        print(
            f"{name:<28}{num_bytes / 1e6:>6.1f} MB{wall:>7.3f} s{slowest:>7.3f} s{processor:>9.3f} s"
            f"{sync:>6.3f} s{interval:>7.0f} s{wall / (interval + wall):>8.2%}"
        )


def build_states(params: Params) -> Iterator[tuple[str, TrainingState]]:
    """Yield what is saved of each network, with its name."""
    form = ImageForm.model_validate(params.dataset.model_dump(include=set(ImageForm.model_fields)))
    sample = build_network(params.network.chosen(), image=form, num_classes=NUM_CLASSES)
    name = f"sample ({params.network.name}), AdamW"
    yield name, begin(sample, optim.AdamW(sample.parameters()), form)
    chosen = ChosenNetwork(name="torchvision", arguments=Torchvision(model="resnet18", weights=None))
    large = build_network(chosen, image=PHOTOGRAPHS, num_classes=NUM_CLASSES)
    momentum = optim.SGD(large.parameters(), lr=0.01, momentum=0.9)
    yield "resnet18, SGD with momentum", begin(large, momentum, PHOTOGRAPHS)
    yield "resnet18, Adam", begin(large, optim.Adam(large.parameters()), PHOTOGRAPHS)


def begin(network: nn.Module, optimizer: optim.Optimizer, form: ImageForm) -> TrainingState:
    """Return a state after one step, with a best epoch in it."""
    network.to(memory_format=torch.channels_last)
    images = torch.zeros(2, form.num_channels, form.height_px, form.width_px)
    network(images.contiguous(memory_format=torch.channels_last)).square().mean().backward()
    optimizer.step()
    schedule = optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    state = begin_state(network, optimizer, schedule, steps_per_epoch=100, device=CPU)
    scores = Scores(loss=1.0, accuracy=0.5, balanced_accuracy=0.5, macro_f1=0.5)
    record = EpochRecord(epoch=1, lr=0.1, train_loss=1.0, train_accuracy=0.5, val=scores)
    state.best = take_snapshot(network, record, CALIBRATION)
    state.history = [record]
    return state


def measure(state: TrainingState, folder: Path, params: Params, *, rounds: int) -> tuple[list[Cost], int]:
    """Return what each of some saves took, the first one left out, and the bytes of a state."""
    saved = SavedState(folder, params.training)
    costs = []
    for step in range(rounds + 1):
        state.step = step
        with _time_syncs() as syncs:
            wall, processor = time.perf_counter(), time.process_time()
            saved.save(state)
            costs.append(Cost(time.perf_counter() - wall, time.process_time() - processor, sum(syncs)))
        assert syncs, "a save is synced"
    return costs[1:], max(path.stat().st_size for path in folder.iterdir())


@contextmanager
def _time_syncs() -> Iterator[list[float]]:
    """Have the seconds of every sync of a file or folder in the block in a list."""
    seconds: list[float] = []
    sync = os.fsync

    def timed(descriptor: int) -> None:
        start = time.perf_counter()
        sync(descriptor)
        seconds.append(time.perf_counter() - start)

    os.fsync = timed  # type: ignore[assignment]
    try:
        yield seconds
    finally:
        os.fsync = sync


if __name__ == "__main__":
    main()
