"""The processes of one run, and what they ask of each other.

Each computes its parts of every batch and its batches of the validation split; all hold the same weights, to
the last bit. `Processes` is the run of one process, which has all that it asks for; `Group` is several, on
one machine or many, that talk by torch.distributed: gloo between CPUs, NCCL between GPUs.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor, nn

from stages.shared.errors import InputError, shorten

_TIMEOUT = timedelta(days=30)
"""A process that is stopped or swapped out is waited for; one that is dead has its connections closed."""

_SECONDS_TO_BE_ENDED = 5.0

LOST = "train: another process of this run is gone"
"""Begins what a rank says that lost another, which is not what ended the run."""


class Processes:
    """One process, alone."""

    rank = 0
    count = 1

    @property
    def is_first(self) -> bool:
        """Return whether this is the process that saves, prints and publishes."""
        return self.rank == 0

    def share(self, number: int) -> range:
        """Return this process's share of so many things in a row: neighbours, as equally as it goes."""
        return range(number * self.rank // self.count, number * (self.rank + 1) // self.count)

    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace the gradients by their sums over all processes, added in a binary tree by rank.

        A process without gradients, for its parts of a short batch are missing, gets the sums of the others.
        """

    def gather_rows(self, rows: Sequence[Tensor], *, num_each: int, width: int) -> Tensor:
        """Return the rows (width,) of all processes in one tensor (N, width), by rank.

        Args:
            rows: Those of this process.
            num_each: How many a process has. If one has fewer, what stands for hers and for those of later
                ones means nothing.
            width: Their length.
        """
        return torch.stack(tuple(rows))

    def join(self, values: Tensor) -> Tensor:
        """Return tensors (n, ...) of all processes one after another, by rank; n may differ."""
        return values

    def any(self, is_so: bool) -> bool:
        """Return whether it is so in any process."""
        return is_so

    def wait(self) -> None:
        """Wait until all processes have come here."""
        self.any(False)

    def from_first(self, data: bytes) -> bytes:
        """Return what the first process has."""
        return data

    def collect(self, text: str) -> list[str]:
        """Return what each process has, by rank."""
        return [text]


ALONE = Processes()


class Group(Processes):
    """Several processes. All call the same methods in the same order, each of which waits for the others.

    Sums are of two processes at a time, and a + b is b + a to the last bit, so all get the same.

    Args:
        rank: This one, counted from 0.
        count: How many there are, a power of two.
        meet_at: Where they meet: `file:///a/file/that/is/not/there` or `tcp://host:port` of the first.
        device: What this one computes on.
    """

    def __init__(self, rank: int, count: int, *, meet_at: str, device: torch.device) -> None:
        import torch.distributed as dist  # only several processes need it

        self.rank, self.count = rank, count
        self._dist = dist
        self._device = device
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        with _explain_lost():
            dist.init_process_group(
                backend, init_method=meet_at, rank=rank, world_size=count, timeout=_TIMEOUT
            )
            self._pairs = []
            """This process and its partner in each level of the tree."""

            distance = 1
            while distance < count:
                for low in (low for low in range(count) if not low & distance):
                    # Everybody takes part in the making of every pair.
                    pair = dist.new_group([low, low + distance], timeout=_TIMEOUT)
                    if isinstance(pair, dist.ProcessGroup):  # else this process is none of the two
                        self._pairs.append(pair)
                distance *= 2
        self._flat = torch.empty(0)
        self._views: list[Tensor] = []
        self._flattened: list[nn.Parameter] = []

    def close(self) -> None:
        """Leave the group."""
        self._dist.destroy_process_group()

    @torch.no_grad()
    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        self._lay_out(trained)
        # Before the gradients, how many processes have one: a weight that is not used gets none.
        num_with = self._flat[: len(trained)]
        there = [parameter.grad is not None for parameter in trained]
        if any(there):
            num_with.fill_(1.0)
            if not all(there):
                num_with[torch.tensor([not each for each in there], device=self._device)] = 0.0
            gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
            torch._foreach_copy_(
                [view for view, is_there in zip(self._views, there, strict=True) if is_there], gradients
            )
            for view, is_there in zip(self._views, there, strict=True):
                if not is_there:
                    view.fill_(-0.0)
        else:
            self._flat.fill_(-0.0)  # which changes no bit of what it is added to; 0.0 would make 0.0 of -0.0
        with _explain_lost():
            for pair in self._pairs:
                self._dist.all_reduce(self._flat, group=pair)
        if not any(there):
            there = (num_with > 0).tolist()
        for parameter, view, is_there in zip(trained, self._views, there, strict=True):
            if is_there:
                if parameter.grad is None:
                    parameter.grad = torch.empty_like(parameter)
                parameter.grad.copy_(view)

    def _lay_out(self, trained: list[nn.Parameter]) -> None:
        """Make one tensor for all gradients, and for each a view into it with the strides of its weight."""
        if len(trained) == len(self._flattened) and all(map(_is, trained, self._flattened)):
            return
        assert all(parameter.dtype == torch.float32 for parameter in trained), "autocast casts what it needs"
        num_values = sum(parameter.numel() for parameter in trained)
        self._flat = torch.empty(len(trained) + num_values, device=self._device)
        self._views, start = [], len(trained)
        for parameter in trained:
            self._views.append(self._flat.as_strided(parameter.shape, parameter.stride(), start))
            start += parameter.numel()
        self._flattened = trained

    def gather_rows(self, rows: Sequence[Tensor], *, num_each: int, width: int) -> Tensor:
        own = torch.zeros(num_each, width, device=self._device)
        for place, row in enumerate(rows):
            own[place] = row
        everyone = torch.empty(self.count * num_each, width, device=self._device)
        with _explain_lost():
            self._dist.all_gather_single(everyone, own)
        return everyone

    def join(self, values: Tensor) -> Tensor:
        counts = [int(text) for text in self.collect(str(len(values)))]
        padded = values.new_zeros(max(counts), *values.shape[1:])
        padded[: len(values)] = values
        everyone = [torch.empty_like(padded) for _ in counts]
        with _explain_lost():
            self._dist.all_gather(everyone, padded)
        return torch.cat([each[:count] for each, count in zip(everyone, counts, strict=True)])

    def any(self, is_so: bool) -> bool:
        flag = torch.tensor([is_so], dtype=torch.uint8)
        with _explain_lost():
            self._dist.all_reduce(flag, op=self._dist.ReduceOp.MAX)
        return bool(flag)

    def from_first(self, data: bytes) -> bytes:
        length = torch.tensor([len(data)])
        with _explain_lost():
            self._dist.broadcast(length, src=0)
            content = torch.empty(int(length), dtype=torch.uint8)
            if self.is_first:
                content = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            self._dist.broadcast(content, src=0)
        return content.numpy().tobytes()

    def collect(self, text: str) -> list[str]:
        own = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
        lengths = [torch.empty(1, dtype=torch.int64) for _ in range(self.count)]
        with _explain_lost():
            self._dist.all_gather(lengths, torch.tensor([len(own)]))
            padded = torch.zeros(max(int(length) for length in lengths), dtype=torch.uint8)
            padded[: len(own)] = own
            everyone = [torch.empty_like(padded) for _ in lengths]
            self._dist.all_gather(everyone, padded)
        return [
            each[: int(length)].numpy().tobytes().decode()
            for each, length in zip(everyone, lengths, strict=True)
        ]


def _is(one: object, other: object) -> bool:
    return one is other


@contextmanager
def _explain_lost() -> Iterator[None]:
    """Wait to be ended where another process is gone: who started them all sees which, and says so.

    Raises:
        InputError: Nobody did.
    """
    try:
        yield
    except RuntimeError as error:
        if "Connection" not in str(error) and "connection" not in str(error) and "NCCL" not in str(error):
            raise
        time.sleep(_SECONDS_TO_BE_ENDED)
        raise InputError(f"{LOST}; the same command resumes from the last saved state") from None


def check_same(processes: Processes, facts: Mapping[str, object]) -> None:
    """Check that all processes have the same code, data, libraries and kind of machine.

    Args:
        processes: Of the run.
        facts: Of this one, by what they are.

    Raises:
        InputError: One has others than the first.
    """
    first, *others = map(json.loads, processes.collect(json.dumps(facts)))
    for rank, other in enumerate(others, start=1):
        for name, value in first.items():
            if other.get(name) != value:
                raise InputError(
                    f"cluster: rank {rank} has another {name} than rank 0 ({shorten(str(other.get(name)))}, "
                    f"not {shorten(str(value))}); allowed: the same in all processes, which would otherwise "
                    "compute other bits"
                )


def check_same_weights(processes: Processes, network: nn.Module, *, epoch: int) -> None:
    """Check that all processes hold the same weights and buffers.

    Raises:
        InputError: They do not, as where a layer remembers what it has seen otherwise than batch norm does.
    """
    if processes.count == 1:
        return
    tensors = list(network.state_dict().items())
    sums = {name: _add_bits(tensor) for name, tensor in tensors}
    for other in map(json.loads, processes.collect(json.dumps(sums))):
        for name, value in sums.items():
            if other[name] != value:
                raise InputError(
                    f"cluster.processes: found {processes.count}, but after epoch {epoch + 1} they hold "
                    f"different values of {name}, which this network changes in a way of its own; allowed: 1"
                )


def _add_bits(tensor: Tensor) -> int:
    """Return a number that tells tensors apart that differ in a bit."""
    words = tensor.detach().reshape(-1).view(torch.uint8 if tensor.element_size() < 4 else torch.int32)
    return int(words.sum(dtype=torch.int64))
