"""Accuracy on files whose class is known from their folder, as `cat` is that of photos/cat/1.jpg."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from stages.pages import wording
from stages.shared.errors import InputError, printable
from stages.vision.binomial import estimate_share
from tools.predict.prediction import Prediction

_MAX_NAMED = 5


class Score:
    """Counts correct predictions; files outside class folders and unreadable ones do not count."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = {printable(name): name for name in classes}
        self._is_correct: list[bool] = []
        self._is_accepted: list[bool] = []

    def add(self, predictions: Iterable[Prediction]) -> list[Prediction]:
        """Return the predictions with the labels of their files, and count them."""
        labelled = [replace(each, label=self._label_of(each.path)) for each in predictions]
        for each in labelled:
            if each.label and each.top:
                self._is_correct.append(each.predicted == each.label)
                self._is_accepted.append(bool(each.accepted))
        return labelled

    def describe(self) -> str:
        """Say how accurate the predictions are, and the accepted ones among them.

        Raises:
            InputError: No file that can be read is in a class folder.
        """
        if not self._is_correct:
            names = ", ".join(list(self._classes)[:_MAX_NAMED])
            raise InputError(f"--score: no readable file is in a folder named after a class, such as {names}")
        is_correct, is_accepted = np.array(self._is_correct), np.array(self._is_accepted)
        text = f"of files in class folders {_describe_share(is_correct)}"
        return text + (
            f"; if accepted, {_describe_share(is_correct[is_accepted])}" if is_accepted.any() else ""
        )

    def _label_of(self, path: str) -> str:
        """Return the class whose name the nearest folder has; empty if none has one."""
        # As classes are stored: macOS writes accents decomposed.
        folders = (unicodedata.normalize("NFC", folder.name) for folder in PurePosixPath(path).parents)
        return next((self._classes[name] for name in folders if name in self._classes), "")


def _describe_share(is_correct: NDArray[np.bool_]) -> str:
    """Write how many are correct, with the interval of their share if every file counts by itself."""
    # Folders do not say which files belong together.
    low, high = estimate_share(is_correct, np.arange(len(is_correct)))
    return (
        f"{is_correct.sum():,} of {len(is_correct):,} are correct, {_percent(float(is_correct.mean()))} "
        f"(95 % confidence interval: {_percent(low)} to {_percent(high)})"
    )


def _percent(fraction: float) -> str:
    return wording.percent(fraction, decimals=2).replace("\N{NO-BREAK SPACE}", " ")
