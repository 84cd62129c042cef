"""All that is to be known of a GPU in one command: tests, the step, the whole loop, and where the loop waits.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --device cpu --network test_resnet --px 64 --batch-size 16 --images 200

First the tests marked `gpu`. Then images a second, the contestants taking turns, each after an epoch that is
not measured: darkroom's training step on random pictures that are on the device already; its whole loop over
photographs, written here and packed by ingest and prepare-dataset, with random resized crop and flip; and the
same of timm: its loader, network and optimizer put together as its train.py does, over the same JPEGs.
At last a profile of the loop. Ten minutes on a GPU.
"""

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import chdir, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import timm
import torch
from timm.data.dataset import ImageDataset
from timm.data.loader import create_loader
from timm.optim._optim_factory import create_optimizer_v2
from torch import Tensor
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from benchmarks.loader import ROOT, prepare
from benchmarks.photographs import write_many_photographs
from schemas.__main__ import format_yaml
from stages.params.document import read_document
from stages.params.read import read_params
from stages.shared.paths import PREPARED
from stages.shared.process import keep_freed_memory
from stages.train.build import build_run
from stages.train.loop import Phase, train_steps
from stages.vision.dataset import build_loader, read_manifest
from stages.vision.runtime import autocast, describe_device, make_deterministic

WANTED_SHARE = 0.9
"""Of the speed of the step alone that the whole loop is to have."""

OUR_STEP, OUR_LOOP, OUR_LOADER = "darkroom, step alone", "darkroom, whole loop", "darkroom, loader alone"
FREE_STEP = "its step, not deterministic"
TIMM_STEP, TIMM_LOOP, TIMM_LOADER = "timm, step alone", "timm, whole loop", "timm, loader alone"

Batch = tuple[Tensor, Tensor]
Contestant = Callable[[], int]
"""Runs some steps, or loads some batches, and returns of how many images."""


def main() -> None:
    """Test, measure and print."""
    arguments = parse_arguments()
    device = torch.device(arguments.device)
    keep_freed_memory()  # as the stage does when it starts
    tests = "left out" if arguments.without_tests else run_tests()
    with tempfile.TemporaryDirectory() as name, chdir(name):
        folder = Path(name)
        write_many_photographs(folder / "images", arguments.images, num_distinct=min(200, arguments.images))
        prepare(folder, side_px=round(arguments.px * 256 / 224))
        write_params(arguments)
        ours = Ours(device, num_workers=arguments.workers)
        contestants = ours.list() | list_timm(folder, arguments, device, ours)
        speeds = measure(contestants, device, rounds=arguments.rounds)
        waits = explain_waits(ours, device)
    print(f"\n{describe_device(device)}, {os.cpu_count()} cores")
    print(f"torch {torch.__version__}, timm {timm.__version__}")
    print(
        f"{arguments.network}, {arguments.px} px, batches of {arguments.batch_size}, "
        f"{ours.training.numerics.precision}, channels_last, {arguments.rounds} rounds"
    )
    print(f"tests marked gpu: {tests}\n")
    print_speeds(speeds)
    print(waits)


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    best = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=("cuda", "cpu"), default=best, help="default: %(default)s")
    parser.add_argument("--network", default="resnet50", help="a model of timm; default: %(default)s")
    parser.add_argument("--px", type=int, default=224, help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=256, help="default: %(default)s")
    parser.add_argument("--images", type=int, default=10_000, help="photographs; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=4, help="default: %(default)s")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes; default: %(default)s")
    parser.add_argument("--without-tests", action="store_true")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device: found cuda, which torch does not find here; allowed: cpu")
    return arguments


def run_tests() -> str:
    """Run the tests marked `gpu`, and return what came of them, the failed ones by name."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    lines = done.stdout.strip().splitlines() or ["pytest printed nothing"]
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return "\n  ".join([lines[-1].strip("= "), *failed])


def write_params(arguments: argparse.Namespace) -> None:
    """Write what training is to do into the current folder's params.yaml, all else as it is."""
    params = read_document(Path("params.yaml")).data
    params["transforms"] = [
        {"RandomResizedCrop": {"height_px": arguments.px, "width_px": arguments.px}},
        "RandomHorizontalFlip",
        "ToTensor",
        {"Normalize": {"mean": "dataset", "std": "dataset"}},
    ]
    params["network"]["name"] = "timm"
    params["network"]["timm"] |= {"model": arguments.network, "weights": None}
    params["optimizer"] |= {"name": "sgd", "lr": 0.001}
    params["lr_scheduler"]["name"] = "constant"
    params["loader"] |= {"batch_size": arguments.batch_size, "num_workers": 0}
    params["training"] |= {
        "device": arguments.device,
        "precision": "auto",
        "threads": os.cpu_count(),
        "num_epochs": 100,
    }
    Path("params.yaml").write_text(format_yaml(params), encoding="utf-8")


