"""Work spread over processes, so that a file that crashes or hangs its reader takes down one of them."""

import multiprocessing
import signal
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext, SpawnContext
from typing import Any, Generic

import numpy as np

from stages.images.messages import send_large
from stages.images.serving import TASKS_AHEAD, serve
from stages.images.work import Bytes, ItemT, NotYet, ResultT, Task, Watch, Work
from stages.shared.errors import InputError

_MAX_STARTS = 3
"""How often a task that ends its process without touching an item is tried."""


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
                if num_sent - num_yielded >= 2 * TASKS_AHEAD * workers:
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
        memory = self._context.RawArray("B", TASKS_AHEAD * self._work.slot_bytes)
        self._slots = np.frombuffer(memory, dtype=np.uint8).reshape(TASKS_AHEAD, -1)
        notes = self._context.RawArray("d", 2)
        self._watch = Watch(notes)
        self._watch.rest()
        self._next_slot = 0
        self._shared: Any = None
        self.connection, theirs = self._context.Pipe()
        self._process = self._context.Process(
            target=serve, args=(theirs, self._work, memory, notes), daemon=True
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
            self.connection.send((self._next_slot, items, given.failed, is_other))
            if is_other:
                send_large(self.connection, shared)
        self._shared = shared
        self._next_slot = (self._next_slot + 1) % TASKS_AHEAD

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
        if code == -signal.SIGKILL:
            # No decoder does that to itself: a system does that is short of memory, or a person.
            raise InputError(
                "a process that reads images was killed by the system or a person (SIGKILL); "
                "run it again, with fewer workers if memory is short"
            )
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
    for num_tasks in range(TASKS_AHEAD):
        for process in crew:
            if len(process.tasks) == num_tasks:
                yield process
