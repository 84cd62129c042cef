"""All that changes while training, in one place: what a stopped run resumes from.

The rule that makes a resumed run end in the bits of an unbroken one: whatever changes from step to step is in
`TrainingState`; everything else is a function of parameters, seed, epoch, step and sample. A new feature that
remembers something from one step to the next adds a member to the state, and nothing else has to know.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn, optim

from schemas.vision.checkpoint import Calibration, EpochRecord, Scores
from stages.shared.errors import InputError
from stages.train.lr_scheduler import Plateau

StateDict = dict[str, Any]
"""Dicts, lists, tuples, tensors, numbers, strings and None, nested in any way."""


class Stateful(Protocol):
    """What torch's optimizers, schedules and scalers are: something that can be restored."""

    def state_dict(self) -> StateDict:
        """Return all that changes."""
        ...

    def load_state_dict(self, state_dict: StateDict) -> Any:
        """Become what state_dict was taken from."""
        ...


class WeightAverage:
    """Exponential moving average of all weights and buffers: average += (1 - decay) * (weights - average).

    Its predictions are often better than the last weights'. While the average is young, decay is smaller,
    (1 + steps) / (10 + steps), so that it soon forgets the initial weights. Running statistics of batch norm
    are averaged like weights, so that they fit them; integers, such as the number of batches, are copied.
    Source: Polyak and Juditsky 1992, doi:10.1137/0330046; the warm-up is TensorFlow's.
    """

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        self._tensors = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        self._decay = decay
        self._num_steps = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights after an optimizer step."""
        self._num_steps += 1
        decay = min(self._decay, (1 + self._num_steps) / (10 + self._num_steps))
        for name, now in network.state_dict().items():
            if now.is_floating_point():
                self._tensors[name].lerp_(now, 1 - decay)
            else:
                self._tensors[name].copy_(now)

    @contextmanager
    def swapped_into(self, network: nn.Module) -> Iterator[None]:
        """Have the network hold the average in the block, and its own weights again afterwards."""
        self._swap(network)
        try:
            yield
        finally:
            self._swap(network)

    @torch.no_grad()
    def _swap(self, network: nn.Module) -> None:
        # In place: optimizer and compiled code hold on to the network's own tensors.
        for name, tensor in network.state_dict().items():
            kept = tensor.clone()
            tensor.copy_(self._tensors[name])
            self._tensors[name].copy_(kept)

    def state_dict(self) -> StateDict:
        """Return all that changes."""
        return {"tensors": self._tensors, "num_steps": self._num_steps}

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Become what state_dict was taken from."""
        for name, tensor in self._tensors.items():
            tensor.copy_(state_dict["tensors"][name])
        self._num_steps = state_dict["num_steps"]


class Clock:
    """Seconds of training, those before a stop included."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._started = now()

    @property
    def seconds(self) -> float:
        """Return how long training has taken so far."""
        return self._now() - self._started

    def state_dict(self) -> StateDict:
        """Return all that changes."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Continue from what state_dict says."""
        self._started = self._now() - state_dict["seconds"]


@dataclass(frozen=True)
class Snapshot:
    """An epoch whose weights are kept."""

    record: EpochRecord
    calibration: Calibration
    weights: dict[str, Tensor]
    """A copy, on the CPU."""


def take_snapshot(network: nn.Module, record: EpochRecord, calibration: Calibration) -> Snapshot:
    """Return a snapshot of the weights and buffers that the network holds now."""
    weights = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
    return Snapshot(record, calibration, weights)


@dataclass
class TrainingState:
    """A run between two steps."""

    network: nn.Module
    optimizer: optim.Optimizer
    lr_scheduler: optim.lr_scheduler.LambdaLR

    losses: Tensor
    """Loss of each step of the unfinished epoch, times its images: float32 (steps_per_epoch,), on device."""

    num_correct: Tensor
    """Correct predictions in the unfinished epoch: int64 (), on the device."""

    num_images: int = 0
    """Images trained on in the unfinished epoch."""

    epoch: int = 0
    """The unfinished epoch, counted from 0."""

    step: int = 0
    """Its next step, counted from 0; the number of steps in an epoch when only validation is left."""

    lr: float = 0.0
    """Learning rate of the last step."""

    history: list[EpochRecord] = field(default_factory=list)
    """The finished epochs."""

    best: Snapshot | None = None

    plateau: Plateau | None = None
    average: WeightAverage | None = None
    """Validated and kept in place of the network's weights."""

    clock: Clock = field(default_factory=Clock)
    scaler: torch.amp.GradScaler = field(default_factory=lambda: torch.amp.GradScaler(enabled=False))
    """Keeps float16 gradients from vanishing; without float16 it does nothing."""

    def validation_weights(self) -> AbstractContextManager[None]:
        """Return the context in which the network holds the weights that are validated and kept."""
        return self.average.swapped_into(self.network) if self.average else nullcontext()

    def describe_place(self) -> str:
        """Return in words how far the run has come."""
        if self.step == 0:
            return f"after epoch {self.epoch}"
        return f"in epoch {self.epoch + 1}, after step {self.step} of {len(self.losses)}"

    def is_best(self, scores: Scores, *, metric: str) -> bool:
        """Return whether an epoch's validation scores beat the best so far by a metric.

        Of two equal ones the lower loss is better, then the earlier: small validation splits often give equal
        accuracies, and the loss still tells them apart.
        """
        return self.best is None or _rank(scores, metric) > _rank(self.best.record.val, metric)

    def start_next_epoch(self) -> None:
        """Reset what counts within an epoch."""
        self.epoch += 1
        self.step = self.num_images = 0
        self.losses.zero_()
        self.num_correct.zero_()

    def check_losses(self) -> None:
        """Stop at a loss that is NaN or infinite, and name the first step of the epoch that had one.

        Raises:
            InputError: There is one.
        """
        losses = self.losses.cpu()
        bad_steps = torch.nonzero(~torch.isfinite(losses))
        if len(bad_steps):
            step = int(bad_steps[0])
            raise InputError(
                f"train: the loss became {losses[step].item()} in epoch {self.epoch + 1}, step {step + 1} of "
                f"{len(losses)}; lower optimizer.lr, or set training.precision: float32"
            )

    @property
    def _parts(self) -> dict[str, Stateful]:
        """Return the members that not every run has and those that keep their own state, by name."""
        parts = {
            "plateau": self.plateau,
            "average": self.average,
            "clock": self.clock,
            "scaler": self.scaler if self.scaler.is_enabled() else None,
        }
        return {name: part for name, part in parts.items() if part is not None}

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
            "parts": {name: part.state_dict() for name, part in self._parts.items()},
        }

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Become what state_dict was taken from.

        The tensors of network, losses and num_correct are overwritten, not replaced: the optimizer, a
        compiled forward pass and a frozen phase hold on to them.
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
        self.best = best and Snapshot(
            record=EpochRecord.model_validate(best["record"]),
            calibration=Calibration.model_validate(best["calibration"]),
            weights=best["weights"],
        )
        # The saved state is that of the same parameters, so it has the same parts.
        assert self._parts.keys() == state_dict["parts"].keys()
        for name, part in self._parts.items():
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


def _rank(scores: Scores, metric: str) -> tuple[float, float]:
    return (0.0 if metric == "loss" else getattr(scores, metric), -scores.loss)
