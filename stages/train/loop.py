"""The training loop: forward, loss, zero_grad, backward, step.

Three things meet in it: `Training`, which stays the same throughout a run, `TrainingState`, which changes
with every step and is all that a resumed run needs, and `Phase`, which says what an epoch runs: the whole
network on images or, while its backbone is frozen, the head alone.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from schemas.train.training import Training as TrainingParams
from schemas.vision.checkpoint import EndedBy, EpochRecord, Scores
from schemas.vision.runtime import Numerics
from stages.shared.errors import InputError
from stages.train.calibration import calibrate
from stages.train.epoch_table import TrainingProgress
from stages.train.lr_scheduler import refresh_rates
from stages.train.parts import BatchSum, PartSampler
from stages.train.precision import Forward
from stages.train.ranks import ALONE, Processes, check_same_weights
from stages.train.state import TrainingState, take_snapshot
from stages.vision import scores
from stages.vision.dataset import Batches, PreparedImages, explain_lost_workers
from stages.vision.inference import compute_logits
from stages.vision.rng import derive_seed, find_dropouts, seed_dropouts
from stages.vision.runtime import autocast, seed_torch, send
from stages.vision.transforms import Mixing

SavePoint = Callable[[TrainingState], None]
"""Called after every step and every epoch, where the state is whole: may save it, may end the run."""

_STEPS_BETWEEN_CHECKS = 50
"""Reading the losses makes the CPU wait for the device."""


@dataclass(frozen=True)
class Training:
    """What stays the same throughout a run."""

    criterion: nn.Module
    mixing: Mixing | None
    train_images: PreparedImages
    val_images: PreparedImages
    parts: PartSampler
    num_classes: int
    best_metric: str
    max_grad_norm: float | None
    device: torch.device
    numerics: Numerics
    seed: int
    progress: TrainingProgress


@dataclass(frozen=True)
class Phase:
    """What an epoch runs. It computes with the weights of the state's network, of which there is only one."""

    module: nn.Module
    """The network, or a view of it of which only the head trains."""

    forward: Forward
    """The module's forward pass in training steps, which may be compiled. Validation never is, so that
    evaluate repeats its bits.
    """

    train_batches: Batches
    """The parts of training batches that this process computes."""

    val_batches: Batches
    """The batches of the validation split that this process computes."""


@explain_lost_workers()
def run_epoch(training: Training, state: TrainingState, phase: Phase, *, save_point: SavePoint) -> None:
    """Finish the state's epoch: the steps that are left, validation, and what is kept of it.

    Raises:
        InputError: The loss became NaN or infinite, or a worker process was lost.
    """
    training.progress.start_epoch(state.epoch + 1)
    train_steps(training, state, phase, save_point=save_point)
    train_loss, train_accuracy = score_steps(state)
    check_same_weights(training.parts.processes, state.network, epoch=state.epoch)
    with state.validation_weights():
        logits, labels = predict_validation(training, phase.module, phase.val_batches)
        record = EpochRecord(
            epoch=state.epoch + 1,
            lr=state.lr,
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            val=score_validation(training, logits, labels, epoch=state.epoch),
        )
        is_best = state.is_best(record.val, metric=training.best_metric)
        if is_best:
            calibration = calibrate(logits, labels, groups=training.val_images.groups)
            state.best = take_snapshot(state.network, record, calibration)
    if state.plateau:
        state.plateau.update(record.val)
        refresh_rates(state.lr_scheduler)
    state.history.append(record)
    state.start_next_epoch()
    training.progress.finish_epoch(record, is_best=is_best)
    save_point(state)


