"""Which images are compared, and which runs are one configuration."""

from dataclasses import replace

import numpy as np
import pytest

from stages.shared.errors import InputError
from tests.tools.compare.results import make_result
from tools.compare.results import check_tested, join_seeds, match_images

LABELS = [0, 0, 1, 1]


def test_runs_that_differ_in_their_seed_are_one_configuration() -> None:
    """Another seed joins, the same seed again does not, and neither does another parameter."""
    parameters = [
        {"training.seed": 0, "optimizer.lr": 0.1},
        {"training.seed": 1, "optimizer.lr": 0.1},
        {"training.seed": 1, "optimizer.lr": 0.2},
        {"training.seed": 0, "optimizer.lr": 0.1},
    ]
    results = [
        make_result(LABELS, LABELS, revision=str(number), parameters=each)
        for number, each in enumerate(parameters)
    ]
    assert [each.name for each in join_seeds(results)] == ["0, 1", "2", "3"]


def test_a_model_that_was_not_tested_is_refused() -> None:
    """As a trial of tools.tune, whose dvc.lock still names the predictions of the commit before."""
    lock = """
stages:
  train:
    outs:
    - path: data/model
      md5: {trained}.dir
  evaluate:
    deps:
    - path: data/model
      md5: old.dir
"""
    check_tested("HEAD", lock.format(trained="old"))
    with pytest.raises(InputError, match="tune-1a-3: its model was not tested; run: dvc exp apply tune-1a-3"):
        check_tested("tune-1a-3", lock.format(trained="new"))


def test_images_are_paired_by_their_bytes() -> None:
    """Order and paths may differ; classes too may stand in another order."""
    first = make_result([0, 1, 1, 1], LABELS, images=["a", "b", "c", "d"])
    other = make_result([0, 0, 1, 1], [0, 0, 1, 1], images=["d", "c", "b", "a"], classes=("dog", "cat"))
    keys = match_images([first, other], shared_only=False)
    assert keys == first.keys
    predictions = other.select(keys, first.classes)
    assert predictions.labels.tolist() == LABELS
    assert predictions.predicted.tolist() == [0, 0, 1, 1]
    assert predictions.confidence == pytest.approx(np.full(4, 0.8))
    assert predictions.losses == pytest.approx(-np.log(np.full(4, 0.8)))


def test_other_test_images_are_refused() -> None:
    """The line says how many are shared, and what to do; with --shared those are compared."""
    first = make_result(LABELS, LABELS, images=["a", "b", "c", "d"])
    other = make_result(LABELS, LABELS, images=["b", "a", "d", "e"], revision="more")
    with pytest.raises(
        InputError, match=r"more: was tested on 4 images, main on 4; 3 are the same.*--shared"
    ):
        match_images([first, other], shared_only=False)
    assert match_images([first, other], shared_only=True) == [("a", 0), ("b", 0), ("d", 0)]


def test_no_shared_image_is_refused() -> None:
    """Nothing can be compared, --shared or not."""
    first = make_result(LABELS, LABELS, images=["a", "b", "c", "d"])
    other = make_result(LABELS, LABELS, images=["e", "f", "g", "h"], revision="more")
    for shared_only in (False, True):
        with pytest.raises(InputError, match="no test image"):
            match_images([first, other], shared_only=shared_only)


def test_other_classes_are_refused() -> None:
    """Each side's own classes are named."""
    first = make_result(LABELS, LABELS)
    other = make_result(LABELS, LABELS, classes=("cat", "wolf"), revision="wild")
    with pytest.raises(
        InputError, match=r"other classes than main \(only main has dog; only wild has wolf\)"
    ):
        match_images([first, other], shared_only=True)


def test_other_labels_are_refused() -> None:
    """An image that was relabelled would count as fixed or broken."""
    first = make_result(LABELS, LABELS)
    other = replace(make_result(LABELS, [0, 0, 1, 0]), revision="relabelled")
    with pytest.raises(
        InputError, match=r"1 test images? ha.* another label .*image3\.png \(dog, there cat\)"
    ):
        match_images([first, other], shared_only=False)
