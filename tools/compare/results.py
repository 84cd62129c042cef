"""The results of a revision, read from DVC's cache or remote: nothing is checked out.

Hides how revisions are named and opened, how predictions are stored, and what makes two runs one
configuration.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from schemas.vision.checkpoint import Calibration, ConfidenceLevel, EpochRecord, History
from stages.evaluate.predictions import Floats, Ints, Predictions
from stages.pages.wording import plural
from stages.shared.errors import InputError, describe_error, printable
from stages.shared.inputs import leaves
from stages.shared.paths import MODEL, PREPARED, REPORT
from tools.compare.ledger import read_tested
from tools.dvc_lock import parse_yaml

WORKSPACE = "workspace"
SEED = "training.seed"

_PROBABILITY = "probability:"
_MAX_NAMED = 5

ImageKey = tuple[str, int]
"""SHA-256 of an image, and how many of the same bytes stand before it."""


@dataclass(frozen=True)
class FoldScore:
    """The accuracy of one fold of a configuration."""

    fold: int
    seed: int
    num_test: int
    num_train: int
    accuracy: float


@dataclass(frozen=True)
class Result:
    """What a revision predicted for its N test images."""

    revision: str
    classes: tuple[str, ...]
    keys: list[ImageKey]
    paths: list[str]
    groups: list[str]
    """(N,), empty for an image without one."""

    labels: Ints
    predicted: Ints
    probabilities: Floats
    """(N, C)."""

    parameters: Mapping[str, Any]
    """By dotted key, as dvc.lock recorded them."""

    history: Sequence[EpochRecord]
    """All epochs."""

    prepared_md5: str
    """DVC's name for the prepared data it was tested on."""

    num_train: int = 0
    """Images that it was trained on."""

    folds: tuple[FoldScore, ...] = ()
    """Of cross-validation, where this is joined from its folds; the images stand fold after fold."""

    def select(self, keys: Sequence[ImageKey], classes: Sequence[str]) -> Predictions:
        """Return the predictions for some of the images, in this order, with the classes in this order."""
        place = {key: row for row, key in enumerate(self.keys)}
        rows = np.array([place[key] for key in keys])
        columns = [self.classes.index(name) for name in classes]
        position = np.argsort(columns)
        return restore_predictions(
            self.probabilities[rows][:, columns],
            labels=position[self.labels[rows]],
            predicted=position[self.predicted[rows]],
        )

    def list_folds(self, keys: Sequence[ImageKey]) -> Ints | None:
        """Return which fold tested each of these images, int64 (n,); None without folds."""
        if not self.folds:
            return None
        fold_of = np.repeat([each.fold for each in self.folds], [each.num_test for each in self.folds])
        place = dict(zip(self.keys, fold_of.tolist(), strict=True))
        return np.array([place[key] for key in keys])


