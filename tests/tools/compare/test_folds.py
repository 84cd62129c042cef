"""Folds of cross-validation as one result."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_rel

from stages.shared.errors import InputError
from tests.tools.compare.results import make_result
from tools.compare.folds import compute_fold_p_value, join_folds, write_out_of_fold
from tools.compare.results import Configuration, FoldScore, Result, join_seeds


def make_folds(num_folds: int, *, seed: int = 0, lr: float = 0.1, per_fold: int = 3) -> list[Result]:
    """Return folds in which the first image of each is wrong."""
    folds = []
    for fold in range(num_folds):
        labels = [0] * per_fold
        parameters = {
            "training.seed": seed,
            "optimizer.lr": lr,
            "split.folds": num_folds,
            "split.fold": fold,
        }
        images = [f"{fold}-{number}" for number in range(per_fold)]
        predicted = [1, *labels[1:]]
        name = f"run{lr}-{fold}"
        result = make_result(predicted, labels, revision=name, images=images, parameters=parameters)
        folds.append(replace(result, num_train=10))
    return folds


def test_folds_are_joined_in_order() -> None:
    """Given in any order, they make one result in which every image stands once."""
    (joined,) = join_folds(make_folds(3)[::-1])
    assert joined.keys == [(f"{fold}-{number}", 0) for fold in range(3) for number in range(3)]
    assert joined.predicted.tolist() == [1, 0, 0] * 3
    assert joined.revision == "run0.1"
    assert joined.folds[2] == FoldScore(fold=2, seed=0, num_test=3, num_train=10, accuracy=2 / 3)


def test_each_configuration_and_seed_is_joined_by_itself() -> None:
    """Two rates with two seeds each are four results of two configurations."""
    results = [fold for lr in (0.1, 0.2) for seed in (0, 1) for fold in make_folds(2, seed=seed, lr=lr)]
    joined = join_folds(results)
    assert len(joined) == 4
    assert [len(each.results) for each in join_seeds(joined)] == [2, 2]


def test_a_missing_fold_is_named() -> None:
    """The line names it, and the command that runs it."""
    folds = make_folds(4)
    with pytest.raises(InputError, match=r"split\.fold 1 of 4 is missing \(and 3\).*-S split\.fold=1"):
        join_folds([folds[0], folds[2]])


def test_a_run_without_folds_is_refused() -> None:
    """It is no part of a cross-validation."""
    with pytest.raises(InputError, match=r"main: has split\.folds: 1"):
        join_folds([make_result([0], [0])])


def test_an_image_tested_twice_is_refused() -> None:
    """The folds are not of the same data."""
    folds = make_folds(2)
    with pytest.raises(InputError, match="3 images were tested in two folds"):
        join_folds([folds[0], replace(folds[1], keys=folds[0].keys)])


def test_classes_in_another_order_are_put_right() -> None:
    """Labels and probabilities follow the first fold's order."""
    folds = make_folds(2)
    turned = make_result([0, 1, 1], [1, 1, 1], images=["x", "y", "z"], classes=("dog", "cat"))
    (joined,) = join_folds([folds[0], replace(turned, parameters=folds[1].parameters, num_train=10)])
    assert joined.labels.tolist() == [0] * 6
    assert joined.predicted.tolist() == [1, 0, 0, 1, 0, 0]
    assert joined.probabilities[3].tolist() == pytest.approx([0.2, 0.8])


def join_scores(accuracies: list[float], *, num_train: int) -> Configuration:
    (joined,) = join_folds(make_folds(len(accuracies)))
    scores = [FoldScore(fold, 0, 100, num_train, value) for fold, value in enumerate(accuracies)]
    return Configuration([replace(joined, folds=tuple(scores))])


def test_nadeau_and_bengios_test() -> None:
    """Without test images beside those of training it is the paired t-test; they make it more careful."""
    accuracies = [0.8, 0.82, 0.79, 0.85, 0.81], [0.84, 0.83, 0.84, 0.86, 0.86]
    sides = [join_scores(each, num_train=10**9) for each in accuracies]
    assert compute_fold_p_value(*sides) == pytest.approx(ttest_rel(*accuracies).pvalue, rel=1e-5)
    # 5 folds: 1/5 becomes 1/5 + 100/400, so that t shrinks by the root of 0.45 / 0.2.
    careful = compute_fold_p_value(*(join_scores(each, num_train=400) for each in accuracies))
    assert careful is not None
    assert careful > ttest_rel(*accuracies).pvalue * 2


def test_folds_that_differ_alike_have_no_test() -> None:
    """Without spread, or without folds, there is no p-value."""
    same = join_scores([0.5, 0.75], num_train=100)
    assert compute_fold_p_value(same, join_scores([0.75, 1.0], num_train=100)) is None
    none = Configuration([make_result([0], [0])])
    assert compute_fold_p_value(none, none) is None


def test_out_of_fold_predictions_are_means_over_seeds(tmp_path: Path) -> None:
    """A line for every image, with the fold that held it out."""
    results = join_folds([*make_folds(2), *make_folds(2, seed=1)])
    second = replace(results[1], probabilities=1 - results[1].probabilities)
    write_out_of_fold(tmp_path / "all.csv", Configuration([results[0], second]).pool())
    with (tmp_path / "all.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["fold"] for row in rows] == ["0"] * 3 + ["1"] * 3
    assert rows[0]["path"] == "0-0.png"
    assert np.array(
        [[row["probability:cat"], row["probability:dog"]] for row in rows], dtype=float
    ) == pytest.approx(0.5)
