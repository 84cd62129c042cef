"""Work on chunks of items in several processes, whatever the items do to them.

A decoder may crash, hang or ask for all the memory there is. Each process notes in shared memory which item
it is at, and limits its own CPU time and memory, so that whichever way it ends, the parent knows by which
item. Then the pool is started again, and the chunks that were lost are done again without that item.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import connection, forkserver
from multiprocessing.context import ForkServerContext, SpawnContext
from typing import Any, Generic, Protocol, TypeVar, overload

import numpy as np
import numpy.typing as npt

from stages.shared.errors import InputError
from stages.shared.stopping import follow_parent

_CHUNKS_PER_WORKER = 4
"""Chunks in flight: enough that no process waits while the caller is busy or one chunk is slow."""

_MAX_STARTS = 3
"""How often the pool is started again for processes that end without being at an item."""

_POLL_SECONDS = 0.05
_CHECK_SECONDS = 1.0

_NOTHING, _NO_ITEM = 0, -1

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
_ItemT_contra = TypeVar("_ItemT_contra", contravariant=True)
_ResultT_co = TypeVar("_ResultT_co", covariant=True)


class Work(Protocol[_ItemT_contra, _ResultT_co]):
    """What the processes do. It is pickled for each of them once."""

    @property
    def max_seconds(self) -> float:
        """Return how much CPU time one item may take, unless `allow_seconds` gives it more."""
        ...

    @property
    def max_memory_bytes(self) -> int:
        """Return how much more memory than after its start a process may ask for; kept on Linux only."""
        ...

    def start(self) -> None:
        """Get ready, once in each process."""
        ...

    def run(self, items: Sequence[_ItemT_contra], failed: Mapping[int, str]) -> _ResultT_co:
        """Return the result of one chunk.

        Args:
            items: Those of the chunk. Taking one starts its clock, so take each when its turn comes.
            failed: Numbers of items that must not be touched, each with what became of a process that did.

        Raises:
            InputError: Nothing more can be done; `run_chunks` raises it, too.
        """
        ...


def run_chunks(
    work: Work[ItemT, ResultT], chunks: Iterable[Sequence[ItemT] | None], *, workers: int
) -> Generator[ResultT, None, None]:
    """Run chunks of items in several processes; yield a result for each, in their order.

    The processes are at work when this returns, and go on while the caller is busy with a result. They are a
    bounded number of chunks ahead of it. Closing the generator ends them.

    Args:
        work: What to do.
        chunks: Asked for as there are processes for them. None stands for "no chunk at the moment".
        workers: How many processes.

    Raises:
        InputError: The work raised it; or processes end before they begin, or are killed.
    """
    results = _run_chunks(work, iter(chunks), workers)
    next(results)
    return results


def start_early(module: str) -> None:
    """Begin to load what processes will import, while the parent does something else."""
    if _choose_context(module).get_start_method() == "forkserver":
        forkserver.ensure_running()


def _run_chunks(
    work: Work[ItemT, ResultT], chunks: Iterator[Sequence[ItemT] | None], workers: int
) -> Generator[Any, None, None]:
    """Yield nothing once the processes are at work, and then the results."""
    pool = _Pool(work, workers)
    in_flight: deque[_Chunk[ItemT]] = deque()
    has_started = is_exhausted = False
    try:
        while True:
            is_pausing = False
            while not (is_exhausted or is_pausing) and len(in_flight) < _CHUNKS_PER_WORKER * workers:
                try:
                    items = next(chunks)
                except StopIteration:
                    is_exhausted = True
                    break
                if items is None:
                    is_pausing = True
                else:
                    chunk = _Chunk(items)
                    in_flight.append(chunk)
                    pool.submit(chunk)
            if not has_started:
                has_started = True
                yield None
            if not in_flight:
                if is_exhausted:
                    return
                time.sleep(_POLL_SECONDS)
                continue
            first = in_flight[0].future
            if not wait([first], timeout=_POLL_SECONDS if is_pausing else _CHECK_SECONDS).done:
                if pool.has_lost_process():
                    pool.restart(in_flight)
            elif isinstance(error := first.exception(), BrokenProcessPool):
                if error.__cause__ is not None:  # a result cannot be unpickled: a bug of ours
                    raise error
                pool.restart(in_flight)
            else:
                in_flight.popleft()
                yield first.result()
    finally:
        pool.end()


@dataclass
class _Chunk(Generic[ItemT]):
    """A chunk that processes have, or had when they ended."""

    items: Sequence[ItemT]
    failed: dict[int, str] = field(default_factory=dict)
    slot: int = -1
    """Where the process that has it makes its notes."""

    future: "Future[Any]" = field(default_factory=Future)


class _Pool(Generic[ItemT, ResultT]):
    """A process pool that can be started again."""

    def __init__(self, work: Work[ItemT, ResultT], workers: int) -> None:
        self._work = work
        self._workers = workers
        self._context = _choose_context(type(work).__module__)
        self._num_submitted = 0
        self._num_starts = 0
        self._start()

    def _start(self) -> None:
        self._num_starts += 1
        notes = self._context.RawArray("q", 3 * _CHUNKS_PER_WORKER * self._workers)
        self._notes = _view(notes)
        self._executor = ProcessPoolExecutor(
            self._workers, self._context, initializer=_start_process, initargs=(self._work, notes)
        )
        # Private, but the only way to exit codes, to processes that hang (`kill_workers` from 3.14 on), and
        # to an executor that waits for a result of which it got a part.
        self._processes: Mapping[int, Any] = self._executor._processes
        self._results: Any = self._executor._result_queue

    def submit(self, chunk: _Chunk[ItemT]) -> None:
        """Hand a chunk to the processes."""
        # Chunks in flight are numbered without a gap, so no two of them share a slot.
        chunk.slot = self._num_submitted % len(self._notes)
        self._num_submitted += 1
        try:
            chunk.future = self._executor.submit(_run_in_process, chunk.slot, chunk.items, chunk.failed)
        except BrokenProcessPool as error:  # as that of the chunk that broke it, it is seen in its turn
            chunk.future = Future()
            chunk.future.set_exception(error)

    def has_lost_process(self) -> bool:
        """Return whether a process has ended.

        The executor sees that by itself, unless the process was killed while it sent a result: then the
        executor waits for the rest of it.
        """
        return bool(self._find_dead())

    def restart(self, in_flight: Iterable[_Chunk[ItemT]]) -> None:
        """Note which items ended their processes, and do again, without them, the chunks that were lost.

        Raises:
            InputError: The system killed a process, or processes end without being at an item.
        """
        lost = [chunk for chunk in in_flight if not chunk.future.done() or chunk.future.exception()]
        for pid, code in self._bury().items():
            if code == -signal.SIGKILL:
                # No decoder does that to itself: a system does that is short of memory, or a user.
                raise InputError(
                    "a process that reads images was killed by the system or a user (SIGKILL); "
                    "run it again, with fewer workers if memory is short"
                )
            for chunk in lost:
                noted_pid, item, max_ms = self._notes[chunk.slot].tolist()
                if noted_pid == pid and item != _NO_ITEM:
                    chunk.failed[item] = _explain(code, max_ms)
                    self._num_starts = 0
            if self._num_starts >= _MAX_STARTS:
                raise InputError(
                    f"a process that reads images ended before it read one (status {code}); "
                    "run it again, with fewer workers if memory is short"
                )
        self._start()
        for chunk in lost:
            self.submit(chunk)

    def _bury(self) -> dict[int, int]:
        """End all processes; return the exit codes of those that ended by themselves, by process."""
        dead = self._find_dead()
        self.end()
        # The executor itself terminates the others, which then exit with 0.
        return {
            pid: process.exitcode
            for pid, process in self._processes.items()
            if process.sentinel in dead and process.exitcode not in (0, -signal.SIGTERM)
        }

    def _find_dead(self) -> list[Any]:
        return connection.wait([process.sentinel for process in self._processes.values()], timeout=0)

    def end(self) -> None:
        """End the processes at once."""
        for process in list(self._processes.values()):
            process.kill()
        # Nobody else holds it open any more: the executor's thread stops waiting for the rest of a result.
        self._results._writer.close()
        self._executor.shutdown(wait=True, cancel_futures=True)


def _explain(code: int, max_ms: int) -> str:
    if code == -signal.SIGPROF:
        return f"takes more than {max_ms / 1000:g} s to decode"
    if code >= 0:
        return f"ends the process that decodes it (status {code})"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    return f"crashes the decoder ({name})"


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


# What follows runs in the processes.


class _Process:
    """What this process works on; a pool's initializer has nowhere else to put it."""

    work: Work[Any, Any]
    notes: npt.NDArray[np.int64]
    note: npt.NDArray[np.int64] | None = None
    """That of the chunk at hand."""


