"""Parity: what is compared, the interval of a change, and the gates."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.export.export import Export
from stages.export.parity import (
    Comparison,
    Reference,
    compare,
    estimate_change,
    find_failed_gates,
    write_parity,
)

GATES = Export(
    formats=("onnx",),
    checkpoint="best",
    min_agreement=0.999,
    max_probability_change=0.001,
    max_accuracy_drop=0.01,
)
NUM_IMAGES = 200


@pytest.fixture
def images() -> Reference:
    """200 images of three classes, of which the checkpoint classifies all but 20 correctly."""
    labels = np.arange(NUM_IMAGES) % 3
    probabilities = np.full((NUM_IMAGES, 3), 0.1, dtype=np.float32)
    predicted = np.where(np.arange(NUM_IMAGES) < 20, (labels + 1) % 3, labels)
    probabilities[np.arange(NUM_IMAGES), predicted] = 0.8
    pixels = np.arange(NUM_IMAGES, dtype=np.uint8)[:, None, None, None]
    return Reference(
        paths=[f"photos/{number}.png" for number in range(NUM_IMAGES)],
        labels=labels,
        groups=np.arange(NUM_IMAGES),
        classes=("ant", "bee", "=fox"),
        probabilities=probabilities,
        exact=probabilities,
        read=lambda block: pixels[block],
    )


def compare_changed(images: Reference, tmp_path: Path, changes: dict[int, Any], **kind: Any) -> Comparison:
    """Compare a model that gives other probabilities for some images."""
    path = tmp_path / "model.onnx"
    path.write_bytes(b"12345")

    def compute(pixels: np.ndarray) -> np.ndarray:
        rows = pixels[:, 0, 0, 0].astype(int)
        probabilities: np.ndarray = images.probabilities[rows].copy()
        for place, row in enumerate(rows.tolist()):
            if row in changes:
                probabilities[place] = changes[row]
        return probabilities

    return compare(kind.get("format", "onnx"), path, compute, images)


def test_an_equal_model_passes(images: Reference, tmp_path: Path) -> None:
    """Agreement is 1, nothing changes, and the interval of the change holds 0."""
    comparison = compare_changed(images, tmp_path, {})
    metrics = comparison.metrics
    assert (metrics.agreement, metrics.max_probability_change, metrics.accuracy) == (1, 0, 0.9)
    assert (metrics.accuracy_change, metrics.num_bytes) == (0, 5)
    assert metrics.accuracy_change_low < 0 < metrics.accuracy_change_high
    assert find_failed_gates(comparison, images, GATES) == []


def test_a_changed_probability_fails_and_the_image_is_named(images: Reference, tmp_path: Path) -> None:
    """Also where the prediction stays; other images are not named."""
    comparison = compare_changed(images, tmp_path, {70: [0.1, 0.79, 0.11]})
    gate, worst = find_failed_gates(comparison, images, GATES)
    assert gate.startswith("export.max_probability_change: onnx changes a probability by 0.01; allowed: ")
    assert worst == "photos/70.png: onnx says bee, the checkpoint bee; a probability differs by 0.01"


def test_another_prediction_fails_and_comes_first(images: Reference, tmp_path: Path) -> None:
    """Before images whose probabilities changed more."""
    changes = {100: [0.1, 0.8, 0.1], 5: [0.45, 0.46, 0.09], 6: [0.1, 0.3, 0.6], 8: [1, 1, 1]}
    comparison = compare_changed(images, tmp_path, changes)
    agreement, change, first, *others = find_failed_gates(comparison, images, GATES)
    assert "export.min_agreement: onnx predicts the checkpoint's class for 0.99 of the test" in agreement
    assert "export.max_probability_change" in change
    assert first.startswith("photos/6.png: onnx says =fox, the checkpoint bee")
    assert [line.split(":")[0] for line in others] == ["photos/5.png", "photos/8.png"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_fails(images: Reference, tmp_path: Path, value: float) -> None:
    """A model that overflows differs as much as can be."""
    comparison = compare_changed(images, tmp_path, {3: [value] * 3})
    assert comparison.metrics.max_probability_change == 1
    assert find_failed_gates(comparison, images, GATES)


def test_the_gate_of_int8_is_the_accuracy(images: Reference, tmp_path: Path) -> None:
    """Probabilities may change; two images of 200 lost are as many as it may lose, three are too many."""
    changes: dict[int, Any] = {number: [0.4, 0.3, 0.3] for number in range(21, 120, 3)}
    assert not find_failed_gates(
        compare_changed(images, tmp_path, changes, format="onnx_int8"), images, GATES
    )
    changes |= {number: [0.2, 0.5, 0.3] for number in (150, 153)}
    comparison = compare_changed(images, tmp_path, changes, format="onnx_int8")
    assert not find_failed_gates(comparison, images, GATES)
    changes[156] = [0.2, 0.5, 0.3]
    comparison = compare_changed(images, tmp_path, changes, format="onnx_int8")
    gate, *_ = find_failed_gates(comparison, images, GATES)
    assert gate.startswith("export.max_accuracy_drop: onnx_int8 loses 0.015 of the accuracy 0.9 (95 %")


def test_a_checkpoint_of_low_precision_is_compared_in_float32(images: Reference, tmp_path: Path) -> None:
    """What bfloat16 itself changed fails no gate; metrics and parity.csv have it."""
    coarse = images.probabilities + np.float32(0.005)
    coarse[[30, 60]] = [0.2, 0.45, 0.35]
    both = images._replace(probabilities=coarse, exact=images.probabilities)
    path = tmp_path / "model.onnx"
    path.write_bytes(b"1")
    comparison = compare("onnx", path, lambda pixels: both.exact[pixels[:, 0, 0, 0].astype(int)], both)
    assert comparison.metrics.max_probability_change == 0
    assert np.delete(comparison.changes, [30, 60]) == pytest.approx(0.005, rel=1e-3)
    assert (comparison.metrics.agreement, comparison.metrics.agreement_in_float32) == (0.99, 1)
    assert comparison.metrics.accuracy_change == pytest.approx(0.01)
    assert find_failed_gates(comparison, both, GATES) == []


def test_parity_has_a_line_for_every_image_and_format(images: Reference, tmp_path: Path) -> None:
    """Names that a spreadsheet would calculate stay text where they are paths."""
    comparison = compare_changed(images, tmp_path, {70: [0.1, 0.3, 0.6]})
    write_parity(tmp_path / "parity.csv", [comparison, comparison], images)
    lines = (tmp_path / "parity.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "path,label,format,checkpoint,exported,probability_change"
    assert len(lines) == 1 + 2 * NUM_IMAGES
    assert lines[71] == "photos/70.png,bee,onnx,bee,=fox,0.5"


def test_the_interval_of_a_change_holds_the_truth() -> None:
    """In 95 % of the simulated test sets or more, also where hardly an image changes."""
    rng = np.random.default_rng(0)
    for gained, lost in ((0.0, 0.0), (0.002, 0.004), (0.02, 0.05), (0.1, 0.1)):
        num_held = 0
        for _ in range(300):
            kind = rng.choice(3, size=400, p=[gained, lost, 1 - gained - lost])
            was_correct = np.where(kind == 2, rng.random(400) < 0.8, kind == 1)
            is_correct = np.where(kind == 2, was_correct, kind == 0)
            low, high = estimate_change(is_correct, was_correct, np.arange(400))
            num_held += low <= gained - lost <= high
        assert num_held >= 0.94 * 300, (gained, lost)


def test_images_of_a_group_count_as_one() -> None:
    """They change together, so that the interval is wider."""
    was_correct = np.ones(100, dtype=bool)
    is_correct = np.arange(100) >= 10
    alone = estimate_change(is_correct, was_correct, np.arange(100))
    grouped = estimate_change(is_correct, was_correct, np.arange(100) // 5)
    assert grouped.low < alone.low < -0.1 < alone.high < grouped.high
