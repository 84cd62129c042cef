"""The epoch of `benchmarks.epoch` in a plain script, in fastai and in Ultralytics.

Every function returns a call that trains an epoch and returns what it took, without setting up, validation
and saving. `folder` holds train/<class>/ and val/<class>/; network is new each time.
"""

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn, optim
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from benchmarks.timing import Seconds, Stopwatch

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
NUM_WORKERS = 2

Epoch = Callable[[], Seconds]


def build_layers(*, num_classes: int) -> nn.Sequential:
    """Return three blocks of convolution, ReLU and pooling, and a linear layer, for 32 px."""
    layers: list[nn.Module] = []
    in_channels = 3
    for channels in (32, 64, 128):
        layers += [nn.Conv2d(in_channels, channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        in_channels = channels
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(in_channels * 16, num_classes))


def build_plain(folder: Path, *, batch_size: int) -> Epoch:
    """Return the loop of every tutorial: ImageFolder, DataLoader, float32."""
    images = ImageFolder(
        folder / "train",
        transform=transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        ),
    )
    loader = DataLoader(images, batch_size=batch_size, shuffle=True, num_workers=NUM_WORKERS)
    network = build_layers(num_classes=len(images.classes))
    optimizer = optim.AdamW(network.parameters(), lr=1e-3)

    def run() -> Seconds:
        torch.set_deterministic_debug_mode("default")
        stopwatch = Stopwatch()
        for batch, labels in loader:
            loss = functional.cross_entropy(network(batch), labels)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        return stopwatch.read()

    return run


def build_fastai(folder: Path, *, batch_size: int) -> Epoch:
    """Return fastai's Learner: items padded and cropped by workers, batches flipped and normalized."""
    vision: Any = importlib.import_module("fastai.vision.all")
    batches = vision.ImageDataLoaders.from_folder(
        folder,
        train="train",
        valid="val",
        bs=batch_size,
        num_workers=NUM_WORKERS,
        item_tfms=[vision.CropPad(40), vision.RandomCrop(32)],
        batch_tfms=[vision.Flip(), vision.Normalize.from_stats(MEAN, STD)],
        device=torch.device("cpu"),
    )

    class Measure(vision.Callback):  # type: ignore[misc]
        """Measures the training half of an epoch."""

        def before_train(self) -> None:
            self.stopwatch = Stopwatch()

        def after_train(self) -> None:
            self.taken = self.stopwatch.read()

    measure = Measure()
    learner = vision.Learner(
        batches, build_layers(num_classes=batches.c), loss_func=nn.CrossEntropyLoss(), cbs=[measure]
    )

    def run() -> Seconds:
        torch.set_deterministic_debug_mode("default")
        with learner.no_bar(), learner.no_logging():
            learner.fit(1, lr=1e-3)
        taken: Seconds = measure.taken
        return taken

    return run


class _EpochIsOver(Exception):
    """Ends Ultralytics' run before it validates and saves."""


def build_ultralytics(folder: Path, *, batch_size: int) -> Epoch:
    """Return Ultralytics' trainer for classification, its augmentation reduced to crop and flip."""
    os.environ["YOLO_CONFIG_DIR"] = str(folder.parent)
    os.environ["YOLO_VERBOSE"] = "false"
    # Otherwise it writes a folder dvclive/ here, for DVCLive is installed.
    importlib.import_module("ultralytics").settings.update({"dvc": False})
    classify: Any = importlib.import_module("ultralytics.models.yolo.classify")
    tasks: Any = importlib.import_module("ultralytics.nn.tasks")

    class Trainer(classify.ClassificationTrainer):  # type: ignore[misc]
        """Trains the network that all the others train."""

        def get_model(self, *_: Any, **__: Any) -> Any:
            network = tasks.ClassificationModel("yolo11n-cls.yaml", nc=self.data["nc"], verbose=False)
            network.model = build_layers(num_classes=self.data["nc"])
            for place, layer in enumerate(network.model):
                layer.i, layer.f, layer.type = place, -1, type(layer).__name__
            network.save = []
            return network

    overrides = {
        "model": "yolo11n-cls.yaml",
        "data": str(folder),
        "project": str(folder.parent / "ultralytics"),
        "imgsz": 32,
        "batch": batch_size,
        "nbs": batch_size,
        "epochs": 1,
        "workers": NUM_WORKERS,
        "device": "cpu",
        "optimizer": "AdamW",
        "lr0": 1e-3,
        "warmup_epochs": 0,
        "pretrained": False,
        "plots": False,
        "verbose": False,
        "auto_augment": None,
        "erasing": 0.0,
        "hsv_h": 0.0,
        "hsv_s": 0.0,
        "hsv_v": 0.0,
    }

    def run() -> Seconds:
        torch.set_deterministic_debug_mode("default")
        stopwatches: list[Stopwatch] = []
        taken: list[Seconds] = []
        threads = torch.get_num_threads()
        trainer = Trainer(overrides=dict(overrides))
        torch.set_num_threads(threads)

        def note_start(trainer: Any) -> None:
            stopwatches.append(Stopwatch())

        def note_end(trainer: Any) -> None:
            taken.append(stopwatches[0].read())
            raise _EpochIsOver

        trainer.add_callback("on_train_epoch_start", note_start)
        trainer.add_callback("on_train_epoch_end", note_end)
        try:
            trainer.train()
        except _EpochIsOver:
            return taken[0]
        raise AssertionError("the epoch ends by itself")

    return run
