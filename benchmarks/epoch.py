"""An epoch of CIFAR-10 with a three-layer CNN: darkroom against a plain script, fastai and Ultralytics.

    make bench-env && .venv.bench/bin/python -m benchmarks.epoch

The archive is unpacked into a temporary folder and prepared there by the stage. The contestants take turns,
each in a process of its own; each trains the same network by batches of 256 with crop, flip and
normalization, two processor threads and two worker processes where it has any. Only training steps are timed:
no setting up, no validation, no saving. darkroom has what its stage sets (precision `auto`, memory that is
kept, threads that sleep), the others what their own defaults are.
"""

import argparse
import os
import statistics
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from torch import nn, optim

from benchmarks.epoch_rivals import Epoch, build_fastai, build_plain, build_ultralytics
from benchmarks.loader import ROOT, exhaust, prepare
from benchmarks.timing import Seconds, Stopwatch, in_own_process
from benchmarks.transforms import make_schema
from schemas.vision.network import ChosenNetwork, Cnn
from schemas.vision.runtime import Numerics, Precision
from schemas.vision.transforms import Normalize, ToTensor
from stages.shared.process import keep_freed_memory, limit_spinning
from stages.train.epoch_table import TrainingProgress
from stages.train.loop import Phase, Training, train_steps
from stages.train.loss import CrossEntropy
from stages.train.parts import PartSampler
from stages.train.precision import choose_precision
from stages.train.sampler import EpochSampler
from stages.train.state import begin_state
from stages.vision.dataset import PreparedImages, build_loader, read_manifest
from stages.vision.networks import build_network
from stages.vision.runtime import make_deterministic
from stages.vision.transforms import build_transforms

