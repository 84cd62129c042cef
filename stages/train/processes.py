"""The processes of one run, and what they ask of each other.

Each computes its parts of every batch and its batches of the validation split; all hold the same weights, to
the last bit. `Processes` is the run of one process, which has all that it asks for; `Group` is several, on
one machine or many, that talk by torch.distributed: gloo between CPUs, NCCL between GPUs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


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
        """Replace the gradients by their sums over all processes, added in a binary tree by rank."""

    def gather_rows(self, rows: Sequence[Tensor], *, num_each: int, width: int) -> Tensor:
        """Return the rows (width,) of all processes in one tensor (N, width), by rank.

        Args:
            rows: Those of this process.
            num_each: How many a process has. If one has fewer, those of later ones are not to be used.
            width: Their length.
        """
        return torch.stack(tuple(rows))

    def join(self, values: Tensor) -> Tensor:
        """Return tensors (n, ...) of all processes one after another, by rank; n may differ."""
        return values

    def any(self, is_so: bool) -> bool:
        """Return whether it is so in any process."""
        return is_so

    def from_first(self, data: bytes) -> bytes:
        """Return what the first process has."""
        return data

    def collect(self, text: str) -> list[str]:
        """Return what each process has, by rank."""
        return [text]


ALONE = Processes()
