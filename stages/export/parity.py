"""Parity: an exported model against its checkpoint, image by image, and the gates that it must pass."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.export.export import Export, Format
from schemas.export.export_metrics import FormatMetrics
from stages.shared.errors import path_for_csv, printable
from stages.shared.files import publish_file
from stages.shared.progress import Progress
from stages.vision.binomial import Interval, estimate_share
from stages.vision.guarantees import Bools, Ints

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]
Compute = Callable[[Pixels], npt.NDArray[np.floating]]
"""Returns probabilities (N, C) for images uint8 (N, height, width, channels)."""

PARITY_COLUMNS = ("path", "label", "format", "checkpoint", "exported", "probability_change")
_BATCH_SIZE = 64
_MAX_NAMED = 5


class Reference(NamedTuple):
    """The test split (N), and what the checkpoint makes of it."""

    paths: Sequence[str]
    labels: Ints
    groups: Ints
    """int64 (N,), from 0 without gaps."""

    classes: Sequence[str]
    probabilities: npt.NDArray[np.float32]
    """(N, C), of the checkpoint, computed as evaluate does."""

    exact: npt.NDArray[np.float32]
    """(N, C), of the checkpoint in float32, as exported models compute; the same where it ran in float32."""

    read: Callable[[slice], Pixels]
    """Returns images as packed, uint8 (n, height, width, channels)."""

    @property
    def predicted(self) -> Ints:
        """Return the checkpoint's predictions int64 (N,), as evaluate computes them."""
        predicted: Ints = self.probabilities.argmax(axis=1)
        return predicted

    @property
    def exactly_predicted(self) -> Ints:
        """Return the checkpoint's predictions int64 (N,) in float32."""
        predicted: Ints = self.exact.argmax(axis=1)
        return predicted


@dataclass(frozen=True)
class Comparison:
    """One exported model and its checkpoint on N test images."""

    format: Format
    path: Path
    predicted: Ints
    """int64 (N,), by the exported model; ties go to the first class, as everywhere."""

    changes: Floats
    """(N,), each image's largest difference of a probability."""

    exact_changes: Floats
    """(N,), the same beside the checkpoint in float32: what the export itself changed."""

    is_same: Bools
    """bool (N,), whether the checkpoint in float32 predicts the same class."""

    metrics: FormatMetrics


def compare(format: Format, path: Path, compute: Compute, images: Reference) -> Comparison:  # noqa: A002
    """Run an exported model on the test split, batch by batch, and compare it with the checkpoint."""
    num_images = len(images.labels)
    predicted, changes = np.empty(num_images, dtype=np.int64), np.empty((2, num_images))
    with Progress(f"export: testing {format}", num_images) as progress:
        for start in range(0, num_images, _BATCH_SIZE):
            block = slice(start, min(start + _BATCH_SIZE, num_images))
            probabilities = compute(images.read(block))
            predicted[block] = probabilities.argmax(axis=1)
            for row, before in zip(changes, (images.probabilities, images.exact), strict=True):
                # What is no number is as far from the checkpoint's as can be.
                differences = np.nan_to_num(np.abs(probabilities - before[block]), nan=1.0)
                row[block] = np.minimum(1.0, differences.max(axis=1))
            progress.advance(block.stop - block.start)
    is_correct, was_correct = predicted == images.labels, images.predicted == images.labels
    low, high = estimate_change(is_correct, was_correct, images.groups)
    is_same = predicted == images.exactly_predicted
    return Comparison(
        format=format,
        path=path,
        predicted=predicted,
        changes=changes[0],
        exact_changes=changes[1],
        is_same=is_same,
        metrics=FormatMetrics(
            agreement=float((predicted == images.predicted).mean()),
            agreement_in_float32=float(is_same.mean()),
            max_probability_change=float(changes[1].max()),
            accuracy=float(is_correct.mean()),
            # From counts: the difference of two means may be a last bit beyond a gate.
            accuracy_change=(int(is_correct.sum()) - int(was_correct.sum())) / num_images,
            accuracy_change_low=low,
            accuracy_change_high=high,
            num_bytes=path.stat().st_size,
        ),
    )


