"""Answers as CSV or as JSON lines, one for every file."""

import csv
import json
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

from stages.predict.predictor import Guess
from stages.shared.errors import InputError
from stages.shared.files import publish_file

Form = Literal["csv", "jsonl"]
Write = Callable[[Iterable["Answer"]], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the network says of one file."""

    path: str
    guesses: list[Guess]
    """The most probable classes, the most probable first; none for a file that cannot be read."""

    error: str
    """Why there is no answer; empty if there is one."""

    @property
    def best(self) -> Guess | None:
        """Return the most probable class."""
        return self.guesses[0] if self.guesses else None


@contextmanager
def open_table(path: Path | None, form: Form, *, top_k: int) -> Iterator[Write]:
    """Yield what writes answers to a file, which appears when the block ends without an error, or to stdout.

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

    def write_csv(answers: Iterable[Answer]) -> None:
        rows.writerows(_to_row(answer, top_k=top_k) for answer in answers)
        file.flush()

    def write_json_lines(answers: Iterable[Answer]) -> None:
        file.writelines(json.dumps(_to_record(answer), ensure_ascii=False) + "\n" for answer in answers)
        file.flush()

    if form == "jsonl":
        return write_json_lines
    ranks = range(1, top_k + 1)
    top = [name for rank in ranks for name in (f"label:{rank}", f"probability:{rank}")]
    rows.writerow(["path", "label", "probability", "error", *top])
    return write_csv


def _to_row(answer: Answer, *, top_k: int) -> list[str]:
    best = answer.best
    row = [answer.path, best.label if best else "", _digits(best.probability) if best else "", answer.error]
    for guess in answer.guesses:
        row += [guess.label, _digits(guess.probability)]
    return row + [""] * (4 + 2 * top_k - len(row))


def _to_record(answer: Answer) -> dict[str, object]:
    best = answer.best
    return {
        "path": answer.path,
        "label": best.label if best else None,
        "probability": float(_digits(best.probability)) if best else None,
        "error": answer.error or None,
        "top": [
            {"label": guess.label, "probability": float(_digits(guess.probability))}
            for guess in answer.guesses
        ],
    }


def _digits(probability: float) -> str:
    """Return a probability as evaluate's predictions.csv has it."""
    return f"{probability:.9g}"


def silence_stdout() -> None:
    """Let what is still to be written go nowhere: whoever read it has left."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
