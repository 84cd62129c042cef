"""How often what is said of a network's confidence is true, on networks whose true probabilities are known.

    python -m benchmarks.promises

Three tables: thresholds for a target accuracy and prediction sets, from validation splits of several sizes
and groupings; temperatures, for networks that are calibrated or too sure of themselves; intervals of the
expected calibration error. docs/decisions/029 quotes them.
"""

import argparse
from collections.abc import Sequence

import numpy as np
import torch

from schemas.vision.checkpoint import Calibration
from stages.evaluate.calibration import estimate_ece
from stages.train.calibration import fit_temperature, list_levels, thin_probabilities
from stages.vision.guarantees import Bools, Floats, Ints, find_set_threshold, find_threshold

CONFIDENCE, COVERAGE = 0.9, 0.95
GROUPINGS = ("single", "tens", "heavy")

# Mistakes are distributed as Beta(a, b): 10 % of the images, sharply divided from the rest and not, and
# 2.4 %; then the share of labels that are wrong whatever the network says.
NETWORKS = ((0.05, 0.45, 0.0), (0.3, 2.7, 0.0), (0.1, 4.0, 0.0), (0.1, 4.0, 0.004))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.promises", description=__doc__)
    parser.add_argument("--runs", type=int, default=100, help="of each cell; default: %(default)s")
    num_runs = parser.parse_args().runs
    print_promises(num_runs)
    print_temperatures(num_runs)
    print_ece_intervals(num_runs)