class Ours:
    """A training run of darkroom, built from params.yaml as the stage builds it."""

    def __init__(self, device: torch.device, *, num_workers: int) -> None:
        with redirect_stdout(io.StringIO()):  # where its progress goes from then on
            run = build_run(read_params(), read_manifest(PREPARED))
        self.training, self.state = run.training, run.state
        self.phase = run.phases.at(0)
        self.num_steps = self.training.parts.num_steps
        self.batch = make_batch(self.training.parts.batch_size, self.phase, device)
        self._in_processes = build_loader(
            self.training.train_images,
            batches=self.training.parts,
            device=device,
            num_workers=num_workers,
            prefetch_factor=2,
        )

    def list(self) -> dict[str, Contestant]:
        """Return what is measured of it."""
        in_memory = replace(self.phase, train_batches=cast(Any, [self.batch] * self.num_steps))
        in_processes = replace(self.phase, train_batches=self._in_processes)
        return {
            OUR_STEP: lambda: self.train(in_memory),
            FREE_STEP: lambda: self.train(in_memory, is_deterministic=False),
            f"{OUR_LOOP}, threads": lambda: self.train(self.phase),
            f"{OUR_LOOP}, processes": lambda: self.train(in_processes),
            f"{OUR_LOADER}, threads": lambda: exhaust(self.phase.train_batches),
            f"{OUR_LOADER}, processes": lambda: exhaust(self._in_processes),
        }

    def train(self, phase: Phase, *, is_deterministic: bool = True) -> int:
        """Train an epoch and return of how many images."""
        make_deterministic(self.training.numerics)
        if not is_deterministic:
            compute_freely()
        train_steps(self.training, self.state, phase, save_point=lambda state: None)
        num_images = self.state.num_images
        self.state.start_next_epoch()
        return num_images


def make_batch(batch_size: int, phase: Phase, device: torch.device) -> Batch:
    """Return random pictures of the loader's form, finished and on the device, and labels."""
    images, _ = next(iter(phase.val_batches))
    noise = torch.randn(batch_size, *images.shape[1:], device=device)
    return noise.contiguous(memory_format=torch.channels_last), torch.arange(batch_size, device=device) % 4


def compute_freely() -> None:
    """Have torch compute as timm's train.py does: the fastest kernels, whatever their order of sums."""
    torch.set_deterministic_debug_mode("default")
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True


def exhaust(batches: Iterable[Batch]) -> int:
    """Take every batch and return the number of images."""
    return sum(len(images) for images, _ in batches)


def list_timm(
    folder: Path, arguments: argparse.Namespace, device: torch.device, ours: Ours
) -> dict[str, Contestant]:
    """Return timm's step, loop and loader."""
    loader = create_loader(
        ImageDataset(str(folder / "images")),  # type: ignore[no-untyped-call]
        input_size=(3, arguments.px, arguments.px),
        batch_size=arguments.batch_size,
        is_training=True,
        color_jitter=0.0,
        num_workers=arguments.workers,
        pin_memory=device.type == "cuda",
        device=device,
    )
    network = timm.create_model(arguments.network, num_classes=4)
    network = network.to(device).to(memory_format=torch.channels_last).train()
    optimizer = create_optimizer_v2(network, opt="sgd", lr=0.001, momentum=0.9)

    def train(batches: Iterable[Batch]) -> int:
        compute_freely()
        num_images = 0
        for images, labels in batches:
            images = images.contiguous(memory_format=torch.channels_last)
            with autocast(device, ours.training.numerics):
                loss = functional.cross_entropy(network(images), labels)
            torch.autograd.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            num_images += len(images)
        return num_images

    return {
        TIMM_STEP: lambda: train([ours.batch] * ours.num_steps),
        TIMM_LOOP: lambda: train(loader),
        TIMM_LOADER: lambda: exhaust(loader),
    }


