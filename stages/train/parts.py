"""The parts of a batch: what is computed at once, and how what they leave behind is joined.

`training.accumulation_steps` divides every batch into so many parts. A part is loaded, mixed, normalized and
sent through the network by itself, with random numbers of its own, so that it gives the same bits in
whichever process it is computed. What parts leave behind is joined in an order that several processes can
repeat, each of which has neighbouring parts: gradients in a binary tree, losses and batch norm's statistics
part by part.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import Sampler

from stages.train.ranks import ALONE, Processes
from stages.train.sampler import EpochSampler

Gradients = list[Tensor | None]


class Part(NamedTuple):
    """Images that go through the network together."""

    number: int
    """In the epoch, counted from 0, those of other processes and missing ones of a short batch included."""

    samples: npt.NDArray[np.int64]
    """int64 (N,), the index of each image in its split."""

    fraction: float
    """Its share of the batch's images."""


class PartSampler(Sampler[list[int]]):
    """The parts of an epoch's batches that this process computes, in order.

    A run resumed in the middle of an epoch iterates over the rest.

    Args:
        epoch: The order of the training images.
        batch_size: Images of a batch.
        num_parts: Parts of a batch.
        processes: Those that share out the parts.
    """

    def __init__(
        self, epoch: EpochSampler, *, batch_size: int, num_parts: int = 1, processes: Processes = ALONE
    ) -> None:
        assert num_parts % processes.count == 0, "the schema asks for that"
        self.batch_size = batch_size
        self.num_parts = num_parts
        self.processes = processes
        self._epoch = epoch
        self._first_step = 0

    def set_epoch(self, epoch: int, *, step: int = 0) -> None:
        """Choose the epoch to iterate over next, and the step to begin with."""
        self._epoch.set_epoch(epoch)
        self._first_step = step

    @property
    def num_steps(self) -> int:
        """Return the number of batches in an epoch."""
        return -(-len(self._epoch) // self.batch_size)

    def num_images(self, step: int) -> int:
        """Return how many images the batch of a step has, all parts together."""
        return min(self.batch_size, len(self._epoch) - step * self.batch_size)

    def num_in(self, step: int) -> int:
        """Return how many parts the batch of a step has, those of all processes together."""
        return len(divide(self.num_images(step), num_parts=self.num_parts))

    def of_step(self, step: int) -> list[Part]:
        """Return this process's parts of a step's batch; a short batch may leave it none."""
        samples = self._epoch.samples_of(step, batch_size=self.batch_size)
        parts = divide(len(samples), num_parts=self.num_parts)
        return [
            Part(
                step * self.num_parts + place,
                samples[parts[place]],
                len(samples[parts[place]]) / len(samples),
            )
            for place in self.processes.share(self.num_parts)
            if place < len(parts)
        ]

    def __len__(self) -> int:
        return sum(len(self.of_step(step)) for step in range(self.num_steps))

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self._first_step, self.num_steps):
            for part in self.of_step(step):
                yield part.samples.tolist()


class BatchSum:
    """What the parts of a batch add up to: gradients, losses, and running statistics of batch norm.

    The block is an epoch of training steps.

    Args:
        module: What is trained, in training mode.
        parameters: All of the network's.
        num_parts: Parts of a batch, those of all processes together.
        processes: Those that share them out.
    """

    def __init__(
        self, module: nn.Module, parameters: Sequence[nn.Parameter], *, num_parts: int, processes: Processes
    ) -> None:
        self._parameters = parameters
        self._processes = processes
        self._num_own = num_parts // processes.count
        self._gradients = GradientTree(parameters, num_parts=self._num_own)
        # With one part a batch there is nothing to join, and torch's own update is left alone.
        self._statistics = RunningStatistics(module if num_parts > 1 else nn.Module())
        self._rows: list[Tensor] = []

    def __enter__(self) -> Self:
        self._statistics.set_apart()
        return self

    def __exit__(self, *_: object) -> None:
        self._statistics.give_back()

    def begin_part(self) -> None:
        """Say that the backward pass of a part comes next."""
        self._gradients.begin_part()

    @torch.no_grad()
    def end_part(self, loss: Tensor, num_correct: Tensor) -> None:
        """Take in what a part leaves behind.

        Args:
            loss: float32 (), summed over its images.
            num_correct: int64 ().
        """
        # In one tensor, for processes send each other all of it at once.
        self._rows.append(torch.cat((torch.stack((loss.detach(), num_correct)), *self._statistics.buffers)))

    @torch.no_grad()
    def finish(self, *, num_parts: int) -> Tensor:
        """Leave the batch's gradient in the parameters, and its statistics in batch norm.

        Args:
            num_parts: How many the batch has, which are fewer than usual if it is short.

        Returns:
            float32 (num_parts, 2), in the order of the parts: sum of losses, number of correct predictions.
        """
        self._gradients.finish()
        self._processes.add_gradients(self._parameters)
        own, self._rows = self._rows, []
        width = 2 + sum(buffer.numel() for buffer in self._statistics.buffers)
        rows = self._processes.gather_rows(own, num_each=self._num_own, width=width)[:num_parts]
        self._statistics.update(rows[:, 2:], num_own=len(own))
        return rows[:, :2]


