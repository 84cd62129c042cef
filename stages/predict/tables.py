"""Answers as CSV or as JSON lines, one for every file."""

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

UNKNOWN = "unknown"
Form = Literal["csv", "jsonl"]
Write = Callable[[Iterable["Answer"]], None]


@dataclass(frozen=True, slots=True)
class Guess:
    """A class, and how probable it is."""

    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What the network says of one file."""

    path: str
    guesses: Sequence[Guess] = ()
    """The most probable classes, the most probable first; none for a file that cannot be read."""

    is_unknown: bool = False
    """Whether the most probable class is too improbable to be told."""

    error: str = ""
    """Why there is no answer; empty if there is one."""

    @property
    def label(self) -> str:
        """Return the most probable class, or `unknown`; empty for a file that cannot be read."""
        if self.is_unknown:
            return UNKNOWN
        return self.guesses[0].label if self.guesses else ""

    @property
    def probability(self) -> float | None:
        """Return the probability of the most probable class."""
        return self.guesses[0].probability if self.guesses else None


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
    probability = "" if answer.probability is None else _digits(answer.probability)
    row = [answer.path, answer.label, probability, answer.error]
    for guess in answer.guesses:
        row += [guess.label, _digits(guess.probability)]
    return row + [""] * (4 + 2 * top_k - len(row))


def _to_record(answer: Answer) -> dict[str, object]:
    return {
        "path": answer.path,
        "label": answer.label or None,
        "probability": None if answer.probability is None else float(_digits(answer.probability)),
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
