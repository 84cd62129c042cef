"""Cross-validation: the folds are run as experiments, and their results joined into one.

Every image is tested once, by a network that was not trained on it.
"""

import csv
import hashlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.special import stdtr

from stages.shared.errors import InputError
from tools.compare.results import SEED, Configuration, FoldScore, Result
from tools.dvc_lock import parse_yaml
from tools.git import run_git

FOLD, FOLDS = "split.fold", "split.folds"


def join_folds(results: Sequence[Result]) -> list[Result]:
    """Return results of which each holds all folds of one configuration and seed.

    Raises:
        InputError: One was not cross-validated, a fold is missing, or two folds tested the same image.
    """
    joined: dict[str, dict[int, Result]] = {}
    for result in results:
        num_folds = result.parameters.get(FOLDS, 1)
        if num_folds < 2:
            raise InputError(
                f"{result.revision}: has {FOLDS}: {num_folds}; --join takes folds of cross-validation"
            )
        alike = str(sorted((key, value) for key, value in result.parameters.items() if key != FOLD))
        joined.setdefault(alike, {}).setdefault(result.parameters[FOLD], result)
    return [_join(folds) for folds in joined.values()]


def _join(folds: Mapping[int, Result]) -> Result:
    parts = [folds[fold] for fold in sorted(folds)]
    first = parts[0]
    if missing := sorted(set(range(first.parameters[FOLDS])) - set(folds)):
        others = ", ".join(str(fold) for fold in missing[1:])
        raise InputError(
            f"{first.revision}: {FOLD} {missing[0]} of {first.parameters[FOLDS]} is missing"
            + (f" (and {others})" if others else "")
            + "; run it with the same other parameters and: "
            f"dvc exp run -S {FOLDS}={first.parameters[FOLDS]} -S {FOLD}={missing[0]}"
        )
    keys = [key for part in parts for key in part.keys]
    if len(set(keys)) < len(keys):
        twice = len(keys) - len(set(keys))
        raise InputError(
            f"{first.revision}: {twice:,} images were tested in two folds; their data is not the same"
        )
    by_class = [[part.classes.index(name) for name in first.classes] for part in parts]
    position = [np.argsort(columns) for columns in by_class]
    names = [part.revision for part in parts]
    return Result(
        # What their names begin with: not a path, which is what the function is known for.
        revision=os.path.commonprefix(names).rstrip("-_. ") or first.revision,  # noqa: RUF071
        classes=first.classes,
        keys=keys,
        paths=[path for part in parts for path in part.paths],
        groups=[group for part in parts for group in part.groups],
        labels=np.concatenate([at[part.labels] for at, part in zip(position, parts, strict=True)]),
        predicted=np.concatenate([at[part.predicted] for at, part in zip(position, parts, strict=True)]),
        probabilities=np.concatenate(
            [part.probabilities[:, columns] for part, columns in zip(parts, by_class, strict=True)]
        ),
        parameters={key: value for key, value in first.parameters.items() if key != FOLD},
        history=(),
        prepared_md5=first.prepared_md5,
        folds=tuple(
            FoldScore(
                part.parameters[FOLD],
                part.parameters.get(SEED, 0),
                len(part.keys),
                part.num_train,
                float((part.labels == part.predicted).mean()),
            )
            for part in parts
        ),
    )


def compute_fold_p_value(first: Configuration, other: Configuration) -> float | None:
    """Return the p-value of the corrected resampled t-test on the accuracies of the folds.

    Training sets overlap, so that the accuracies of folds vary less than those of new data would: their
    variance is multiplied by 1/J + n_test / n_train instead of 1/J.
    Source: Nadeau and Bengio 2003, doi:10.1023/A:1024068626366.

    Returns:
        None where the folds differ too little for a test.
    """
    scores = [
        {(score.fold, score.seed): score for result in each.results for score in result.folds}
        for each in (first, other)
    ]
    shared = sorted(set(scores[0]) & set(scores[1]))
    differences = np.array([scores[1][at].accuracy - scores[0][at].accuracy for at in shared])
    if len(shared) < 2 or np.ptp(differences) == 0:
        return None
    ratio = np.mean([scores[0][at].num_test / scores[0][at].num_train for at in shared])
    error = np.sqrt((1 / len(shared) + ratio) * differences.var(ddof=1))
    return float(2 * stdtr(len(shared) - 1, -abs(differences.mean()) / error))