def draw_groups(num_images: int, grouping: str, rng: np.random.Generator) -> Ints:
    """Return int64 (N,): every image alone, ten in each group, or sizes with a heavy tail, up to a fifth."""
    groups = np.arange(num_images)
    if grouping == "tens":
        return groups // 10
    if grouping == "heavy":
        sizes = np.minimum(np.ceil(rng.pareto(1.2, num_images)).astype(int), max(1, num_images // 5))
        return np.repeat(groups, sizes)[:num_images]
    return groups


def draw(
    network: tuple[float, float, float], num_images: int, grouping: str, rng: np.random.Generator
) -> tuple[Floats, Bools, Ints]:
    """Return confidences, correctness and groups; the images of a group share both."""
    a, b, noise = network
    groups = draw_groups(num_images, grouping, rng)
    mistake = rng.beta(a, b, num_images)[groups]
    is_correct = rng.random(num_images)[groups] >= mistake
    return 1 - mistake, is_correct & (rng.random(num_images)[groups] >= noise), groups


def print_promises(num_runs: int) -> None:
    """Print how many networks are promised a target, how many break it, and what coverage they get."""
    print(
        f"promises at confidence {CONFIDENCE:g}, worst and mean of {len(NETWORKS)} networks; "
        f"sets of {COVERAGE:.0%}"
    )
    print("target  grouping  images  promised  not broken  coverage (ideal)  sets hold the truth")
    rng = np.random.default_rng(0)
    for target in (0.95, 0.99):
        for grouping in GROUPINGS:
            for num_images in (200, 500, 2000, 10_000):
                cells = np.array(
                    [
                        try_network(network, target, num_images, grouping, num_runs, rng)
                        for network in NETWORKS
                    ]
                )
                made, kept, coverage, ideal, held = cells.mean(axis=0)
                print(
                    f"{target:6.2f}  {grouping:8}  {num_images:6}  {made:8.2f}  {cells[:, 1].min():4.2f} "
                    f"{kept:4.2f}   {coverage:8.2f} ({ideal:4.2f})  {held:8.3f}",
                    flush=True,
                )


def try_network(
    network: tuple[float, float, float],
    target: float,
    num_images: int,
    grouping: str,
    num_runs: int,
    rng: np.random.Generator,
) -> Sequence[float]:
    """Return shares of runs that promise, and that break no promise; coverages: mean, ideal, of sets."""
    a, b, noise = network
    mistakes = np.sort(rng.beta(a, b, 200_000))
    accuracy = np.cumsum(1 - mistakes) / np.arange(1, len(mistakes) + 1) * (1 - noise)
    reached = np.flatnonzero(accuracy >= target)
    promised, broken, coverages, held = 0, 0, [], []
    for _ in range(num_runs):
        confidence, is_correct, groups = draw(network, num_images, grouping, rng)
        # The label's probability, of two classes.
        of_label = np.where(is_correct, confidence, 1 - confidence)
        calibration = Calibration(
            temperature=1.0,
            levels=list_levels(confidence, is_correct, groups),
            label_probabilities=thin_probabilities(of_label),
        )
        threshold = find_threshold(calibration, target_accuracy=target, confidence=CONFIDENCE)
        num_kept = 0
        if threshold is not None:
            num_kept = max(1, int(np.searchsorted(mistakes, 1 - threshold, side="right")))
            promised += 1
            broken += bool(accuracy[num_kept - 1] < target)
        coverages.append(num_kept / len(mistakes))
        lowest = find_set_threshold(calibration, coverage=COVERAGE)
        fresh, is_right, _ = draw(network, 2000, "single", rng)
        held.append(1.0 if lowest is None else (np.where(is_right, fresh, 1 - fresh) >= lowest).mean())
    ideal = (reached.max() + 1) / len(mistakes) if len(reached) else 0.0
    return promised / num_runs, 1 - broken / num_runs, float(np.mean(coverages)), ideal, float(np.mean(held))


def print_temperatures(num_runs: int) -> None:
    """Print the true calibration error of networks before and after fitting a temperature."""
    print("\ntemperatures of networks of 10 classes: true calibration error, and runs in which it rose")
    print("logits too large by  images  error at 1  error after  worse")
    generator = torch.Generator().manual_seed(0)
    for scale in (1.0, 1.3, 2.0):
        for num_images in (20, 50, 100, 200, 500, 2000, 5000):
            before, after = np.empty(num_runs), np.empty(num_runs)
            for run in range(num_runs):
                honest = 3 * torch.randn(num_images + 5000, 10, generator=generator)
                labels = torch.multinomial(honest.softmax(dim=1), 1, generator=generator).squeeze(1)
                shown, fitted = scale * honest, slice(0, num_images)
                temperature = fit_temperature(shown[fitted], labels[fitted], num_effective=num_images)
                for errors, divisor in ((before, 1.0), (after, temperature)):
                    confidence, predicted = (shown[num_images:] / divisor).softmax(dim=1).max(dim=1)
                    truth = honest[num_images:].softmax(dim=1).gather(1, predicted[:, None]).squeeze(1)
                    errors[run] = (confidence - truth).abs().mean().item()
            print(
                f"{scale:19.1f}  {num_images:6}  {before.mean():10.4f}  {after.mean():11.4f}  "
                f"{(after > before + 1e-9).mean():5.2f}",
                flush=True,
            )


def print_ece_intervals(num_runs: int) -> None:
    """Print how often the interval holds the true error."""
    print("\n95 % intervals of the expected calibration error, 10 % mistakes: how many hold the true one")
    print("true error  grouping  images  held  mean width")
    rng = np.random.default_rng(0)
    for gap in (0.0, 0.03, 0.1):
        for grouping in GROUPINGS[:2]:
            for num_images in (50, 200, 1000, 5000):
                held, widths, true_error = 0, [], gap * (1 - (1 - gap) * 0.1)
                for _ in range(num_runs):
                    groups = draw_groups(num_images, grouping, rng)
                    confidence = 1 - (1 - gap) * rng.beta(0.5, 4.5, num_images)[groups]
                    is_correct = rng.random(num_images)[groups] < confidence - gap * confidence
                    share, _ = estimate_ece(confidence, is_correct, groups)
                    held += share.low <= true_error <= share.high
                    widths.append(share.high - share.low)
                print(
                    f"{true_error:10.3f}  {grouping:8}  {num_images:6}  {held / num_runs:4.2f}  "
                    f"{np.mean(widths):10.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
