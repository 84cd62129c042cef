"""The results of a revision, read from DVC's cache or remote: nothing is checked out.

Hides how revisions are named and opened, how predictions are stored, and what makes two runs one
configuration.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from schemas.vision.checkpoint import Calibration, ConfidenceLevel, EpochRecord, History
from stages.evaluate.predictions import Floats, Ints, Predictions
from stages.shared.errors import InputError, describe_error, printable
from stages.shared.inputs import leaves
from stages.shared.paths import MODEL, PREPARED, REPORT
from tools.compare.ledger import read_tested
from tools.dvc_lock import parse_yaml

if TYPE_CHECKING:
    from dvc.api import DVCFileSystem

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


def read_result(revision: str) -> Result:
    """Read a revision as DVC names them: a commit, branch, tag or experiment; `workspace` is what is here.

    Raises:
        InputError: There is no such revision, it has no results, or its files cannot be had.
    """
    from dvc.api import DVCFileSystem

    system = DVCFileSystem(rev=None if revision == WORKSPACE else revision)
    lock = _read(system, "dvc.lock", revision)
    predictions = _read(system, f"{REPORT}/predictions.csv", revision)
    index = _read(system, f"{PREPARED}/index.csv", revision)
    history = _read(system, f"{MODEL}/history.json", revision)
    try:
        check_tested(revision, lock)
        return _parse(revision, lock=lock, predictions=predictions, index=index, history=history)
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise InputError(
            f"{printable(revision)}: {REPORT}/predictions.csv, {PREPARED}/index.csv or {MODEL}/history.json "
            f"is not as this version of darkroom writes it ({describe_error(error)})"
        ) from None


def check_tested(revision: str, lock: str) -> None:
    """Check that a revision's predictions are those of its own model.

    A trial of tools.tune is trained and not tested: its dvc.lock still names the report of the commit before.

    Raises:
        InputError: They are another model's.
    """
    outs = parse_yaml(lock)["stages"]["train"]["outs"]
    trained = next(out["md5"] for out in outs if out["path"] == str(MODEL))
    if read_tested(lock).get(str(MODEL)) != trained:
        raise InputError(
            f"{printable(revision)}: its model was not tested; run: dvc exp apply {printable(revision)} and "
            "dvc repro"
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
                f"{other.revision}: was tested on {len(other.keys):,} images, {first.revision} on "
                f"{len(first.keys):,}; {num_shared:,} are the same; to compare on those: --shared"
                if num_shared
                else f"{other.revision}: shares no test image with {first.revision}"
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


def _read(system: "DVCFileSystem", path: str, revision: str) -> str:
    try:
        with system.open(path, mode="rb") as file:
            data: bytes = file.read()
        return data.decode()
    except FileNotFoundError as error:
        if error.filename is None or str(error.filename).endswith(path):
            raise InputError(f"{printable(revision)}: has no {path}; evaluate it with: dvc repro") from None
        raise _explain_missing(path, revision) from None
    except Exception as error:  # each remote has errors of its own
        kind = type(error).__name__  # some come wrapped in classes of private modules
        if kind == "RevError":
            raise InputError(
                f"{printable(revision)}: is no revision; see git log, and dvc exp list --all"
            ) from None
        if kind in ("DataIndexDirError", "FileMissingError"):
            raise _explain_missing(path, revision) from None
        raise InputError(f"{printable(revision)}: {path} cannot be read: {describe_error(error)}") from None


def _explain_missing(path: str, revision: str) -> InputError:
    how = "dvc repro" if revision == WORKSPACE else "dvc pull"
    if revision not in (WORKSPACE, "HEAD"):
        how = "dvc fetch --all-commits, or dvc exp pull for an experiment"
    return InputError(
        f"{printable(revision)}: {path} is neither in DVC's cache nor in a remote; get it with: {how}"
    )


def _parse(revision: str, *, lock: str, predictions: str, index: str, history: str) -> Result:
    of_path: dict[str, tuple[str, str]] = {}
    num_train = 0
    for record in csv.DictReader(io.StringIO(index)):
        num_train += record["split"] == "train"
        if record["split"] == "test":
            of_path[record["path"]] = (record["sha256"], record["group"])
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
    return Result(
        revision=revision,
        classes=classes,
        keys=list(_number_copies(of_path[path][0] for path in paths)),
        paths=paths,
        groups=[of_path[path][1] for path in paths],
        labels=np.array(labels),
        predicted=np.array(predicted),
        probabilities=np.stack(probabilities),
        parameters=dict(_list_parameters(parse_yaml(lock))),
        history=_parse_history(history),
        prepared_md5=read_tested(lock)[str(PREPARED)],
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


def _list_parameters(lock: Any) -> Iterator[tuple[str, Any]]:
    for stage in lock["stages"].values():
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
