"""The training loop: forward, loss, zero_grad, backward, step."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader

from schemas.vision.history import EpochRecord, Scores
from schemas.vision.runtime import Numerics
from stages.shared.errors import InputError
from stages.train.order import EpochOrder
from stages.train.progress import TrainingProgress
from stages.vision import scores
from stages.vision.dataset import PreparedImages
from stages.vision.draws import derive_seed
from stages.vision.inference import compute_logits
from stages.vision.runtime import autocast

Batches = DataLoader[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Training:
    """All that an epoch needs, on the device."""

    network: nn.Module
    criterion: nn.Module
    optimizer: optim.Optimizer
    lr_scheduler: optim.lr_scheduler.LRScheduler
    train_images: PreparedImages
    train_order: EpochOrder
    train_batches: Batches
    val_batches: Batches
    num_classes: int
    device: torch.device
    numerics: Numerics
    seed: int
    progress: TrainingProgress


def run_epoch(training: Training, *, epoch: int) -> EpochRecord:
    """Train for one epoch, counted from 0, then validate.

    Raises:
        InputError: The loss is no longer a finite number.
    """
    training.progress.start_epoch(epoch + 1)
    lr, train_loss, train_accuracy = train_one_epoch(training, epoch=epoch)
    val = validate(training, epoch=epoch)
    return EpochRecord(epoch=epoch + 1, lr=lr, train_loss=train_loss, train_accuracy=train_accuracy, val=val)


def train_one_epoch(training: Training, *, epoch: int) -> tuple[float, float, float]:
    """Go once through the training images.

    Returns:
        The learning rate of the last step, the mean loss an image, and the share answered correctly, both
        while the weights were changing.

    Raises:
        InputError: The loss is no longer a finite number.
    """
    network, criterion, optimizer = training.network, training.criterion, training.optimizer
    network.train()
    training.train_images.set_epoch(epoch)
    training.train_order.set_epoch(epoch)
    # Summed up on the device: asking for a number every step would make the processor wait for it.
    losses = torch.zeros(len(training.train_batches), device=training.device)
    num_correct = torch.zeros((), dtype=torch.int64, device=training.device)
    num_images = 0
    lr = 0.0

    for step, (images, labels) in enumerate(training.train_batches):
        # Dropout draws from here: what a step draws depends on its number, not on the steps before it.
        torch.manual_seed(derive_seed(training.seed, epoch, step))
        images = images.to(training.device, non_blocking=True, memory_format=torch.channels_last)
        labels = labels.to(training.device, non_blocking=True)

        with autocast(training.device, training.numerics):
            logits = network(images)
            loss = criterion(logits.float(), labels)

        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        lr = float(training.lr_scheduler.get_last_lr()[0])
        optimizer.step()
        training.lr_scheduler.step()

        losses[step] = loss.detach() * len(labels)
        num_correct += (logits.detach().argmax(dim=1) == labels).sum()
        num_images += len(labels)
        training.progress.advance(len(labels))

    losses = losses.cpu()  # before the float64 sum, which mps does not have
    refuse_non_finite(losses, epoch=epoch)
    return lr, losses.sum(dtype=torch.float64).item() / num_images, num_correct.item() / num_images


def validate(training: Training, *, epoch: int) -> Scores:
    """Score the network on the validation split, by the loss it is trained with.

    Raises:
        InputError: The loss is no longer a finite number.
    """
    logits, labels = compute_logits(
        training.network, training.val_batches, device=training.device, numerics=training.numerics
    )
    loss = training.criterion(logits.to(training.device), labels.to(training.device)).item()
    if not math.isfinite(loss):
        raise InputError(
            f"train: the validation loss became {loss} after epoch {epoch + 1}; lower optimizer.lr, or set "
            "training.precision: float32"
        )
    confusion = scores.count_confusion(
        labels.numpy(), logits.argmax(dim=1).numpy(), num_classes=training.num_classes
    )
    return Scores(
        loss=loss,
        accuracy=scores.accuracy(confusion),
        balanced_accuracy=scores.balanced_accuracy(confusion),
        macro_f1=scores.macro_f1(confusion),
    )


def refuse_non_finite(losses: Tensor, *, epoch: int) -> None:
    """Stop at a loss that is not a number, and name the first step that had one.

    Raises:
        InputError: A loss of the epoch (steps,) is infinite or not a number.
    """
    bad_steps = torch.nonzero(~torch.isfinite(losses))
    if len(bad_steps):
        step = int(bad_steps[0])
        raise InputError(
            f"train: the loss became {losses[step].item()} in epoch {epoch + 1}, step {step + 1} of "
            f"{len(losses)}; lower optimizer.lr, or set training.precision: float32"
        )