def list_fold_experiments() -> list[str]:
    """Return the names of the experiments on the current commit that are folds, in the order they ran.

    Raises:
        InputError: There are none.
    """
    commit = run_git("rev-parse", "HEAD").strip()
    found = [name for name, sha in _list_experiments(f"{commit[:2]}/{commit[2:]}") if _is_fold(sha)]
    if not found:
        raise InputError(
            "--join: no experiment on this commit has split.folds above 1; run them with: make folds K=5, or "
            "name them"
        )
    return found


def run_folds(num_folds: int) -> list[str]:
    """Run each fold as an experiment in a temporary copy, but for those that ran already; return their names.

    A name holds a hash of what is run, so that a stopped cross-validation goes on, and changed parameters or
    code begin another. One at a time: parallel workers of DVC's queue race (dvc issues 10673 and 10562).

    Raises:
        InputError: A fold failed, or was stopped.
    """
    state = "".join(run_git(*command) for command in (("rev-parse", "HEAD"), ("diff", "HEAD")))
    digest = hashlib.sha256(state.encode()).hexdigest()[:6]
    names = [f"folds{num_folds}-{digest}-{fold}" for fold in range(num_folds)]
    there = {name for name, _ in _list_experiments()}
    for fold, name in enumerate(names):
        if name in there:
            print(f"compare: fold {fold + 1} of {num_folds}: is there, as {name}", flush=True)
            continue
        print(f"compare: fold {fold + 1} of {num_folds}: running {name}", flush=True)
        settings = [f"{FOLDS}={num_folds}", f"{FOLD}={fold}"]
        command = ["dvc", "exp", "run", "--temp", "--name", name]
        done = subprocess.run(
            [*command, *(word for each in settings for word in ("--set-param", each))], check=False
        )
        if done.returncode:
            raise InputError(
                f"{name}: dvc exited with {done.returncode}; the same command goes on with this fold"
            )
    return names


def write_out_of_fold(path: Path, pooled: Result) -> None:
    """Write a line for every image: its class, and what the network that never saw it predicts."""
    folds = pooled.list_folds(pooled.keys)
    assert folds is not None
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = [f"probability:{name}" for name in pooled.classes]
        writer.writerow(["path", "label", "predicted", "probability", "fold", *names])
        for row, at in enumerate(pooled.paths):
            numbers = [f"{number:.9g}" for number in pooled.probabilities[row]]
            label, predicted = pooled.labels[row], pooled.predicted[row]
            classes = pooled.classes[label], pooled.classes[predicted]
            writer.writerow([at, *classes, numbers[predicted], folds[row], *numbers])


def _list_experiments(on_commit: str = "") -> list[tuple[str, str]]:
    """Return name and commit of the experiments, the oldest first: DVC keeps each as a Git reference."""
    wanted = ("--format=%(refname) %(objectname)", f"refs/exps/{on_commit}")
    lines = run_git("for-each-ref", "--sort=committerdate", *wanted).splitlines()
    refs = [line.split() for line in lines]
    # refs/exps/12/34.../name; others, such as refs/exps/stash, are the queue's.
    return [(ref.rpartition("/")[2], sha) for ref, sha in refs if ref.count("/") == 4]


def _is_fold(commit: str) -> bool:
    stages = parse_yaml(run_git("show", f"{commit}:dvc.lock"))["stages"]
    split = stages.get("prepare-dataset", {}).get("params", {}).get("params.yaml", {}).get("split", {})
    return bool(split.get("folds", 1) > 1)
