"""What processes are given to do, and what they tell of it."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
_ItemT_contra = TypeVar("_ItemT_contra", contravariant=True)
_ResultT_co = TypeVar("_ResultT_co", covariant=True)


class Task(NamedTuple, Generic[ItemT]):
    """Some items that one process works on."""

    items: Sequence[ItemT]

    shared: Any = None
    """What all of them need, such as the archive that they stand in. It may be large: it is pickled for a
    process when this object is another one than that of the task before, and not with every task."""


class NotYet(NamedTuple):
    """Stands among tasks where there is none at the moment."""

    descriptor: int
    """Of a file that can be read from when it is worth asking again."""


class Watch:
    """Where a process notes what it is at, for its parent to see when it crashes or hangs."""

    def __init__(self, notes: Any) -> None:
        self._notes = notes  # a shared array of [item, since when]

    def begin(self, item: int) -> None:
        """Note that an item of the task is begun; there is no time limit yet."""
        self._notes[1] = np.inf
        self._notes[0] = item

    def start_clock(self) -> None:
        """Have the time limit count from now on."""
        self._notes[1] = time.monotonic()

    def rest(self) -> None:
        """Note that no item is at work."""
        self._notes[0] = -1
        self._notes[1] = np.inf

    @property
    def item(self) -> int:
        """Return the item that is at work, -1 for none."""
        return int(self._notes[0])

    def has_exceeded(self, max_seconds: float) -> bool:
        """Return whether the item at work takes longer than it may."""
        return time.monotonic() - float(self._notes[1]) > max_seconds


class Work(Protocol[_ItemT_contra, _ResultT_co]):
    """What the processes do. It is sent to each of them once, so it must be possible to pickle it."""

    slot_bytes: int
    """Room for the bytes that a task gives back."""

    max_seconds: float
    """How long one item may take once its clock is started."""

    max_memory_bytes: int
    """How much more memory than at its start a process may ask for; kept on Linux only."""

    def start(self) -> None:
        """Make ready, in the process."""
        ...

    def run(
        self,
        items: Sequence[_ItemT_contra],
        *,
        shared: Any,
        failed: Mapping[int, str],
        watch: Watch,
        slot: Bytes,
    ) -> tuple[_ResultT_co, int]:
        """Do one task and return its result and how many bytes of the slot are used.

        Args:
            items: Those of the task.
            shared: What the task says that all of them need.
            failed: Items that may not be touched again, with what became of the process that did.
            watch: To be told before each item.
            slot: uint8 array (slot_bytes,) to fill.
        """
        ...
