"""What predict writes: predictions as CSV or JSON lines, one for every file."""

import csv
import json
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TextIO

from stages.shared.errors import InputError, is_formula, path_for_csv, printable
from stages.shared.files import publish_file
from tools.predict.prediction import Prediction

_OF_THIS_PROCESS = ("/dev/fd/", "/dev/std", "/proc/")

Form = Literal["csv", "jsonl"]
Write = Callable[[Iterable[Prediction]], None]


def check_classes(classes: Sequence[str], form: Form) -> None:
    """Refuse a table of classes of a foreign model that a spreadsheet would run; ingest takes none such.

    Raises:
        InputError: It is CSV, and a class is a formula.
    """
    found = next(filter(is_formula, classes), None)
    if form == "csv" and found is not None:
        raise InputError(
            f"--format: found csv, and the model has the class '{printable(found)}', which a "
            "spreadsheet would run as a formula; allowed: jsonl"
        )


def check_output(path: Path, *, place: str) -> None:
    """Refuse to put a file in the place of anything but a file.

    Raises:
        InputError: The path is a folder or a device; the message begins with the place.
    """
    is_other = path.exists() and not stat.S_ISREG(path.stat().st_mode)
    if is_other or os.path.abspath(path).startswith(_OF_THIS_PROCESS):  # noqa: PTH100
        raise InputError(f"{place}: {path}: is a folder or a device; allowed: the name of a file")


@contextmanager
def open_table(
    path: Path | None, form: Form, *, top_k: int, with_sets: bool, with_labels: bool = False
) -> Iterator[Write]:
    """Yield what writes predictions to stdout, or to a file that appears when the block ends without error.

    Raises:
        InputError: The path is a folder or a device.
    """
    if path is None:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(encoding="utf-8")
        yield _build_writer(sys.stdout, form, top_k=top_k, with_sets=with_sets, with_labels=with_labels)
        sys.stdout.flush()  # here, where a reader that left is expected
        return
    check_output(path, place="--output")
    with publish_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        yield _build_writer(file, form, top_k=top_k, with_sets=with_sets, with_labels=with_labels)


def _build_writer(file: TextIO, form: Form, *, top_k: int, with_sets: bool, with_labels: bool) -> Write:
    rows = csv.writer(file, lineterminator="\n")

    def write_csv(predictions: Iterable[Prediction]) -> None:
        rows.writerows(_to_row(prediction, top_k=top_k, with_sets=with_sets) for prediction in predictions)
        file.flush()

    def write_json_lines(predictions: Iterable[Prediction]) -> None:
        file.writelines(
            json.dumps(_to_record(prediction, with_sets=with_sets), ensure_ascii=False) + "\n"
            for prediction in predictions
        )
        file.flush()

    if form == "jsonl":
        return write_json_lines
    ranks = range(1, top_k + 1)
    top = [name for rank in ranks for name in (f"predicted:{rank}", f"probability:{rank}")]
    sets = ["prediction_set"] if with_sets else []
    labels = ["label"] if with_labels else []
    rows.writerow(["path", *labels, "predicted", "probability", "accepted", "reason", "error", *sets, *top])
    return write_csv


def _to_row(prediction: Prediction, *, top_k: int, with_sets: bool) -> list[str]:
    probability = "" if prediction.probability is None else _digits(prediction.probability)
    accepted = "" if prediction.accepted is None else str(prediction.accepted).lower()
    row = [path_for_csv(prediction.path), *([] if prediction.label is None else [prediction.label])]
    row += [prediction.predicted, probability, accepted, prediction.reason, prediction.error]
    if with_sets:
        # As JSON, for a class may have any name.
        classes = prediction.prediction_set
        row.append("" if classes is None else json.dumps(classes, ensure_ascii=False))
    for rank in range(top_k):
        row += (
            [prediction.top[rank].predicted, _digits(prediction.top[rank].probability)]
            if rank < len(prediction.top)
            else ["", ""]
        )
    return row


def _to_record(prediction: Prediction, *, with_sets: bool) -> dict[str, object]:
    sets = {"prediction_set": prediction.prediction_set} if with_sets else {}
    label = {} if prediction.label is None else {"label": prediction.label or None}
    return {
        "path": prediction.path,
        **label,
        "predicted": prediction.predicted or None,
        "probability": None if prediction.probability is None else float(_digits(prediction.probability)),
        "accepted": prediction.accepted,
        "reason": prediction.reason or None,
        "error": prediction.error or None,
        **sets,
        "top": [
            {"predicted": item.predicted, "probability": float(_digits(item.probability))}
            for item in prediction.top
        ],
    }


def _digits(probability: float) -> str:
    """Return a probability as evaluate's predictions.csv has it."""
    return f"{probability:.9g}"


def silence_stdout() -> None:
    """Let what is still to be written go nowhere: whoever read it has left."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
