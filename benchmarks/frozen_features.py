"""Training a head on features computed once, against the whole network in every step.

    python -m benchmarks.frozen_features
    python -m benchmarks.frozen_features --model resnet18 --side-px 32 --num-images 200 --epochs 2 --rounds 1

Trains the head of a torchvision model on random images both ways, alternating, and prints the ratio of the
times and how far metrics and weights differ. The time of computing the features is in it.
"""

import argparse
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, optim

from benchmarks.timing import measure_alternately, print_table
from schemas.train.transfer import Transfer
from schemas.vision.checkpoint import EpochRecord
from schemas.vision.network import ChosenNetwork, Torchvision
from schemas.vision.runtime import Numerics
from schemas.vision.transforms import Normalize, ToTensor
from stages.train.epoch_table import TrainingProgress
from stages.train.loop import Phase, Training, run_epoch
from stages.train.loss import CrossEntropy
from stages.train.parts import PartSampler
from stages.train.sampler import EpochSampler
from stages.train.state import TrainingState, begin_state
from stages.train.transfer import Phases, build_parameter_groups
from stages.vision.dataset import PreparedImages, build_loader, read_manifest
from stages.vision.features import FeatureStore
from stages.vision.networks import build_network
from stages.vision.runtime import make_deterministic
from stages.vision.transforms import build_transforms
from tests.vision.prepared import write_prepared

FROZEN = Transfer(freeze="backbone", unfreeze_after_epochs=None, backbone_lr_factor=1.0, head_lr_factor=1.0)
CPU = torch.device("cpu")


class Result(NamedTuple):
    """What a run came to."""

    records: list[EpochRecord]
    weights: dict[str, Tensor]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="resnet18", help="of torchvision; default: %(default)s")
    parser.add_argument("--side-px", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--num-images", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_prepared(
            folder / "prepared",
            num_train=-(-arguments.num_images // 3),
            num_val=50,
            height_px=arguments.side_px,
            width_px=arguments.side_px,
            channels=3,
        )
        results: dict[str, Result] = {}

        def contest(way: str, *, caches: bool) -> None:
            results[way] = train(folder, arguments, caches=caches)

        seconds = measure_alternately(
            {
                "features once": lambda: contest("features once", caches=True),
                "whole network": lambda: contest("whole network", caches=False),
            },
            rounds=arguments.rounds,
        )
    print_table(seconds, base="features once")
    print(compare(results["features once"], results["whole network"]))


def train(folder: Path, arguments: argparse.Namespace, *, caches: bool) -> Result:
    """Train the head for all epochs, from the same initial weights."""
    training, state, whole = build_run(folder / "prepared", arguments)
    phases = Phases(training, state.network, whole, FROZEN)
    if caches:
        phases.keep_features(FeatureStore(Path(tempfile.mkdtemp(dir=folder)), key="", say=print))
    for epoch in range(arguments.epochs):
        run_epoch(training, state, phases.at(epoch), save_point=lambda state: None)
    return Result(state.history, state.network.state_dict())


def build_run(prepared: Path, arguments: argparse.Namespace) -> tuple[Training, TrainingState, Phase]:
    """Return a run with SGD on prepared images."""
    numerics = Numerics(threads=arguments.threads, precision="float32")
    make_deterministic(numerics)
    torch.manual_seed(0)
    manifest = read_manifest(prepared)
    chosen = ChosenNetwork(name="torchvision", arguments=Torchvision(model=arguments.model, weights=None))
    network = build_network(chosen, image=manifest.image, num_classes=len(manifest.classes))
    network = network.to(memory_format=torch.channels_last)
    transforms = build_transforms(
        (ToTensor(name="ToTensor"), Normalize(name="Normalize", mean=manifest.mean, std=manifest.std))
    )
    images = PreparedImages(prepared, manifest, "train", transform=transforms)
    val_images = PreparedImages(prepared, manifest, "val", transform=transforms)
    parts = PartSampler(EpochSampler(images.labels, shuffle=True, seed=0), batch_size=64)
    optimizer = optim.SGD(build_parameter_groups(network, FROZEN, lr=0.01), momentum=0.9)
    training = Training(
        criterion=CrossEntropy(label_smoothing=0.0),
        mixing=None,
        train_images=images,
        val_images=val_images,
        parts=parts,
        num_classes=len(manifest.classes),
        best_metric="loss",
        max_grad_norm=None,
        device=CPU,
        numerics=numerics,
        seed=0,
        progress=TrainingProgress(num_epochs=arguments.epochs, images_per_epoch=len(images)),
    )
    whole = Phase(
        network,
        network,
        train_batches=build_loader(images, batches=parts),
        val_batches=build_loader(val_images, batch_size=64),
    )
    state = begin_state(
        network,
        optimizer,
        optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0),
        steps_per_epoch=parts.num_steps,
        device=CPU,
    )
    return training, state, whole


def compare(ours: Result, theirs: Result) -> str:
    """Return in words how far two runs differ."""
    losses = [
        abs(one.val.loss - other.val.loss) for one, other in zip(ours.records, theirs.records, strict=True)
    ]
    accuracies = [
        abs(one.val.accuracy - other.val.accuracy)
        for one, other in zip(ours.records, theirs.records, strict=True)
    ]
    weights = [
        (ours.weights[name].double() - theirs.weights[name].double()).abs().max().item()
        for name in ours.weights
    ]
    return (
        f"largest difference of any epoch's validation loss {max(losses):.1e}, accuracy "
        f"{max(accuracies):.1e}; of any weight at the end {np.max(weights):.1e}"
    )


if __name__ == "__main__":
    main()
