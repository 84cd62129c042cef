"""The training loop: forward, loss, zero_grad, backward, step."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from schemas.vision.history import EpochRecord, Scores
from schemas.vision.initial_weights import InitialWeights
from schemas.vision.runtime import Numerics
from stages.shared.errors import InputError
from stages.train.best import is_better
from stages.train.calibration import calibrate
from stages.train.compiling import compile_steps
from stages.train.lr_scheduler import refresh_rates
from stages.train.order import EpochOrder
from stages.train.progress import TrainingProgress
from stages.train.state import Best, TrainingState
from stages.vision import scores
from stages.vision.dataset import PreparedImages
from stages.vision.draws import derive_seed
from stages.vision.dropout import draw_dropout, find_dropouts
from stages.vision.inference import compute_logits
from stages.vision.runtime import autocast, seed_torch
from stages.vision.transforms import Mixing

Batches = DataLoader[tuple[Tensor, Tensor]]

_STEPS_BETWEEN_LOOKS = 50
"""Looking at the losses makes the processor wait for the device."""


@dataclass(frozen=True)
class Training:
    """What stays the same while training, beside the TrainingState that changes."""

    network: nn.Module
    """What an epoch runs: the state's network, or a part of it that is trained alone."""

    initial_weights: InitialWeights | None
    """What the network started from."""

    criterion: nn.Module
    mixing: Mixing | None
    train_images: PreparedImages
    train_order: EpochOrder
    train_batches: Batches
    val_images: PreparedImages
    val_batches: Batches
    batch_size: int
    num_classes: int
    best_metric: str
    max_grad_norm: float | None
    accumulation_steps: int
    device: torch.device
    numerics: Numerics
    seed: int
    progress: TrainingProgress
    is_compiled: bool
    """Whether training steps are compiled. Validation never is, so that evaluate repeats its bits."""

    @cached_property
    def forward(self) -> Callable[[Tensor], Tensor]:
        """The network's forward pass in training steps."""
        return compile_steps(self.network) if self.is_compiled else self.network


SavePoint = Callable[[TrainingState], None]
"""Called after every step and every epoch, where the state is whole: may save it, may end the run."""


def run_epoch(training: Training, state: TrainingState, *, save_point: SavePoint) -> None:
    """Finish the state's epoch: the steps that are left, validation, and what is kept of it.

    Raises:
        InputError: The loss is no longer a finite number.
    """
    training.progress.start_epoch(state.epoch + 1)
    train_steps(training, state, save_point=save_point)
    train_loss, train_accuracy = score_steps(state)
    with state.kept_weights():
        logits, labels = compute_logits(
            training.network, training.val_batches, device=training.device, numerics=training.numerics
        )
        record = EpochRecord(
            epoch=state.epoch + 1,
            lr=state.lr,
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            val=score_validation(training, logits, labels, epoch=state.epoch),
        )
        is_best = is_better(
            record.val, state.best.record.val if state.best else None, metric=training.best_metric
        )
        if is_best:
            calibration = calibrate(logits, labels)
            state.best = Best(record, calibration=calibration, weights=copy_weights(state.network))
    if state.plateau:
        state.plateau.watch(record.val)
        refresh_rates(state.lr_scheduler)
    state.history.append(record)
    state.start_next_epoch()
    training.progress.finish_epoch(record, is_best=is_best)
    save_point(state)