def estimate_change(is_correct: Bools, was_correct: Bools, groups: Ints) -> Interval:
    """Return the 95 % interval of the change of an accuracy measured twice on the same N images.

    Images that both models classify correctly, or both wrongly, say nothing about it. The intervals of the
    share that was gained and of the share that was lost are combined as independent errors add up.
    Source: Zou and Donner 2008, doi:10.1002/sim.3095 (MOVER).

    Args:
        is_correct: bool (N,), the second time.
        was_correct: bool (N,), the first time.
        groups: int64 (N,), the group of each image.
    """
    is_gained, is_lost = is_correct & ~was_correct, was_correct & ~is_correct
    gained, lost = float(is_gained.mean()), float(is_lost.mean())
    of_gained, of_lost = estimate_share(is_gained, groups), estimate_share(is_lost, groups)
    below = np.hypot(gained - of_gained.low, of_lost.high - lost)
    above = np.hypot(of_gained.high - gained, lost - of_lost.low)
    change = gained - lost
    return Interval(float(max(-1.0, change - below)), float(min(1.0, change + above)))


def find_failed_gates(comparison: Comparison, images: Reference, gates: Export) -> list[str]:
    """Return a line for each gate that an exported model does not pass, and then the images that differ most.

    Empty if it passes all.
    """
    metrics, name = comparison.metrics, comparison.format
    failed = []
    if name == "onnx_int8":
        if -metrics.accuracy_change > gates.max_accuracy_drop:
            failed.append(
                f"export.max_accuracy_drop: {name} loses {-metrics.accuracy_change:.4g} of the accuracy "
                f"{metrics.accuracy - metrics.accuracy_change:.4g} (95 % confidence interval: "
                f"{-metrics.accuracy_change_high:.4g} to {-metrics.accuracy_change_low:.4g}); "
                f"allowed: at most {gates.max_accuracy_drop:g}"
            )
    else:
        agreement = metrics.agreement_in_float32
        if agreement < gates.min_agreement:
            failed.append(
                f"export.min_agreement: {name} predicts the checkpoint's class for {agreement:.6g} "
                f"of the test images; allowed: at least {gates.min_agreement:g}"
            )
        if metrics.max_probability_change > gates.max_probability_change:
            failed.append(
                f"export.max_probability_change: {name} changes a probability by "
                f"{metrics.max_probability_change:.4g}; allowed: at most {gates.max_probability_change:g}"
            )
    return [*failed, *_describe_worst(comparison, images)] if failed else []


def _describe_worst(comparison: Comparison, images: Reference) -> list[str]:
    """Return lines that name the images that differ most, those of another prediction first."""
    worst = np.lexsort((-comparison.exact_changes, comparison.is_same))[:_MAX_NAMED]
    return [
        f"{printable(images.paths[image])}: {comparison.format} says "
        f"{printable(images.classes[comparison.predicted[image]])}, the checkpoint "
        f"{printable(images.classes[images.exactly_predicted[image]])}; a probability differs by "
        f"{comparison.exact_changes[image]:.3g}"
        for image in worst.tolist()
        if comparison.exact_changes[image] > 0
    ]


def write_parity(path: Path, comparisons: Sequence[Comparison], images: Reference) -> None:
    """Write a line for every test image and format."""
    names = [printable(name) for name in images.classes]
    with publish_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(PARITY_COLUMNS)
        for comparison in comparisons:
            writer.writerows(
                (
                    path_for_csv(images.paths[image]),
                    names[images.labels[image]],
                    comparison.format,
                    names[images.predicted[image]],
                    names[comparison.predicted[image]],
                    f"{comparison.changes[image]:.3g}",
                )
                for image in range(len(images.labels))
            )