def train_steps(training: Training, state: TrainingState, phase: Phase, *, save_point: SavePoint) -> None:
    """Train on the images that are left of the epoch, step by step.

    Raises:
        InputError: The loss became NaN or infinite.
    """
    network, optimizer, scaler = state.network, state.optimizer, state.scaler
    parts, parameters = training.parts, list(network.parameters())
    dropouts = find_dropouts(network)
    phase.module.train()
    training.train_images.set_epoch(state.epoch)
    parts.set_epoch(state.epoch, step=state.step)
    batches = iter(phase.train_batches)

    with BatchSum(
        phase.module, parameters, num_parts=parts.num_parts, processes=parts.processes
    ) as batch_sum:
        for step in range(state.step, parts.num_steps):
            optimizer.zero_grad(set_to_none=True)

            for part in parts.of_step(step):
                images, targets = next(batches)
                # Random numbers depend on seed, epoch and sample, so that resuming, workers and batch size
                # change none of them. Only mixing, and layers of torchvision and timm, which use torch's
                # global generator, get them by part.
                seed_torch(derive_seed(training.seed, state.epoch, part.number), training.device)
                seed_dropouts(dropouts, seed=training.seed, epoch=state.epoch, samples=part.samples)
                images = send(images, training.device, memory_format=torch.channels_last)
                targets = send(targets, training.device)
                if training.mixing is not None:
                    images, targets = training.mixing(images, targets, epoch=state.epoch, step=part.number)

                with autocast(training.device, training.numerics):
                    logits = phase.forward(images)
                    loss = training.criterion(logits.float(), targets)

                batch_sum.begin_part()
                # The gradient of the batch's mean is the sum of its parts', each weighted by its share.
                scaler.scale(loss * part.fraction).backward()
                batch_sum.end_part(loss * len(logits), count_correct(logits.detach(), targets))

            # Summed up on the device: reading a number in every step would make the CPU wait for it.
            for loss, num_correct in batch_sum.finish(num_parts=parts.num_in(step)):
                state.losses[step] += loss
                state.num_correct += num_correct.long()

            if training.max_grad_norm is not None:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(parameters, training.max_grad_norm)
            state.lr = float(optimizer.param_groups[0]["lr"])
            scaler.step(optimizer)
            scaler.update()
            state.lr_scheduler.step()
            if state.average:
                state.average.update(network)

            num_images = parts.num_images(step)
            state.num_images += num_images
            state.step = step + 1
            if state.step % _STEPS_BETWEEN_CHECKS == 0:
                state.check_losses()
            training.progress.advance(num_images)
            save_point(state)


def predict_validation(training: Training, module: nn.Module, batches: Batches) -> tuple[Tensor, Tensor]:
    """Return logits float32 (N, num_classes) and labels int64 (N,) of the validation split, on the CPU.

    The processes share out its batches.
    """
    if len(batches):
        logits, labels = compute_logits(module, batches, device=training.device, numerics=training.numerics)
    else:
        logits, labels = torch.empty(0, training.num_classes), torch.empty(0, dtype=torch.int64)
    processes = training.parts.processes
    return processes.join(logits), processes.join(labels)


def explain_end(
    state: TrainingState, section: TrainingParams, processes: Processes = ALONE
) -> EndedBy | None:
    """Return why training ends after the epochs in the state's history; None if another one follows.

    With `max_minutes` it ends before an epoch that would likely take longer; one is always trained.
    """
    num_finished = len(state.history)
    if num_finished >= section.num_epochs:
        return "num_epochs"
    if section.early_stopping_epochs is not None:
        best_epoch = state.best.record.epoch if state.best else 0
        if num_finished - best_epoch >= section.early_stopping_epochs:
            return "early_stopping"
    if section.max_minutes is not None and num_finished:
        seconds_after_next = state.clock.seconds * (1 + 1 / num_finished)
        # Of several processes, one may have seen the clock a moment later.
        if processes.any(seconds_after_next > 60 * section.max_minutes):
            return "time_budget"
    return None


def count_correct(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the number of correct predictions, int64 (), for logits (N, C).

    Targets are labels (N,) int64, or one probability a class (N, C), as MixUp and CutMix make them. Of those
    the largest counts, so that a mixed image has the label that it shows more of.
    """
    labels = targets if targets.dim() == 1 else targets.argmax(dim=1)
    return (logits.argmax(dim=1) == labels).sum()


def score_steps(state: TrainingState) -> tuple[float, float]:
    """Return mean loss and accuracy over the epoch's training images, while the weights were changing.

    Raises:
        InputError: The loss became NaN or infinite.
    """
    state.check_losses()
    # On the CPU, for mps has no float64.
    loss = state.losses.cpu().sum(dtype=torch.float64).item() / state.num_images
    return loss, state.num_correct.item() / state.num_images


def score_validation(training: Training, logits: Tensor, labels: Tensor, *, epoch: int) -> Scores:
    """Score predictions on the validation split, by the loss the network is trained with.

    Args:
        training: The run.
        logits: float32 (N, num_classes).
        labels: int64 (N,).
        epoch: Counted from 0.

    Raises:
        InputError: The loss became NaN or infinite.
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