def train_steps(training: Training, state: TrainingState, *, save_point: SavePoint) -> None:
    """Go through the training images that are left of the epoch, step by step.

    Raises:
        InputError: The loss is no longer a finite number.
    """
    network, criterion, optimizer, scaler = (
        training.network,
        training.criterion,
        state.optimizer,
        state.scaler,
    )
    network.train()
    training.train_images.set_epoch(state.epoch)
    order = training.train_order
    order.set_epoch(state.epoch, start=state.step * training.batch_size)
    dropouts = find_dropouts(state.network)

    for images, targets in training.train_batches:
        # What is dropped depends on seed, epoch and sample; in torchvision's and timm's own layers, which
        # draw from torch's global numbers, on seed, epoch and step.
        samples = order.samples_of(state.step, batch_size=training.batch_size)
        seed_torch(derive_seed(training.seed, state.epoch, state.step), training.device)
        images = images.to(training.device, non_blocking=True, memory_format=torch.channels_last)
        targets = targets.to(training.device, non_blocking=True)
        if training.mixing is not None:
            images, targets = training.mixing(images, targets, epoch=state.epoch, step=state.step)

        for part in divide(len(images), num_parts=training.accumulation_steps):
            draw_dropout(dropouts, seed=training.seed, epoch=state.epoch, samples=samples[part])
            with autocast(training.device, training.numerics):
                logits = training.forward(images[part])
                loss = criterion(logits.float(), targets[part])

            if part.start == 0:
                optimizer.zero_grad(set_to_none=True)
            # The batch's mean is made of its parts' means, each as heavy as it has images.
            scaler.scale(loss * (len(logits) / len(images))).backward()

            # Summed up on the device: asking for a number every step would make the processor wait for it.
            state.losses[state.step] += loss.detach() * len(logits)
            state.num_correct += count_correct(logits.detach(), targets[part])

        if training.max_grad_norm is not None:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(network.parameters(), training.max_grad_norm)
        state.lr = float(optimizer.param_groups[0]["lr"])
        scaler.step(optimizer)
        scaler.update()
        state.lr_scheduler.step()
        if state.average:
            state.average.update(state.network)

        state.num_images += len(images)
        state.step += 1
        if state.step % _STEPS_BETWEEN_LOOKS == 0:
            state.refuse_non_finite_loss()
        training.progress.advance(len(images))
        save_point(state)


def divide(num_images: int, *, num_parts: int) -> list[slice]:
    """Return the parts of a batch, equally large but for the last."""
    num_each = -(-num_images // num_parts)
    return [slice(start, start + num_each) for start in range(0, num_images, num_each)]


def smallest_part(num_images: int, *, batch_size: int, num_parts: int) -> int:
    """Return how many images the smallest part of an epoch's batches has."""
    batches = {min(num_images, batch_size), num_images % batch_size} - {0}
    return min(len(range(batch)[divide(batch, num_parts=num_parts)[-1]]) for batch in batches)


def count_correct(logits: Tensor, targets: Tensor) -> Tensor:
    """Return how many answers are right, int64 (), for logits (N, C).

    Targets are labels (N,) int64, or one probability a class (N, C), as MixUp and CutMix make them; of those
    the largest is the right one, so that a mixed image counts for the label that it shows more of.
    """
    labels = targets if targets.dim() == 1 else targets.argmax(dim=1)
    return (logits.argmax(dim=1) == labels).sum()


def score_steps(state: TrainingState) -> tuple[float, float]:
    """Return, over the epoch's steps, the mean loss an image and the share answered correctly.

    Raises:
        InputError: The loss is no longer a finite number.
    """
    state.refuse_non_finite_loss()
    # On the processor, for mps has no float64.
    loss = state.losses.cpu().sum(dtype=torch.float64).item() / state.num_images
    return loss, state.num_correct.item() / state.num_images


def score_validation(training: Training, logits: Tensor, labels: Tensor, *, epoch: int) -> Scores:
    """Score answers to the validation split, by the loss the network is trained with.

    Args:
        training: The run.
        logits: float32 (N, num_classes).
        labels: int64 (N,).
        epoch: Counted from 0.

    Raises:
        InputError: The loss is no longer a finite number.
    """
    loss = training.criterion(logits.to(training.device), labels.to(training.device)).item()
    if not math.isfinite(loss):
        raise InputError(
            f"train: the validation loss became {loss} after epoch {epoch + 1}; lower optimizer.lr, or set "
            "training.precision: float32"
        )
    confusion = scores.count_confusion(
        labels.numpy(), logits.argmax(dim=1).numpy(), num_classes=training.num_classes
    )
    tally = scores.tally_confusion(confusion)
    return Scores(
        loss=loss,
        accuracy=float(scores.accuracy(tally)),
        balanced_accuracy=float(scores.balanced_accuracy(tally)),
        macro_f1=float(scores.macro_f1(tally)),
    )


def copy_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of all weights and buffers, on the processor."""
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
