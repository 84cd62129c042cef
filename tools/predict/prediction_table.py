"""What predict writes: predictions as CSV or JSON lines, one for every file."""

import csv
import json
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

from stages.shared.errors import InputError
from stages.shared.files import publish_file
from tools.predict.arguments import UNKNOWN

Form = Literal["csv", "jsonl"]
Write = Callable[[Iterable["Prediction"]], None]


@dataclass(frozen=True, slots=True)
class ClassProbability:
    """A class, and how probable it is."""

    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the network says of one file."""

    path: str
    top: Sequence[ClassProbability] = ()
    """The most probable classes, the most probable first; none for a file that cannot be read."""

    is_unknown: bool = False
    """Whether the most probable class is too improbable to be told."""

    error: str = ""
    """Why there is no prediction; empty if there is one."""

    @property
    def label(self) -> str:
        """Return the most probable class, or `unknown`; empty for a file that cannot be read."""
        if self.is_unknown:
            return UNKNOWN
        return self.top[0].label if self.top else ""

    @property
    def probability(self) -> float | None:
        """Return the probability of the most probable class."""
        return self.top[0].probability if self.top else None


@contextmanager
def open_table(path: Path | None, form: Form, *, top_k: int) -> Iterator[Write]:
    """Yield what writes predictions to stdout, or to a file that appears when the block ends without error.

    Raises:
        InputError: The path is a folder or a device.
    """
    if path is None:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(encoding="utf-8")
        yield _build_writer(sys.stdout, form, top_k=top_k)
        return
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        raise InputError(f"--output: {path}: is a folder or a device; allowed: the name of a file")
    with publish_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        yield _build_writer(file, form, top_k=top_k)


def _build_writer(file: TextIO, form: Form, *, top_k: int) -> Write:
    rows = csv.writer(file, lineterminator="\n")

    def write_csv(predictions: Iterable[Prediction]) -> None:
        rows.writerows(_to_row(prediction, top_k=top_k) for prediction in predictions)
        file.flush()

    def write_json_lines(predictions: Iterable[Prediction]) -> None:
        file.writelines(
            json.dumps(_to_record(prediction), ensure_ascii=False) + "\n" for prediction in predictions
        )
        file.flush()

    if form == "jsonl":
        return write_json_lines
    ranks = range(1, top_k + 1)
    top = [name for rank in ranks for name in (f"label:{rank}", f"probability:{rank}")]
    rows.writerow(["path", "label", "probability", "error", *top])
    return write_csv


def _to_row(prediction: Prediction, *, top_k: int) -> list[str]:
    probability = "" if prediction.probability is None else _digits(prediction.probability)
    row = [prediction.path, prediction.label, probability, prediction.error]
    for item in prediction.top:
        row += [item.label, _digits(item.probability)]
    return row + [""] * (4 + 2 * top_k - len(row))


def _to_record(prediction: Prediction) -> dict[str, object]:
    return {
        "path": prediction.path,
        "label": prediction.label or None,
        "probability": None if prediction.probability is None else float(_digits(prediction.probability)),
        "error": prediction.error or None,
        "top": [
            {"label": item.label, "probability": float(_digits(item.probability))} for item in prediction.top
        ],
    }


def _digits(probability: float) -> str:
    """Return a probability as evaluate's predictions.csv has it."""
    return f"{probability:.9g}"


def silence_stdout() -> None:
    """Let what is still to be written go nowhere: whoever read it has left."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
