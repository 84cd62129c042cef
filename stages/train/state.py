"""All that changes while training, in one place: what a stopped run goes on from."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn, optim

from schemas.vision.calibration import Calibration
from schemas.vision.history import EpochRecord
from stages.shared.errors import InputError
from stages.train.average import WeightAverage
from stages.train.ending import Clock
from stages.train.plateau import Plateau

StateDict = dict[str, Any]
"""Dicts, lists, tuples, tensors, numbers, texts and None, nested as one likes."""


class Stateful(Protocol):
    """What torch's optimizers, schedules and scalers are: something that can be put back as it was."""

    def state_dict(self) -> StateDict:
        """Return all that changes."""
        ...

    def load_state_dict(self, state_dict: StateDict) -> Any:
        """Become what state_dict was taken from."""
        ...


@dataclass(frozen=True)
class Best:
    """The best epoch so far."""

    record: EpochRecord
    calibration: Calibration
    weights: dict[str, Tensor]
    """A copy, on the processor."""


@dataclass
class TrainingState:
    """A run between two steps.

    What is not in here is the same on every run, or a function of seed, epoch, step and sample. So whatever
    else comes to change from step to step belongs in here, or in `parts`.
    """

    network: nn.Module
    optimizer: optim.Optimizer
    lr_scheduler: optim.lr_scheduler.LambdaLR

    losses: Tensor
    """Of each step of the unfinished epoch, times its images: float32 (steps_per_epoch,), on the device."""

    num_correct: Tensor
    """Images of the unfinished epoch answered correctly: int64 (), on the device."""

    num_images: int = 0
    """Images of the unfinished epoch trained on."""

    epoch: int = 0
    """The unfinished epoch, counted from 0."""

    step: int = 0
    """Its next step, counted from 0; the number of steps in an epoch when only validation is left."""

    lr: float = 0.0
    """Learning rate of the step before."""

    history: list[EpochRecord] = field(default_factory=list)
    """The finished epochs."""

    best: Best | None = None

    plateau: Plateau | None = None
    average: WeightAverage | None = None
    """Validated and kept in place of the network's weights."""

    clock: Clock = field(default_factory=Clock)
    scaler: torch.amp.GradScaler = field(default_factory=lambda: torch.amp.GradScaler(enabled=False))
    """Keeps float16 gradients from vanishing; without float16 it does nothing."""

    def kept_weights(self) -> AbstractContextManager[None]:
        """Return the context in which the network holds the weights that are validated and kept."""
        return self.average.lent_to(self.network) if self.average else nullcontext()

    @property
    def parts(self) -> dict[str, Stateful]:
        """Return all else that changes, by name."""
        parts = {
            "plateau": self.plateau,
            "average": self.average,
            "clock": self.clock,
            "scaler": self.scaler if self.scaler.is_enabled() else None,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def describe_place(self) -> str:
        """Return in words how far the run has come."""
        if self.step == 0:
            return f"after epoch {self.epoch}"
        return f"in epoch {self.epoch + 1}, after step {self.step} of {len(self.losses)}"

    def start_next_epoch(self) -> None:
        """Leave a finished epoch behind."""
        self.epoch += 1
        self.step = self.num_images = 0
        self.losses.zero_()
        self.num_correct.zero_()

    def refuse_non_finite_loss(self) -> None:
        """Stop at a loss that is not a number, and name the first step of the epoch that had one.

        Raises:
            InputError: A loss is infinite or not a number.
        """
        losses = self.losses.cpu()
        bad_steps = torch.nonzero(~torch.isfinite(losses))
        if len(bad_steps):
            step = int(bad_steps[0])
            raise InputError(
                f"train: the loss became {losses[step].item()} in epoch {self.epoch + 1}, step {step + 1} of "
                f"{len(losses)}; lower optimizer.lr, or set training.precision: float32"
            )

    def state_dict(self) -> StateDict:
        """Return all of it; tensors are not copied."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "lr_scheduler": self.lr_scheduler.state_dict(),
            "losses": self.losses,
            "num_correct": self.num_correct,
            "num_images": self.num_images,
            "epoch": self.epoch,
            "step": self.step,
            "lr": self.lr,
            "history": [record.model_dump() for record in self.history],
            "best": self.best
            and {
                "record": self.best.record.model_dump(),
                "calibration": self.best.calibration.model_dump(),
                "weights": self.best.weights,
            },
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
        }

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Become what state_dict was taken from.

        The tensors of network, losses and num_correct keep their memory, so that what holds them goes on.
        """
        self.network.load_state_dict(state_dict["network"])
        self.optimizer.load_state_dict(state_dict["optimizer"])
        self.lr_scheduler.load_state_dict(state_dict["lr_scheduler"])
        self.losses.copy_(state_dict["losses"])
        self.num_correct.copy_(state_dict["num_correct"])
        self.num_images = state_dict["num_images"]
        self.epoch = state_dict["epoch"]
        self.step = state_dict["step"]
        self.lr = state_dict["lr"]
        self.history = [EpochRecord.model_validate(record) for record in state_dict["history"]]
        best = state_dict["best"]
        self.best = best and Best(
            record=EpochRecord.model_validate(best["record"]),
            calibration=Calibration.model_validate(best["calibration"]),
            weights=best["weights"],
        )
        assert self.parts.keys() == state_dict["parts"].keys()
        for name, part in self.parts.items():
            part.load_state_dict(state_dict["parts"][name])


def begin_state(
    network: nn.Module,
    optimizer: optim.Optimizer,
    lr_scheduler: optim.lr_scheduler.LambdaLR,
    *,
    steps_per_epoch: int,
    device: torch.device,
) -> TrainingState:
    """Return the state before the first step."""
    return TrainingState(
        network=network,
        optimizer=optimizer,
        lr_scheduler=lr_scheduler,
        losses=torch.zeros(steps_per_epoch, device=device),
        num_correct=torch.zeros((), dtype=torch.int64, device=device),
    )
