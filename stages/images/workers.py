"""Work spread over processes, so that a file that crashes or hangs its reader takes down one of them."""

import multiprocessing
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from stages.shared.errors import InputError
from stages.shared.stopping import follow_parent

_TASKS_AHEAD = 2
"""What each process has at hand: the task it works on, and the next."""

_MAX_STARTS = 3
"""How often a task that ends its process without touching an item is tried."""

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


def spread(
    work: Work[ItemT, ResultT], tasks: Iterable[Task[ItemT] | NotYet], *, workers: int
) -> Generator[list[tuple[ResultT, Bytes]], None, None]:
    """Run tasks in several processes; yield results and bytes in the order of the tasks, all that are there.

    The first list is empty: by then the processes are at work, and whoever asks for the results may do
    something else first. They are a bounded number of tasks ahead of what was yielded, and go on while
    whoever asks is busy with it.

    Args:
        work: What to do.
        tasks: Its tasks, asked for when there is a process for them.
        workers: How many processes.

    Raises:
        InputError: The work raised it; or processes end before they begin.
    """
    context = _choose_context(type(work).__module__)
    crew: list[_Process[ItemT, ResultT]] = []
    waiting = iter(tasks)
    done: dict[int, tuple[ResultT, Bytes]] = {}
    num_sent = num_yielded = 0
    try:
        crew.extend(_Process(context, work) for _ in range(workers))
        is_first = True
        while True:
            num_done = len(done)
            for process in crew:
                done.update(process.collect())
            has_news = len(done) > num_done
            not_yet: list[int] = []
            for process in _least_busy(crew):
                if num_sent - num_yielded >= 2 * _TASKS_AHEAD * workers:
                    break
                task = next(waiting, None)
                if isinstance(task, NotYet):
                    not_yet.append(task.descriptor)
                if not isinstance(task, Task):
                    break
                process.give(_Given(num_sent, task))
                num_sent += 1
            ready = list(_take_next(done, num_yielded))
            num_yielded += len(ready)
            if ready or is_first:
                is_first = False
                yield ready
            elif num_yielded == num_sent and not not_yet:
                return
            elif not has_news:
                busy = [process.connection for process in crew if process.tasks]
                wait([*busy, *not_yet], timeout=min(0.2, work.max_seconds / 4))
    finally:
        for process in crew:
            process.end()


def _take_next(done: dict[int, ResultT], number: int) -> Iterator[ResultT]:
    """Take out what is done from a number on, up to the first gap."""
    while number in done:
        yield done.pop(number)
        number += 1


def start_early(module: str) -> None:
    """Begin to load what processes will import, while the parent does something else."""
    if _choose_context(module).get_start_method() == "forkserver":
        forkserver.ensure_running()


