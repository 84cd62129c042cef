"""Learning-rate range test: train some steps while the rate rises, and find where the loss falls fastest.

    python -m tools.lr_range_test

Uses params.yaml as `train` does, except for the schedule. Writes data/lr_range_test/, which is no output of
the pipeline, and leaves everything else alone. Source: Smith 2017, arXiv:1506.01186.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stages.shared.errors import InputError, run_stage
from stages.shared.files import publish_folder
from stages.shared.process import limit_spinning

if TYPE_CHECKING:
    from schemas.params import Params
    from stages.train.state import TrainingState

FOLDER = Path("data/lr_range_test")

_SMOOTHING = 0.95
_MAX_RISE = 4.0
"""How many times the lowest loss ends the test: from there on it only diverges."""

_WIDTH, _HEIGHT, _MARGIN = 720, 400, 60


@dataclass(frozen=True)
class Point:
    """One step."""

    lr: float
    loss: float
    smoothed: float


def main() -> None:
    """Run the test that the command line asks for."""
    arguments = parse_arguments()
    if not arguments.start_lr < arguments.end_lr:
        raise InputError(
            f"--start-lr: found {arguments.start_lr}; allowed: less than --end-lr, {arguments.end_lr}"
        )
    from stages.params.read import read_params

    params = read_params()
    limit_spinning()
    rates = space_rates(arguments.start_lr, arguments.end_lr, num_steps=arguments.steps)
    from stages.train.stage import LESS_MEMORY
    from stages.vision.runtime import explain_device_errors

    with explain_device_errors("lr_range_test", lambda: LESS_MEMORY):
        points = smooth(rates, measure_losses(params, rates, max_rise=_MAX_RISE))
    suggestion = suggest(points)
    with publish_folder(FOLDER) as folder:
        lines = [f"{point.lr:.6g},{point.loss:.6g},{point.smoothed:.6g}" for point in points]
        (folder / "losses.csv").write_text("\n".join(["lr,loss,smoothed_loss", *lines, ""]), encoding="utf-8")
        (folder / "losses.svg").write_text(draw_plot(points, suggestion), encoding="utf-8")
    if suggestion is None:
        print(f"{FOLDER}: the loss does not fall anywhere between these rates; try a lower --start-lr")
    else:
        print(f"{FOLDER / 'losses.svg'}: the loss falls fastest at optimizer.lr: {suggestion:.2g}")


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.lr_range_test",
        description="Train some steps of params.yaml's run while the learning rate rises, and suggest one.",
    )
    parser.add_argument("--start-lr", type=_parse_rate, default=1e-6, help="default: %(default)s")
    parser.add_argument("--end-lr", type=_parse_rate, default=10.0, help="default: %(default)s")
    parser.add_argument("--steps", type=_parse_steps, default=200, help="default: %(default)s")
    return parser.parse_args()


def _parse_rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise argparse.ArgumentTypeError(f"found {text}; allowed: a number above 0")
    return rate


def _parse_steps(text: str) -> int:
    if not text.isdecimal() or int(text) < 10:
        raise argparse.ArgumentTypeError(f"found {text}; allowed: a whole number of at least 10")
    return int(text)


def space_rates(start: float, end: float, *, num_steps: int) -> list[float]:
    """Return rates from start to end, each the same multiple of the one before."""
    return [float(start * (end / start) ** (step / (num_steps - 1))) for step in range(num_steps)]


class _TestEnded(Exception):
    """The last step was taken."""


def measure_losses(params: "Params", rates: Sequence[float], *, max_rise: float) -> list[float]:
    """Return the training loss of each step, the learning rate of step i being rates[i].

    Fewer losses come back if one of them is NaN, infinite, or more than max_rise times the lowest.
    """
    # Torch takes seconds to import; wrong arguments and a wrong params.yaml are refused before that.
    from torch import optim

    from stages.shared.paths import PREPARED
    from stages.train.build import build_run
    from stages.train.epoch_table import TrainingProgress
    from stages.train.loop import train_steps
    from stages.vision.dataset import explain_lost_workers, read_manifest

    training, state, phases, *_ = build_run(params, read_manifest(PREPARED))
    num_epochs, num_more = divmod(len(rates), len(state.losses))
    num_images = num_epochs * len(training.train_images) + num_more * training.parts.batch_size
    progress = TrainingProgress(num_epochs=1, images_per_epoch=num_images)
    progress.title = "lr_range_test"
    training = replace(training, progress=progress)
    multiples = [rate / params.optimizer.lr for rate in rates]
    # Groups with rates of their own, such as backbone and head, rise together.
    for group in state.optimizer.param_groups:
        group["lr"] = group["initial_lr"]
    state.lr_scheduler = optim.lr_scheduler.LambdaLR(
        state.optimizer, lambda step: multiples[min(step, len(multiples) - 1)]
    )
    losses: list[float] = []
    num_images_before = 0

    def read_loss(state: "TrainingState") -> None:
        nonlocal num_images_before
        # Here, unlike in training, every step waits for its loss.
        loss = state.losses[state.step - 1].item() / (state.num_images - num_images_before)
        num_images_before = state.num_images
        if not math.isfinite(loss) or (losses and loss > max_rise * min(losses)):
            raise _TestEnded
        losses.append(loss)
        if len(losses) == len(rates):
            raise _TestEnded

    phase = phases.at(0)  # of the first epoch, whose backbone may be frozen
    try:
        with progress, explain_lost_workers():
            while True:
                train_steps(training, state, phase, save_point=read_loss)
                state.start_next_epoch()
                num_images_before = 0
    except _TestEnded:
        return losses


def smooth(rates: Sequence[float], losses: Sequence[float]) -> list[Point]:
    """Return the losses with their exponential running mean, corrected for its start at 0."""
    points, mean = [], 0.0
    for step, (lr, loss) in enumerate(zip(rates, losses, strict=False), start=1):
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * loss
        points.append(Point(lr, loss, mean / (1 - _SMOOTHING**step)))
    return points


def suggest(points: Sequence[Point]) -> float | None:
    """Return the rate at which the smoothed loss falls fastest before its minimum; None if it never falls."""
    lowest = min(range(len(points)), key=lambda place: points[place].smoothed)
    falls = {
        place: points[place - 1].smoothed - points[place + 1].smoothed for place in range(1, max(1, lowest))
    }
    steepest = max(falls, key=falls.__getitem__, default=None)
    return None if steepest is None or falls[steepest] <= 0 else points[steepest].lr


def draw_plot(points: Sequence[Point], suggestion: float | None) -> str:
    """Return the plot of smoothed loss over rate as SVG."""
    low, high = math.log10(points[0].lr), math.log10(points[-1].lr)
    bottom = min(point.smoothed for point in points)
    top = max(*(point.smoothed for point in points), bottom + 1e-9)

    def x(lr: float) -> float:
        return _MARGIN + (math.log10(lr) - low) / max(high - low, 1e-9) * (_WIDTH - 2 * _MARGIN)

    def y(loss: float) -> float:
        return _HEIGHT - _MARGIN - (loss - bottom) / (top - bottom) * (_HEIGHT - 2 * _MARGIN)

    line = " ".join(f"{x(point.lr):.1f},{y(point.smoothed):.1f}" for point in points)
    parts = [f'<polyline points="{line}" fill="none" stroke="#1f5fa8" stroke-width="2"/>']
    for power in range(math.ceil(low), math.floor(high) + 1):
        at = f"{x(10.0**power):.1f}"
        parts.append(f'<line x1="{at}" y1="{_MARGIN}" x2="{at}" y2="{_HEIGHT - _MARGIN}" stroke="#ddd"/>')
        parts.append(f'<text x="{at}" y="{_HEIGHT - _MARGIN + 20}" text-anchor="middle">1e{power}</text>')
    parts += [
        f'<text x="{_MARGIN - 8}" y="{y(loss) + 4:.1f}" text-anchor="end">{loss:.3g}</text>'
        for loss in (bottom, (bottom + top) / 2, top)
    ]
    if suggestion is not None:
        at = f"{x(suggestion):.1f}"
        parts.append(
            f'<line x1="{at}" y1="{_MARGIN}" x2="{at}" y2="{_HEIGHT - _MARGIN}" stroke="#c03020" '
            'stroke-dasharray="5 4"/>'
        )
        parts.append(
            f'<text x="{at}" y="{_MARGIN - 10}" text-anchor="middle" fill="#c03020">{suggestion:.2g}</text>'
        )
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        f'font-size="12">\n<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>\n{body}\n'
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 12}" text-anchor="middle">learning rate</text>\n'
        f'<text x="16" y="{_HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 16 {_HEIGHT / 2})">'
        "training loss, smoothed</text>\n</svg>\n"
    )


if __name__ == "__main__":
    run_stage(main)
