"""The steps of the learning-rate range test."""

import math
from collections.abc import Sequence

from torch import optim

from schemas.params import Params
from stages.shared.paths import PREPARED
from stages.train.build import build_training
from stages.train.loop import train_steps
from stages.train.stage import refuse_other_form
from stages.train.state import TrainingState
from stages.train.transfer import Phases
from stages.vision.dataset import read_manifest
from stages.vision.transforms import fill_in_statistics


class _Enough(Exception):
    """The last step was taken."""


def measure_losses(params: Params, rates: Sequence[float], *, max_rise: float) -> list[float]:
    """Return the training loss of each step, the learning rate of step i being rates[i].

    Fewer losses come back if one of them is no number or more than max_rise times the lowest.
    """
    manifest = read_manifest(PREPARED)
    refuse_other_form(manifest.image, params)
    transforms = fill_in_statistics(params.transforms, mean=manifest.mean, std=manifest.std)
    whole, state = build_training(params, manifest, transforms)
    # Of the first epoch, whose backbone may be frozen.
    training = Phases(whole, state.network, params.transfer, folder=None).at(0)
    multiples = [rate / params.optimizer.lr for rate in rates]
    # Groups with rates of their own, such as backbone and head, rise together.
    for group in state.optimizer.param_groups:
        group["lr"] = group["initial_lr"]
    state.lr_scheduler = optim.lr_scheduler.LambdaLR(
        state.optimizer, lambda step: multiples[min(step, len(multiples) - 1)]
    )
    losses: list[float] = []

    def look(state: TrainingState) -> None:
        # Here, unlike in training, every step waits for its loss.
        num_images = state.num_images - look_at[0]
        look_at[0] = state.num_images
        loss = state.losses[state.step - 1].item() / num_images
        if not math.isfinite(loss) or (losses and loss > max_rise * min(losses)):
            raise _Enough
        losses.append(loss)
        if len(losses) == len(rates):
            raise _Enough

    look_at = [0]
    try:
        while True:
            train_steps(training, state, save_point=look)
            state.start_next_epoch()
            look_at[0] = 0
    except _Enough:
        return losses
