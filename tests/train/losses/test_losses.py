"""Which loss is built, and how classes are weighed."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from schemas.train.loss import Loss
from stages.shared.errors import InputError
from stages.train.losses import build_loss, weigh_classes
from tests.vision.completeness import names_of, read_section, read_test


def make_section(name: str = "focal", class_weights: Any = "none") -> Loss:
    """Return a `loss` section."""
    return Loss.model_validate({**read_section("loss"), "name": name, "class_weights": class_weights})


@pytest.mark.parametrize("name", names_of(Loss))
def test_every_loss_of_the_schema_is_built_and_tested(name: str) -> None:
    """A loss that params.yaml may name is built, with class weights, and has a test module of its own."""
    logits, labels = torch.zeros(3, 2, requires_grad=True), torch.tensor([0, 1, 1])
    plain = build_loss(make_section(name), class_counts=(1, 2))
    weighted = build_loss(make_section(name, [1.0, 9.0]), class_counts=(1, 2))
    assert plain(logits, labels).shape == ()
    assert plain(logits, labels).requires_grad
    assert [buffer.tolist() for buffer in weighted.buffers()] == [[1.0, 9.0]]
    assert f"losses.{name} import" in read_test(f"train/losses/test_{name}.py")


def test_no_weights_are_none() -> None:
    """class_weights: none weighs nothing."""
    assert weigh_classes(make_section(), class_counts=(1, 2)) is None


@pytest.mark.parametrize("counts", [(5, 5), (1, 2, 7), (3,) * 1000])
def test_balanced_weights_are_those_of_scikit_learn(counts: tuple[int, ...]) -> None:
    """Balanced weights are inverse to the class's share of the training images."""
    labels = np.repeat(np.arange(len(counts)), counts)
    expected = compute_class_weight("balanced", classes=np.arange(len(counts)), y=labels)
    found = weigh_classes(make_section(class_weights="balanced"), class_counts=counts)
    assert found is not None
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


def test_given_weights_are_taken() -> None:
    """A list is taken as it is, in the order of the classes."""
    found = weigh_classes(make_section(class_weights=[0.5, 3.0]), class_counts=(8, 9))
    assert found is not None
    assert found.tolist() == [0.5, 3.0]


@pytest.mark.parametrize("num", [2, 4])
def test_wrong_number_of_weights_is_refused(num: int) -> None:
    """One weight too few or too many is refused: the key, what was found, what is allowed."""
    message = rf"params\.yaml: loss\.class_weights: found {num} numbers; allowed: none, balanced, or 3, "
    with pytest.raises(InputError, match=message):
        build_loss(make_section(class_weights=[1.0] * num), class_counts=(1, 2, 3))
