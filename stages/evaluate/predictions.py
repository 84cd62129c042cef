"""predictions.csv: one line for every test image, with a probability for every class."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from stages.evaluate.answers import Answers, split_rows

# Nine digits: with fewer a row does not sum to 1 as closely as scikit-learn asks.
_NUMBER = "%.9g"


def write_predictions(path: Path, answers: Answers, *, paths: Sequence[str], classes: Sequence[str]) -> None:
    """Write path, true and predicted class, and a probability for every class, block by block.

    Args:
        path: Where to.
        answers: For N images.
        paths: Path of each image in the source, (N,).
        classes: Class names, (C,).
    """
    header = ["path", "label", "predicted", "probability", *(f"probability:{name}" for name in classes)]
    names = [_to_csv([name]) for name in classes]
    # One format for a whole line: a CSV writer asked for every number takes twice as long.
    line = ",".join(["%s,%s,%s", *[_NUMBER] * (1 + len(classes))]) + "\n"
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(_to_csv(header) + "\n")
        for block in split_rows(answers.num_images, num_columns=len(classes)):
            file.writelines(
                line % (_to_csv([image]), names[label], names[answer], row[answer], *row)
                for image, label, answer, row in zip(
                    paths[block],
                    answers.labels[block].tolist(),
                    answers.predicted[block].tolist(),
                    answers.probabilities_of(block).tolist(),
                    strict=True,
                )
            )


def _to_csv(values: Iterable[str]) -> str:
    """Return values as a line of CSV without its end, quoted where they must be."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()[:-1]