@dataclass(frozen=True)
class Configuration:
    """Runs that differ only in their seed."""

    results: Sequence[Result]

    @property
    def name(self) -> str:
        """Return the revisions."""
        return ", ".join(result.revision for result in self.results)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Return those that its runs share."""
        return {key: value for key, value in self.results[0].parameters.items() if key != SEED}

    def pool(self) -> Result:
        """Return the first run with the mean probabilities of all."""
        first = self.results[0]
        total = np.zeros_like(first.probabilities)
        for result in self.results:
            columns = [result.classes.index(name) for name in first.classes]
            place = {key: row for row, key in enumerate(result.keys)}
            total += result.probabilities[[place[key] for key in first.keys]][:, columns]
        return replace(first, probabilities=total / len(self.results), predicted=total.argmax(axis=1))


def read_result(revision: str) -> Result:
    """Read a revision as DVC names them: a commit, branch, tag or experiment; `workspace` is what is here.

    Raises:
        InputError: There is no such revision, it has no results, or its files cannot be had.
    """
    read = _open_workspace() if revision == WORKSPACE else _open_revision(revision)
    lock = read("dvc.lock")
    if not read_tested(lock):
        raise InputError(f"{printable(revision)}: has no results; evaluate it with: dvc repro")
    predictions = read(f"{REPORT}/predictions.csv")
    index, history = read(f"{PREPARED}/index.csv"), read(f"{MODEL}/history.json")
    try:
        check_tested(revision, lock)
        return _parse(revision, lock=lock, predictions=predictions, index=index, history=history)
    except InputError:
        raise
    except (ValueError, LookupError, TypeError, StopIteration) as error:
        raise InputError(
            f"{printable(revision)}: {REPORT}/predictions.csv, {PREPARED}/index.csv or {MODEL}/history.json "
            f"is not as this version of darkroom writes it ({describe_error(error)})"
        ) from None


def check_tested(revision: str, lock: str) -> None:
    """Check that a revision's predictions are those of its own model and data.

    A trial of tools.tune is trained and not tested: its dvc.lock still names the report of the commit before.

    Raises:
        InputError: They are another model's, or of other data.
    """
    stages, tested = parse_yaml(lock)["stages"], read_tested(lock)
    made = {each["path"]: each["md5"] for stage in stages.values() for each in stage.get("outs", ())}
    if any(tested[str(path)] != made[str(path)] for path in (MODEL, PREPARED)):
        apply = "" if revision == WORKSPACE else f"dvc exp apply {printable(revision)} && "
        raise InputError(
            f"{printable(revision)}: was trained again, but not evaluated; finish it with: {apply}dvc repro"
        )


def join_seeds(results: Sequence[Result]) -> list[Configuration]:
    """Return the results as configurations, in order; runs that differ only in their seed are one."""
    joined: list[list[Result]] = []
    for result in results:
        for others in joined:
            first = Configuration(others)
            seeds = {each.parameters.get(SEED) for each in others}
            is_alike = first.parameters == Configuration([result]).parameters
            if is_alike and result.parameters.get(SEED) not in seeds:
                others.append(result)
                break
        else:
            joined.append([result])
    return [Configuration(results) for results in joined]


def match_images(results: Sequence[Result], *, shared_only: bool) -> list[ImageKey]:
    """Return the images that are compared, in the order of the first result.

    Args:
        results: At least one.
        shared_only: Whether images that not all were tested on are left out.

    Raises:
        InputError: Classes, labels or test images are not the same.
    """
    first = results[0]
    keys = set(first.keys)
    for other in results[1:]:
        _check_classes(first, other)
        num_shared = len(keys & set(other.keys))
        if not shared_only and (len(first.keys) != num_shared or len(other.keys) != num_shared):
            raise InputError(
                f"{other.revision}: was tested on {plural(len(other.keys), 'image')}, {first.revision} on "
                f"{len(first.keys):,}; shared: {num_shared:,}; to compare on those: --shared"
                if num_shared
                else f"{other.revision}: shares no test image with {first.revision}; --join compares folds"
            )
        keys &= set(other.keys)
        _check_labels(first, other, keys)
        if not keys:
            raise InputError("no test image is shared by all of these revisions")
    return [key for key in first.keys if key in keys]


def restore_predictions(probabilities: Floats, *, labels: Ints, predicted: Ints) -> Predictions:
    """Return the predictions that a table of probabilities (N, C) was written from, to nine digits."""
    images = np.arange(len(labels))
    log = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    of_label = probabilities[images, labels]
    confidence = probabilities[images, predicted]
    return Predictions(
        logits=torch.from_numpy(log).float(),
        calibration=Calibration(
            temperature=1.0,
            levels=(ConfidenceLevel(probability=0.0, num_images=1, num_correct=1, num_effective=1.0),),
            label_probabilities=(1.0,),
        ),
        labels=labels,
        predicted=predicted,
        confidence=confidence,
        raw_confidence=confidence,
        label_probability=of_label,
        losses=-log[images, labels],
        label_rank=(probabilities > of_label[:, None]).sum(axis=1),
    )


def _open_workspace() -> Callable[[str], str]:
    def read(path: str) -> str:
        try:
            return Path(path).read_text(encoding="utf-8")
        except FileNotFoundError:
            # Not from DVC's cache, as DVC itself would: what was there before is not what is here.
            raise InputError(f"{WORKSPACE}: has no {path}; finish it with: dvc repro") from None
        except (OSError, ValueError) as error:
            raise InputError(f"{WORKSPACE}: {path} cannot be read: {describe_error(error)}") from None

    return read


def _open_revision(revision: str) -> Callable[[str], str]:
    from dvc.api import DVCFileSystem
    from dvc.config import Config

    # The remotes as they are set now: an older revision may not know of them.
    config = Config.from_cwd()
    default = {key: value for key, value in config["core"].items() if key == "remote"}
    system = DVCFileSystem(rev=revision, config={"remote": config["remote"], "core": default})
    where = printable(revision)

    def read(path: str) -> str:
        try:
            with system.open(path, mode="rb") as file:
                data: bytes = file.read()
            return data.decode()
        except Exception as error:  # each remote has errors of its own
            kind = type(error).__name__  # some come wrapped in classes of private modules
            if kind == "RevError":
                raise InputError(f"{where}: is no revision; see git log, and dvc exp list --all") from None
            # Of a file that no tree lists, DVC's index says so by a KeyError; else its bytes are gone.
            is_listed = path != "dvc.lock" and not isinstance(error.__cause__, KeyError)
            if kind == "FileNotFoundError" and not is_listed:
                raise InputError(f"{where}: has no {path}; evaluate it with: dvc repro") from None
            if kind in ("FileNotFoundError", "DataIndexDirError", "FileMissingError"):
                raise InputError(
                    f"{where}: {path} is neither in DVC's cache nor in a remote; once pushed, get it with: "
                    "dvc pull (an experiment: dvc exp pull); or make it again"
                ) from None
            raise InputError(f"{where}: {path} cannot be read: {describe_error(error)}") from None

    return read


def _parse(revision: str, *, lock: str, predictions: str, index: str, history: str) -> Result:
    of_path: dict[str, tuple[str, str]] = {}
    num_train = 0
    records = csv.reader(io.StringIO(index))
    header = next(records)
    path, split, sha256, group = (header.index(name) for name in ("path", "split", "sha256", "group"))
    for record in records:
        num_train += record[split] == "train"
        if record[split] == "test":
            of_path[record[path]] = record[sha256], record[group]
    rows = csv.reader(io.StringIO(predictions))
    header = next(rows)
    start = header.index("probability") + 1
    classes = tuple(name.removeprefix(_PROBABILITY) for name in header[start:])
    number = {name: label for label, name in enumerate(classes)}
    paths, labels, predicted, probabilities = [], [], [], []
    for row in rows:
        paths.append(row[0])
        labels.append(number[row[1]])
        predicted.append(number[row[2]])
        probabilities.append(np.array(row[start:], dtype=np.float64))
    table = np.stack(probabilities)
    if not (table[np.arange(len(table)), predicted] == table.max(axis=1)).all():  # also where it is nan
        raise ValueError("a predicted class is not the most probable one")
    stages, tested = parse_yaml(lock)["stages"], read_tested(lock)
    return Result(
        revision=revision,
        classes=classes,
        keys=list(_number_copies(of_path[name][0] for name in paths)),
        paths=paths,
        groups=[of_path[name][1] for name in paths],
        labels=np.array(labels),
        predicted=np.array(predicted),
        probabilities=table,
        parameters=dict(_list_parameters(stages)),
        history=_parse_history(history),
        prepared_md5=tested[str(PREPARED)],
        num_train=num_train,
    )


def _parse_history(text: str) -> Sequence[EpochRecord]:
    record = json.loads(text)
    del record["sha256"]
    return History.model_validate_json(json.dumps(record)).epochs


def _number_copies(hashes: Iterator[str]) -> Iterator[ImageKey]:
    seen: Counter[str] = Counter()
    for sha256 in hashes:
        yield sha256, seen[sha256]
        seen[sha256] += 1


def _list_parameters(stages: Any) -> Iterator[tuple[str, Any]]:
    for stage in stages.values():
        for section, values in stage.get("params", {}).get("params.yaml", {}).items():
            yield from leaves(section, values)


def _check_classes(first: Result, other: Result) -> None:
    if set(first.classes) == set(other.classes):
        return
    only = [sorted(set(a.classes) - set(b.classes))[:_MAX_NAMED] for a, b in ((first, other), (other, first))]
    differ = "; ".join(
        f"only {result.revision} has {', '.join(map(printable, names))}"
        for result, names in zip((first, other), only, strict=True)
        if names
    )
    raise InputError(f"{other.revision}: has other classes than {first.revision} ({differ})")


def _check_labels(first: Result, other: Result, keys: set[ImageKey]) -> None:
    labels = [
        {key: result.classes[label] for key, label in zip(result.keys, result.labels.tolist(), strict=True)}
        for result in (first, other)
    ]
    changed = [key for key in keys if labels[0][key] != labels[1][key]]
    if changed:
        key = min(changed)
        raise InputError(
            f"{other.revision}: {len(changed):,} test images have another label than in {first.revision}, "
            f"such as {printable(first.paths[first.keys.index(key)])} ({printable(labels[0][key])}, there "
            f"{printable(labels[1][key])}); evaluate one of them again on the other's data"
        )
