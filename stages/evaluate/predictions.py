"""The tables evaluate leaves: one line for every test image."""

import csv
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor


def write_predictions(
    path: Path, *, paths: Sequence[str], labels: Tensor, probabilities: Tensor, classes: Sequence[str]
) -> None:
    """Write predictions.csv: path, true and predicted class, and a probability for every class.

    Args:
        path: Where to.
        paths: Path of each image in the source, (N,).
        labels: int64 (N,).
        probabilities: float (N, C).
        classes: Class names, (C,).
    """
    predicted = probabilities.argmax(dim=1)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["path", "label", "predicted", "probability", *(f"probability:{name}" for name in classes)]
        )
        # Nine digits: with fewer a row does not sum to 1 as closely as scikit-learn asks.
        for image, label, answer, row in zip(
            paths, labels.tolist(), predicted.tolist(), probabilities.tolist(), strict=True
        ):
            writer.writerow(
                [image, classes[label], classes[answer], f"{row[answer]:.9g}", *(f"{p:.9g}" for p in row)]
            )


def write_answers(path: Path, *, labels: Tensor, predicted: Tensor, classes: Sequence[str]) -> None:
    """Write the two columns that DVC draws its confusion matrix from, labels and predicted int64 (N,)."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["actual", "predicted"])
        writer.writerows(
            (classes[label], classes[answer])
            for label, answer in zip(labels.tolist(), predicted.tolist(), strict=True)
        )