def measure(
    contestants: dict[str, Contestant], device: torch.device, *, rounds: int
) -> dict[str, list[float]]:
    """Return the images a second of each in every round."""
    speeds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, run in contestants.items():
            wait_for(device)
            start = time.perf_counter()
            num_images = run()
            wait_for(device)
            if number:  # the first one starts libraries, chooses kernels and fills caches
                speeds[name].append(num_images / (time.perf_counter() - start))
    return speeds


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def print_speeds(speeds: dict[str, list[float]]) -> None:
    """Print the table, and the ratios, which are taken round by round."""
    print(f"{'images a second':34}{'median':>8}  min .. max")
    for name, values in speeds.items():
        digits = 0 if max(values) > 100 else 1
        middle, low, high = (
            f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values))
        )
        print(f"{name:34}{middle:>8}  {low} .. {high}")
    loop = max(
        (name for name in speeds if name.startswith(OUR_LOOP)),
        key=lambda name: statistics.median(speeds[name]),
    )
    print()
    for name, base, wanted in (
        (loop, OUR_STEP, f" (wanted: at least {WANTED_SHARE})"),
        (TIMM_LOOP, TIMM_STEP, ""),
        (OUR_STEP, TIMM_STEP, ""),
        (loop, TIMM_LOOP, ""),
        (OUR_STEP, FREE_STEP, ", the price of equal bytes"),
    ):
        ratios = [value / other for value, other in zip(speeds[name], speeds[base], strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} .. {max(ratios):.2f})"
        print(f"{name} / {base}: {spread}{wanted}")


class _Spans(NamedTuple):
    """Milliseconds of a device's work in a profile."""

    busy: float
    copying: float
    """To the device, whether or not it computed meanwhile."""


def explain_waits(ours: Ours, device: torch.device) -> str:
    """Profile an epoch of the loop, and return what waits for what, and what would mend it."""
    waiting = 0.0

    def watch(batches: Iterable[Batch]) -> Iterator[Batch]:
        nonlocal waiting
        iterator = iter(batches)
        while True:
            start = time.perf_counter()
            batch = next(iterator, None)
            waiting += time.perf_counter() - start
            if batch is None:
                return
            yield batch

    phase = replace(ours.phase, train_batches=cast(Any, watch(ours.phase.train_batches)))
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    wait_for(device)
    start = time.perf_counter()
    with profile(activities=activities) as profiler:
        ours.train(phase)
        issued = time.perf_counter() - start
        wait_for(device)
        total = time.perf_counter() - start
    lines = [
        "",
        "where the loop waits (threads, under the profiler, which slows the CPU):",
        f"  loading and changing pictures: {waiting / total:.0%} of the time",
        f"  giving the device its work:    {(issued - waiting) / total:.0%}",
    ]
    if device.type == "cuda":
        spans = measure_spans(profiler)
        idle = max(0.0, 1 - spans.busy / 1000 / total)
        copying = spans.copying / 1000 / total
        lines += [
            f"  the GPU is idle:               {idle:.0%}",
            f"  copies to the GPU take:        {copying:.1%}, the most that a prefetch could save",
            f"  {advise(idle=idle, waiting=waiting / total, copying=copying)}",
        ]
    lines += ["  most time of the CPU, a step:"]
    for row in sorted(profiler.key_averages(), key=lambda row: -row.self_cpu_time_total)[:8]:
        name = row.key.removeprefix("autograd::engine::evaluate_function: ")[:48]
        per_step, calls = row.self_cpu_time_total / 1000 / ours.num_steps, row.count / ours.num_steps
        lines.append(f"    {name:50}{per_step:8.2f} ms, {calls:.0f} calls")
    return "\n".join(lines)


def measure_spans(profiler: profile) -> _Spans:
    """Add up the times at which a GPU did anything at all, and those of its copies from the CPU."""
    spans = sorted(
        (event.time_range.start, event.time_range.end, event.name)
        for event in cast(Any, profiler).events()
        # Spans that only name a part of the program hold the gaps in it too.
        if event.device_type.name == "CUDA" and not event.is_user_annotation
    )
    busy, last_end = 0.0, float("-inf")
    for start, end, _ in spans:
        busy += max(0.0, end - max(start, last_end))
        last_end = max(last_end, end)
    copying = sum(end - start for start, end, name in spans if "Memcpy HtoD" in name)
    return _Spans(busy / 1000, copying / 1000)


def advise(*, idle: float, waiting: float, copying: float) -> str:
    """Return what mends the largest wait, from shares of the loop's time."""
    if copying > 0.03:
        return "-> prefetch to the GPU on a side stream: the copies take more than 3 %"
    if idle < 1 - WANTED_SHARE:
        return "-> nothing: the GPU is hardly idle"
    if waiting > 0.5:
        return "-> more threads or processes for the pictures, or pictures packed smaller"
    return "-> fewer, larger calls: training.compile, CUDA graphs"


if __name__ == "__main__":
    main()
