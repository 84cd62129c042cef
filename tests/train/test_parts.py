"""Parts of a batch: which images they have, and how what they leave behind is joined."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stages.train.parts import BatchSum, GradientTree, PartSampler, divide, list_batches
from stages.train.ranks import ALONE, Processes
from stages.train.sampler import EpochSampler


class OneOf(Processes):
    """A process of several, as far as it asks nothing of the others."""

    def __init__(self, rank: int, count: int) -> None:
        self.rank, self.count = rank, count


def make_sampler(processes: Processes = ALONE, *, num_parts: int = 4) -> PartSampler:
    """Return the parts of 22 images in batches of 10."""
    order = EpochSampler(torch.zeros(22, dtype=torch.int64), shuffle=True, seed=0)
    return PartSampler(order, batch_size=10, num_parts=num_parts, processes=processes)


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("step", [0, 1, 2])
def test_processes_share_out_the_parts(step: int, count: int) -> None:
    """One after another, they have the parts of one process, their numbers and shares too."""
    (alone, *_), samplers = [make_sampler()], [make_sampler(OneOf(rank, count)) for rank in range(count)]
    for sampler in (alone, *samplers):
        sampler.set_epoch(3, step=step)
    expected, found = alone.of_step(step), [part for sampler in samplers for part in sampler.of_step(step)]
    assert [(part.number, part.fraction) for part in found] == [
        (part.number, part.fraction) for part in expected
    ]
    assert all(np.array_equal(one.samples, other.samples) for one, other in zip(found, expected, strict=True))
    assert sum(part.fraction for part in found) == pytest.approx(1.0)
    assert alone.num_in(step) == len(expected) == (2 if step == 2 else 4)
    assert sorted(itertools.chain(*samplers)) == sorted(alone)


def test_a_resumed_run_iterates_over_the_rest() -> None:
    """From any step on, the parts are the last ones of the whole epoch."""
    sampler = make_sampler()
    sampler.set_epoch(1)
    whole = list(sampler)
    assert len(whole) == len(sampler) == 10
    for step, start in enumerate((0, 4, 8, 10)):
        sampler.set_epoch(1, step=step)
        assert list(sampler) == whole[start:]


def test_processes_share_out_the_validation_split() -> None:
    """Whole batches, in order; with more processes than batches some have none."""
    expected = [[0, 1, 2], [3, 4, 5], [6]]
    for count in (1, 2, 4, 8):
        found = [list_batches(7, batch_size=3, processes=OneOf(rank, count)) for rank in range(count)]
        assert list(itertools.chain(*found)) == expected


def add_in_tree(values: list[Tensor | None]) -> Tensor | None:
    """Return the sum as the docstring of GradientTree has it, written down as it is defined."""
    if len(values) % 2:
        total = None
        for value in values:
            total = value if total is None else total if value is None else total + value
        return total
    half = len(values) // 2
    left, right = add_in_tree(values[:half]), add_in_tree(values[half:])
    return left if right is None else right if left is None else left + right


@pytest.mark.parametrize("num_parts", [1, 2, 3, 4, 5, 6, 8, 12, 16])
def test_gradients_are_added_in_a_tree(num_parts: int) -> None:
    """To the last bit, whatever the number of parts, also if the last ones are missing."""
    generator = torch.Generator().manual_seed(num_parts)
    used, unused = nn.Parameter(torch.zeros(50)), nn.Parameter(torch.zeros(2))
    tree = GradientTree([used, unused], num_parts=num_parts)
    is_plain = set[bool]()
    for num_there in range(1, num_parts + 1):
        gradients = [torch.randn(50, generator=generator) for _ in range(num_there)]
        used.grad = None
        for gradient in gradients:
            tree.begin_part()
            torch.autograd.backward((used * gradient).sum())
        tree.finish()
        expected = add_in_tree([*gradients, *[None] * (num_parts - num_there)])
        found = [used.grad, unused.grad]
        assert found[1] is None
        assert found[0] is not None
        assert expected is not None
        assert torch.equal(found[0], expected)
        is_plain.add(torch.equal(expected, sum(gradients, start=torch.zeros(50))))
    assert (False in is_plain) == (
        num_parts >= 4 and num_parts % 2 == 0
    )  # else one after another is the tree


@pytest.mark.parametrize("num_there", [1, 3, 4])
def test_running_statistics_are_those_of_parts_one_after_another(num_there: int) -> None:
    """As torch's own batch norm has them after the same forward passes; its momentum comes back."""
    torch.manual_seed(0)
    plain = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, momentum=0.3))
    ours = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, momentum=0.3))
    ours.load_state_dict(plain.state_dict())
    parts = [torch.randn(5, 3, 2, 2) + number for number in range(num_there)]
    rows = torch.empty(0)
    with BatchSum(ours, list(ours.parameters()), num_parts=4, processes=ALONE) as batch_sum:
        for _ in range(2):
            for part in parts:
                plain(part)
                batch_sum.begin_part()
                batch_sum.end_part(ours(part).sum(), torch.tensor(2))
            rows = batch_sum.finish(num_parts=num_there)
    assert rows.shape == (num_there, 2)
    for name, expected in plain.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], expected)
    assert [ours[0].momentum, ours[2].momentum] == [0.1, 0.3]


def test_statistics_of_a_frozen_backbone_stay() -> None:
    """Batch norm in evaluation mode has no part in it."""
    network = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3))
    network[0].eval()
    before = {name: tensor.clone() for name, tensor in network[0].state_dict().items()}
    with BatchSum(network, list(network.parameters()), num_parts=2, processes=ALONE) as batch_sum:
        batch_sum.end_part(network(torch.randn(4, 3)).sum(), torch.tensor(0))
        batch_sum.finish(num_parts=1)
    assert all(torch.equal(network[0].state_dict()[name], tensor) for name, tensor in before.items())
    assert network[1].num_batches_tracked == 1


def test_one_part_a_batch_is_left_to_torch() -> None:
    """Its running statistics keep their bits."""
    torch.manual_seed(0)
    plain, ours = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    images = torch.randn(7, 3)
    plain(images)
    with BatchSum(ours, list(ours.parameters()), num_parts=1, processes=ALONE) as batch_sum:
        batch_sum.end_part(ours(images).sum(), torch.tensor(0))
        batch_sum.finish(num_parts=1)
    assert all(torch.equal(ours.state_dict()[name], tensor) for name, tensor in plain.state_dict().items())


def test_the_smallest_part_of_a_batch() -> None:
    """A batch is divided evenly; the last part has what is left."""
    assert divide(10, num_parts=4) == [slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 12)]
    assert len(divide(5, num_parts=4)) == 3