class GradientTree:
    """Adds the gradients of parts in a binary tree: of neighbours, then of neighbouring sums.

    So a process that has half of the parts computes half of the tree. An odd number of parts has no halves:
    they are added one after another. Missing parts, the last ones of a short batch, count as zero.

    Args:
        parameters: Those with gradients.
        num_parts: Leaves of the tree.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], *, num_parts: int) -> None:
        self._parameters = parameters
        odd = num_parts
        while odd % 2 == 0:
            odd //= 2
        # Autograd adds what is one after another, and a pair, without further memory.
        self._run_length = 2 if odd == 1 and num_parts > 1 else odd
        self._num_in_run = 0
        self._sums: list[tuple[int, Gradients]] = []
        """Sums of so many runs each, ever fewer, which wait for a sum of as many."""

    def begin_part(self) -> None:
        """Make room for the gradients of the next part."""
        if self._num_in_run == self._run_length:
            self._put_aside()
        self._num_in_run += 1

    def finish(self) -> None:
        """Leave the sum of all parts in the parameters, and begin again."""
        if self._sums:
            self._put_aside()
            _, total = self._sums.pop()
            while self._sums:
                total = _add(self._sums.pop()[1], total)
            for parameter, gradient in zip(self._parameters, total, strict=True):
                parameter.grad = gradient
        self._num_in_run = 0

    def _put_aside(self) -> None:
        num_runs, gradients = 1, [parameter.grad for parameter in self._parameters]
        for parameter in self._parameters:
            parameter.grad = None
        while self._sums and self._sums[-1][0] == num_runs:
            gradients = _add(self._sums.pop()[1], gradients)
            num_runs *= 2
        self._sums.append((num_runs, gradients))
        self._num_in_run = 0


def _add(left: Gradients, right: Gradients) -> Gradients:
    """Return the sums of gradients, in the memory of the left ones; None counts as zero."""
    pairs = [(one, other) for one, other in zip(left, right, strict=True) if one is not None is not other]
    if pairs:
        torch._foreach_add_([one for one, _ in pairs], [other for _, other in pairs])
    return [other if one is None else one for one, other in zip(left, right, strict=True)]


class RunningStatistics:
    """Running means and variances of batch norm, as if its parts came one after another.

    Between `set_apart` and `give_back`, a forward pass leaves those of its part alone in the buffers, for it
    runs with a momentum of 1; `update` puts in the running ones. What a forward pass in training computes
    does not depend on them.

    Args:
        module: Only its batch norm that is in training mode counts.
    """

    def __init__(self, module: nn.Module) -> None:
        self._norms = [
            part
            for part in module.modules()
            if isinstance(part, nn.modules.batchnorm._BatchNorm)
            and part.training
            and part.track_running_stats
        ]
        both = [(norm, buffer) for norm in self._norms for buffer in (norm.running_mean, norm.running_var)]
        self.buffers = [buffer for _, buffer in both if buffer is not None]
        self._momenta = [norm.momentum for norm in self._norms]
        self._weights = [
            torch.full_like(buffer, norm.momentum or 0.0) for norm, buffer in both if buffer is not None
        ]

    def set_apart(self) -> None:
        """Have forward passes leave the statistics of their part alone."""
        assert None not in self._momenta, "no network here averages over all batches since the first"
        if self._norms:
            self._running, self._weight = torch.cat(self.buffers), torch.cat(self._weights)
        for norm in self._norms:
            norm.momentum = 1.0

    def give_back(self) -> None:
        """Have forward passes update the running statistics again."""
        for norm, momentum in zip(self._norms, self._momenta, strict=True):
            norm.momentum = momentum

    def update(self, of_parts: Tensor, *, num_own: int) -> None:
        """Update the running statistics by those of a batch's parts.

        Args:
            of_parts: float32 (num_parts, values of all buffers), in the order of the parts.
            num_own: How many of them this process has computed, and batch norm has counted.
        """
        if not self._norms:
            return
        for of_part in of_parts:
            self._running.lerp_(of_part, self._weight)
        torch._foreach_copy_(
            self.buffers, torch.split(self._running, [len(buffer) for buffer in self.buffers])
        )
        for norm in self._norms:
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked += len(of_parts) - num_own


def list_batches(num_images: int, *, batch_size: int, processes: Processes) -> list[list[int]]:
    """Return the batches of a split in its own order that this process computes, as lists of indices."""
    starts = range(0, num_images, batch_size)
    return [
        list(range(starts[place], min(starts[place] + batch_size, num_images)))
        for place in processes.share(len(starts))
    ]


def divide(num_images: int, *, num_parts: int) -> list[slice]:
    """Return the parts of a batch, equally large but for the last."""
    num_each = -(-num_images // num_parts)
    return [slice(start, start + num_each) for start in range(0, num_images, num_each)]


def smallest_part(num_images: int, *, batch_size: int, num_parts: int) -> int:
    """Return how many images the smallest part of an epoch's batches has."""
    batches = {min(num_images, batch_size), num_images % batch_size} - {0}
    return min(len(range(batch)[divide(batch, num_parts=num_parts)[-1]]) for batch in batches)
