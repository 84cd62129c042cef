"""Which images an epoch goes through, and in which order."""

import numpy as np
import pytest
import torch

from stages.train.sampler import EpochSampler


def list_samples(order: EpochSampler) -> list[int]:
    """Return the samples of the epoch that was chosen."""
    samples: list[int] = order.samples_of(0, batch_size=len(order)).tolist()
    return samples


def list_order(num_images: int = 40, *, epoch: int = 0, seed: int = 0, shuffle: bool = True) -> list[int]:
    """Return an epoch's order."""
    order = EpochSampler(torch.zeros(num_images, dtype=torch.int64), shuffle=shuffle, seed=seed)
    order.set_epoch(epoch)
    return list_samples(order)


@pytest.mark.parametrize("num_images", [1, 2, 40])
def test_every_image_comes_once(num_images: int) -> None:
    """An epoch is a permutation of the images."""
    assert sorted(list_order(num_images)) == list(range(num_images))
    assert len(EpochSampler(torch.zeros(num_images, dtype=torch.int64), shuffle=True, seed=0)) == num_images


def test_order_depends_on_seed_and_epoch_alone() -> None:
    """The same seed and epoch give the same order, whatever was sampled before; others give others."""
    expected = list_order(epoch=3)
    order = EpochSampler(torch.zeros(40, dtype=torch.int64), shuffle=True, seed=0)
    torch.manual_seed(99)
    for epoch in (0, 7):
        order.set_epoch(epoch)
        list_samples(order)
    order.set_epoch(3)
    assert list_samples(order) == expected
    assert list_samples(order) == expected
    assert len({tuple(list_order(epoch=epoch, seed=seed)) for epoch in range(5) for seed in range(5)}) == 25


def test_order_draws_nothing_from_the_global_generator() -> None:
    """Shuffling leaves torch's own random numbers as they are."""
    before = torch.get_rng_state()
    list_order()
    assert torch.equal(torch.get_rng_state(), before)


def test_without_shuffling_images_come_in_order() -> None:
    """shuffle: false goes through the images as they lie, in every epoch."""
    assert list_order(shuffle=False, epoch=2) == list(range(40))


def test_every_place_is_as_likely_as_another() -> None:
    """Over 2000 epochs each of 5 images stands about equally often at each of 5 places (chi-square)."""
    orders = np.array([list_order(5, epoch=epoch) for epoch in range(2000)])
    counts = np.array([np.bincount(column, minlength=5) for column in orders.T])
    assert ((counts - 400) ** 2 / 400).sum() < 45  # 16 degrees of freedom, p = 0.0001


def test_a_step_has_its_part_of_the_order() -> None:
    """Batches follow one another, and the last one has what is left."""
    order = EpochSampler(torch.zeros(10, dtype=torch.int64), shuffle=True, seed=1)
    order.set_epoch(5)
    expected = list_order(10, epoch=5, seed=1)
    batches = [order.samples_of(step, batch_size=4).tolist() for step in range(3)]
    assert batches == [expected[:4], expected[4:8], expected[8:]]


LABELS = torch.tensor([0] * 30 + [1] * 7 + [2] * 3)


def list_balanced(*, epoch: int = 0, seed: int = 0) -> list[int]:
    """Return a balanced epoch of 30, 7 and 3 images."""
    order = EpochSampler(LABELS, shuffle=True, seed=seed, sampling="balanced")
    order.set_epoch(epoch)
    return list_samples(order)


@pytest.mark.parametrize("epoch", range(5))
def test_balanced_classes_come_equally_often(epoch: int) -> None:
    """As many images as there are, of each class as many as of another, in every third of the epoch too."""
    order = list_balanced(epoch=epoch)
    assert len(order) == 40
    for part in (order, order[:12], order[12:24], order[24:]):
        counts = LABELS[part].bincount(minlength=3)
        assert counts.max() - counts.min() <= 1


def test_images_of_a_balanced_class_take_turns() -> None:
    """No image comes twice before all of its class came once; of a large class most epochs take others."""
    counts = torch.tensor(list_balanced()).bincount(minlength=40)
    for label in range(3):
        of_class = counts[label == LABELS]
        assert of_class.max() - of_class.min() <= 1
    seen = {image for epoch in range(20) for image in list_balanced(epoch=epoch)}
    assert seen == set(range(40))


def test_balanced_order_depends_on_seed_and_epoch_alone() -> None:
    """The same seed and epoch give the same order, and others give others."""
    torch.manual_seed(7)
    assert list_balanced(epoch=2) == list_balanced(epoch=2)
    assert (
        len({tuple(list_balanced(epoch=epoch, seed=seed)) for epoch in range(4) for seed in range(4)}) == 16
    )
    order = EpochSampler(LABELS, shuffle=True, seed=0, sampling="balanced")
    order.set_epoch(3)
    assert list_samples(order) == list_balanced(epoch=3)


def test_one_batch_comes_over_and_over() -> None:
    """To look for defects, every step of every epoch has the same images, which shuffling chose."""
    order = EpochSampler(LABELS, shuffle=True, seed=0, sampling="one_batch", batch_size=16)
    whole = list_samples(order)
    assert len(whole) == 40
    assert whole[:16] == list_order(40)[:16]
    assert whole == (whole[:16] * 3)[:40]
    order.set_epoch(4)
    assert list_samples(order) == whole