def _start_process(work: Work[Any, Any], notes: Any) -> None:
    follow_parent()
    _Process.work, _Process.notes = work, _view(notes)
    work.start()
    _limit_memory(work.max_memory_bytes)


def _run_in_process(slot: int, items: Sequence[Any], failed: Mapping[int, str]) -> Any:
    note = _Process.note = _Process.notes[slot]
    note[:] = os.getpid(), _NO_ITEM, 0
    result = _Process.work.run(_WatchedItems(items, note, _Process.work.max_seconds), failed)
    signal.setitimer(signal.ITIMER_PROF, 0)
    note[:] = _NOTHING, _NO_ITEM, 0
    return result


def allow_seconds(seconds: float) -> None:
    """Let the item at hand take so much CPU time from now on; nothing happens outside such a process."""
    if _Process.note is not None:
        _Process.note[2] = round(1000 * seconds)
        # Nothing handles the signal, so it also ends native code that never returns. CPU time, so that
        # neither a slow disk nor a busy machine decides which images there are.
        signal.setitimer(signal.ITIMER_PROF, seconds)


class _WatchedItems(Sequence[ItemT]):
    """Items of which each, when it is taken, is noted and gets a time limit."""

    def __init__(self, items: Sequence[ItemT], note: npt.NDArray[np.int64], max_seconds: float) -> None:
        self._items = items
        self._note = note
        self._max_seconds = max_seconds

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, number: int) -> ItemT: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[ItemT]: ...
    def __getitem__(self, number: int | slice) -> ItemT | Sequence[ItemT]:
        if isinstance(number, int):
            item = self._items[number]
            self._note[1] = number
            allow_seconds(self._max_seconds)
            return item
        return self._items[number]


def _view(notes: Any) -> npt.NDArray[np.int64]:
    """Return shared memory as an array (num_slots, 3) of process, item and the item's limit in ms."""
    return np.frombuffer(notes, dtype=np.int64).reshape(-1, 3)


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