THREADS = 2
CPU = torch.device("cpu")
OURS = ("darkroom", "its loader alone")
WANTED: dict[Precision, dict[str, float]] = {
    "bfloat16": {"plain": 4.0, "fastai": 3.0, "ultralytics": 3.0},
    "float32": {"plain": 2.5},
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.epoch", description=__doc__)
    parser.add_argument("--archive", type=Path, default=ROOT.parent / "shared/data/cifar10.zip")
    parser.add_argument("--num-images", type=int, default=50_000, help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=256, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--without", nargs="*", default=[], help="contestants to leave out")
    arguments = parser.parse_args()
    precision = choose_precision("auto", CPU)
    print(f"darkroom computes in {precision}, which training.precision: auto chooses here")
    with tempfile.TemporaryDirectory() as name, ExitStack() as processes:
        folder = Path(name)
        unpack(arguments.archive, folder / "images", num_images=arguments.num_images)
        prepare(folder)
        contestants: dict[str, Epoch] = {}
        for contestant in (name for name in BUILDERS if name not in arguments.without):
            with mock.patch.dict(os.environ):
                if contestant in OURS:
                    limit_spinning()  # as the stage does, before its process imports torch
                build = partial(start, contestant, folder, batch_size=arguments.batch_size)
                contestants[contestant] = processes.enter_context(in_own_process(build))
        seconds = take_turns(contestants, rounds=arguments.rounds)
    print(f"\nan epoch of {arguments.num_images:,} images, {os.cpu_count()} cores, {arguments.rounds} rounds")
    for kind in Seconds._fields:
        print(f"\nby the {kind}:")
        of_kind = {name: [getattr(each, kind) for each in values] for name, values in seconds.items()}
        report(of_kind, num_images=arguments.num_images, wanted=WANTED[precision])


def unpack(archive: Path, folder: Path, *, num_images: int) -> None:
    """Write num_images training images as folder/train/<class>/, and a few as val/ and test/ each.

    With all three there, prepare-dataset takes none of the training images away.
    """
    with zipfile.ZipFile(archive) as source:
        for split, folders, wanted in (("train", ["train"], num_images), ("test", ["val", "test"], 100)):
            names = [name for name in source.namelist() if f"/{split}/" in name and name.endswith(".jpg")]
            classes = sorted({Path(name).parent.name for name in names})
            for label in classes:
                of_class = [name for name in names if Path(name).parent.name == label]
                for target in (folder / name / label for name in folders):
                    target.mkdir(parents=True)
                    for name in of_class[: wanted // len(classes)]:
                        (target / Path(name).name).write_bytes(source.read(name))


def start(contestant: str, folder: Path, *, batch_size: int) -> Epoch:
    """Return a contestant's epoch, in the process that it is to run in."""
    torch.set_num_threads(THREADS)
    return BUILDERS[contestant](folder, batch_size=batch_size)


def build_ours(folder: Path, *, batch_size: int, loader_alone: bool = False) -> Epoch:
    """Return an epoch of darkroom's loop, or of its loader and transforms alone."""
    keep_freed_memory()  # as the stage does when it starts
    numerics = Numerics(threads=THREADS, precision=choose_precision("auto", CPU))
    manifest = read_manifest(folder / "data/prepared")
    fixed = (
        ToTensor(name="ToTensor"),
        Normalize(name="Normalize", mean=manifest.mean, std=manifest.std),
    )
    transforms = (make_schema("RandomCrop", padding=4), make_schema("RandomHorizontalFlip"), *fixed)
    images = PreparedImages(
        folder / "data/prepared", manifest, "train", transform=build_transforms(transforms)
    )
    sampler = EpochSampler(images.labels, shuffle=True, seed=0)
    parts = PartSampler(sampler, batch_size=batch_size)
    batches = build_loader(images, batches=parts)
    network: nn.Module = build_network(
        ChosenNetwork(name="cnn", arguments=Cnn(channels=(32, 64, 128), kernel_size=3, dropout=0.0)),
        image=manifest.image,
        num_classes=len(manifest.classes),
    ).to(memory_format=torch.channels_last)
    optimizer = optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    training = Training(
        criterion=CrossEntropy(label_smoothing=0.0),
        mixing=None,
        train_images=images,
        val_images=images,
        parts=parts,
        num_classes=len(manifest.classes),
        best_metric="loss",
        max_grad_norm=None,
        device=CPU,
        numerics=numerics,
        seed=0,
        progress=TrainingProgress(num_epochs=100, images_per_epoch=len(images)),
    )
    phase = Phase(network, network, train_batches=batches, val_batches=batches)
    schedule = optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    state = begin_state(network, optimizer, schedule, steps_per_epoch=parts.num_steps, device=CPU)

    def run() -> Seconds:
        make_deterministic(numerics)
        stopwatch = Stopwatch()
        if loader_alone:
            sampler.set_epoch(state.epoch)
            exhaust(batches)
        else:
            train_steps(training, state, phase, save_point=lambda state: None)
        taken = stopwatch.read()
        state.start_next_epoch()
        return taken

    return run


def in_folder(build: Callable[..., Epoch], folder: Path, *, batch_size: int) -> Epoch:
    """Return the epoch of a rival, which reads the images themselves."""
    return build(folder / "images", batch_size=batch_size)


def take_turns(contestants: dict[str, Epoch], *, rounds: int) -> dict[str, list[Seconds]]:
    """Return what every epoch took, after one unmeasured epoch each."""
    for run in contestants.values():
        run()
    seconds: dict[str, list[Seconds]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            seconds[name].append(run())
    return seconds


def report(seconds: dict[str, list[float]], *, num_images: int, wanted: dict[str, float]) -> None:
    """Print medians, spreads and what darkroom is compared with each."""
    ours = seconds["darkroom"]
    for name, values in seconds.items():
        speed = num_images / statistics.median(values)
        line = f"{name:18}{statistics.median(values):8.2f} s ({min(values):.2f} .. {max(values):.2f})"
        line += f"{speed:10,.0f} images/s"
        if name not in OURS:
            ratios = [value / own for value, own in zip(values, ours, strict=True)]
            line += f"   darkroom: {statistics.median(ratios):.2f} times as fast"
            line += f" ({min(ratios):.2f} .. {max(ratios):.2f}"
            line += f"; wanted: {wanted[name]})" if name in wanted else ")"
        print(line)
    shares = [load / own for load, own in zip(seconds["its loader alone"], ours, strict=True)]
    share = statistics.median(shares)
    print(f"loader and transforms take {share:.0%} of darkroom's epoch (wanted: at most 15 %)")


BUILDERS: dict[str, Callable[..., Epoch]] = {
    "darkroom": build_ours,
    "its loader alone": partial(build_ours, loader_alone=True),
    "plain": partial(in_folder, build_plain),
    "fastai": partial(in_folder, build_fastai),
    "ultralytics": partial(in_folder, build_ultralytics),
}


if __name__ == "__main__":
    main()