def _choose_context(module: str) -> ForkServerContext | SpawnContext:
    """Return the way to start processes: a clean one, whatever threads and libraries the parent has.

    Args:
        module: What the processes import. Loaded once, before the first of them, it costs the others nothing.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    return context


@dataclass
class _Given(Generic[ItemT]):
    """A task that a process has."""

    number: int
    task: Task[ItemT]
    failed: dict[int, str] = field(default_factory=dict)
    num_starts: int = 0


class _Process(Generic[ItemT, ResultT]):
    """One process, started anew whenever it crashes or hangs."""

    def __init__(self, context: ForkServerContext | SpawnContext, work: Work[ItemT, ResultT]) -> None:
        self._context = context
        self._work = work
        self.tasks: deque[_Given[ItemT]] = deque()
        self._start()

    def _start(self) -> None:
        memory = self._context.RawArray("B", _TASKS_AHEAD * self._work.slot_bytes)
        self._slots = np.frombuffer(memory, dtype=np.uint8).reshape(_TASKS_AHEAD, -1)
        notes = self._context.RawArray("d", 2)
        self._watch = Watch(notes)
        self._watch.rest()
        self._next_slot = 0
        self._shared: Any = None
        self.connection, theirs = self._context.Pipe()
        self._process = self._context.Process(
            target=_serve, args=(theirs, self._work, memory, notes), daemon=True
        )
        self._process.start()
        theirs.close()

    def give(self, given: _Given[ItemT]) -> None:
        """Add a task."""
        self.tasks.append(given)
        self._send(given)

    def _send(self, given: _Given[ItemT]) -> None:
        given.num_starts += 1
        items, shared = given.task
        is_other = shared is not self._shared
        with suppress(OSError):  # it may just have died; that is seen when its results are asked for
            self.connection.send(
                (self._next_slot, items, given.failed, is_other, shared if is_other else None)
            )
        self._shared = shared
        self._next_slot = (self._next_slot + 1) % _TASKS_AHEAD

    def collect(self) -> Iterator[tuple[int, tuple[ResultT, Bytes]]]:
        """Yield the results that are there, by the numbers of their tasks; start it anew if it is gone."""
        while self.tasks and self.connection.poll():
            try:
                answer = self.connection.recv()
            except (EOFError, OSError):
                self._start_again(self._tell_crash())
                return
            if isinstance(answer, InputError):
                raise answer
            if isinstance(answer, str):
                raise RuntimeError(f"in a process that works on images:\n{answer}")
            slot, result, num_bytes = answer
            # A copy, for the slot is filled again by the next task.
            yield self.tasks.popleft().number, (result, self._slots[slot, :num_bytes].copy())
        if self.tasks and self._watch.has_exceeded(self._work.max_seconds):
            self._start_again(f"takes more than {self._work.max_seconds:g} s to decode")

    def _tell_crash(self) -> str:
        self._process.join(5)
        code = self._process.exitcode
        if code is None or code >= 0:
            return f"ends the process that decodes it (status {code})"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        return f"crashes the decoder ({name})"

    def _start_again(self, reason: str) -> None:
        item, given = self._watch.item, self.tasks[0]
        self.end()
        if item >= 0:
            given.failed[item] = reason
            given.num_starts = 0
        elif given.num_starts >= _MAX_STARTS:
            raise InputError(
                "a process that reads images ended before it read one "
                f"(status {self._process.exitcode}); run it again, with fewer workers if memory is short"
            )
        self._start()
        for waiting in self.tasks:
            self._send(waiting)

    def end(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.join()
        self.connection.close()


def _least_busy(crew: Sequence[_Process[ItemT, ResultT]]) -> Iterator[_Process[ItemT, ResultT]]:
    """Yield a process for each task that can be given, evenly."""
    for num_tasks in range(_TASKS_AHEAD):
        for process in crew:
            if len(process.tasks) == num_tasks:
                yield process


def _serve(connection: Connection, work: Work[Any, Any], memory: Any, notes: Any) -> None:
    """Be one of the processes: run tasks until the parent is gone."""
    follow_parent()
    slots = np.frombuffer(memory, dtype=np.uint8).reshape(_TASKS_AHEAD, -1)
    watch = Watch(notes)
    work.start()
    _limit_memory(work.max_memory_bytes)
    shared: Any = None
    with suppress(EOFError, OSError):  # the parent has gone, or has had enough
        while True:
            slot, items, failed, is_other, other = connection.recv()
            if is_other:
                shared = other
                _limit_memory(work.max_memory_bytes)  # an archive's table is not the items' fault
            answer: Any
            try:
                answer = slot, *work.run(items, shared=shared, failed=failed, watch=watch, slot=slots[slot])
            except InputError as error:
                answer = error
            except Exception:  # a bug of ours: the parent is to fail by it
                answer = traceback.format_exc()
            watch.rest()
            connection.send(answer)


def _limit_memory(num_bytes: int) -> None:
    """Have every request for more memory than that fail, instead of the whole machine running out of it."""
    if sys.platform != "linux":
        return
    import resource
    from pathlib import Path

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + num_bytes
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard < 0 else min(limit, hard), hard))
