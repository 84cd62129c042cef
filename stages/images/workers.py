"""Work on chunks of items in several processes, whatever the items do to them.

A decoder may crash, hang or ask for all the memory there is. Each process notes in shared memory which item
it is at, and limits its own CPU time and memory, so that whichever way it ends, the parent knows by which
item. Whose fault it is shows a second try, alone: the item in a process of its own, with no other beside it.
What ends that one too is left out with a reason. What was killed again, or has less memory there than any
item may need, is no fault of the item: the run stops.
"""

import mmap
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import connection, forkserver
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from stages.shared.errors import InputError, printable
from stages.shared.process import use_short_socket_paths
from stages.shared.stopping import follow_parent

_CHUNKS_PER_WORKER = 4
"""Chunks in flight: enough that no process waits while the caller is busy or one chunk is slow."""

_MAX_LOSSES = 3
"""How often running processes may end that were at no chunk."""

_KEPT_BYTES = 2**27
"""Memory that a process may have kept from earlier items, beyond what the next one may need."""

_POLL_SECONDS = 0.05
_CHECK_SECONDS = 1.0

_NOTHING, _NO_ITEM = 0, -1

_OUT_OF_MEMORY = 87
"""Exit status of a process that got no memory; other programs do not use it."""

_UNKNOWN_STATUS = 255
"""What multiprocessing makes of a process whose fork server was killed, and the process with it."""

_CRASHES = frozenset(
    (
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGILL,
        signal.SIGFPE,
        signal.SIGABRT,
        signal.SIGTRAP,
        signal.SIGSYS,
    )
)
"""Signals that a decoder brings upon itself; all others come from outside."""

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
        """Return how much memory one item may need; enforced on Linux only."""
        ...

    @property
    def advice(self) -> str:
        """Return which settings to lower where memory is short, as the end of a sentence."""
        ...

    def start(self) -> None:
        """Get ready, once in each process."""
        ...

    def run(self, items: Iterator[_ItemT_contra]) -> _ResultT_co:
        """Return the result of some items.

        Args:
            items: Taking one starts its clock, so take each when its turn comes.

        Raises:
            InputError: Nothing more can be done; `run_chunks` raises it, too.
            MemoryError: There is not enough memory. The item at hand is tried again alone.
        """
        ...

    def leave_out(self, item: _ItemT_contra, reason: str) -> _ResultT_co:
        """Return the result of one item that ended its process twice. Called in the parent."""
        ...

    def name_of(self, item: _ItemT_contra) -> str:
        """Return what messages call an item."""
        ...


def run_chunks(
    work: Work[ItemT, ResultT], chunks: Iterable[Sequence[ItemT] | None], *, workers: int
) -> Generator[ResultT, None, None]:
    """Run chunks of items in several processes; yield their results in their order.

    There is one result for each chunk, but several for the parts of one in which an item was tried alone. The
    processes are at work when this returns, and go on while the caller is busy with a result. They are a
    bounded number of chunks ahead of it. Closing the generator ends them.

    Args:
        work: What to do.
        chunks: Asked for as there are processes for them. None stands for "no chunk at the moment".
        workers: How many processes.

    Raises:
        InputError: The work raised it; or the machine, not an item, keeps the processes from their work.
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
    num_losses = 0
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
            try:
                is_done = pool.wait_for(in_flight[0], seconds=_POLL_SECONDS if is_pausing else _CHECK_SECONDS)
            except _ProcessLost:
                pool.end()
                is_settled = _settle(work, pool, in_flight)
                num_losses = 0 if is_settled else num_losses + 1
                if num_losses == _MAX_LOSSES:
                    raise InputError(
                        f"processes that read images end before they read one ({pool.describe_ends()}); "
                        f"if memory is short, free some, or {work.advice}"
                    ) from None
                pool = _Pool(work, workers)
                for chunk in in_flight:
                    if not chunk.has_result():
                        pool.submit(chunk)
            else:
                if is_done:
                    num_losses = 0
                    yield in_flight.popleft().future.result()
    finally:
        pool.end()


@dataclass
class _Chunk(Generic[ItemT]):
    """A chunk that processes have, or had when they ended."""

    items: Sequence[ItemT]
    slot: int = -1
    """Where the process that has it makes its notes."""

    future: "Future[Any]" = field(default_factory=Future)

    def has_result(self) -> bool:
        return self.future.done() and self.future.exception() is None


class _End(NamedTuple):
    """How a process ended that had a chunk."""

    code: int
    """Its exit status, or minus the signal that ended it."""

    item: int
    """At which item of the chunk; _NO_ITEM for none of them."""

    max_ms: int
    """CPU time that the item was allowed."""

    had_memory: bool
    """Whether the process could have had all the memory that an item may need when it started."""

    def is_by_others(self) -> bool:
        """Return whether someone else ended the process: a system short of memory, or a user."""
        is_own_signal = -self.code in _CRASHES or self.code == -signal.SIGPROF
        return self.code == _UNKNOWN_STATUS or (self.code < 0 and not is_own_signal)


class _ProcessLost(Exception):
    """A process ended that should not have."""


class _Pool(Generic[ItemT, ResultT]):
    """Processes, until one of them is lost or all are ended."""

    def __init__(self, work: Work[ItemT, ResultT], workers: int, *, is_alone: bool = False) -> None:
        """Take the work; the processes start with the first chunk.

        Args:
            work: What to do.
            workers: How many processes.
            is_alone: Whether there is one process with one item, and nothing beside it.
        """
        context = _choose_context(type(work).__module__)
        self._num_submitted = 0
        self._workers = workers
        self._is_broken = False
        # Of processes that ended by themselves, once the pool has ended.
        self._exit_codes: dict[int, int] = {}
        with _explain_failed_start():
            notes = context.RawArray("q", len(_End._fields) * _CHUNKS_PER_WORKER * workers)
            self._notes = _view(notes)
            self._executor = ProcessPoolExecutor(
                workers, context, initializer=_start_process, initargs=(work, notes, is_alone)
            )
        # Private, but the only way to exit codes, to processes that hang (`kill_workers` from 3.14 on), and
        # to an executor that waits for a result of which it got a part.
        self._processes: Mapping[int, Any] = self._executor._processes
        self._results: Any = self._executor._result_queue

    def submit(self, chunk: _Chunk[ItemT]) -> None:
        """Hand a chunk to the processes.

        Raises:
            InputError: The system does not let them start.
        """
        # Chunks in flight are numbered without a gap, so no two of them share a slot.
        chunk.slot = self._num_submitted % len(self._notes)
        self._num_submitted += 1
        try:
            with _explain_failed_start():
                chunk.future = self._executor.submit(_run_in_process, chunk.slot, chunk.items)
        except BrokenProcessPool as error:  # as that of the chunk that broke it, it is seen in its turn
            chunk.future = Future()
            chunk.future.set_exception(error)

    def wait_for(self, chunk: _Chunk[ItemT], *, seconds: float) -> bool:
        """Return whether a chunk's result is there, after so many seconds at most.

        Raises:
            _ProcessLost: A process has ended.
            Exception: Whatever the work raised.
        """
        if not wait([chunk.future], timeout=seconds).done:
            # The executor sees that by itself, unless the process was killed while it sent a result: then the
            # executor waits for the rest of it.
            if self._find_dead():
                raise _ProcessLost
            return False
        error = chunk.future.exception()
        if isinstance(error, BrokenProcessPool) and error.__cause__ is None:
            self._is_broken = True
            raise _ProcessLost
        if error is not None:  # with a cause, the result cannot be unpickled: a bug of ours
            raise error
        return True

    def end(self) -> None:
        """End the processes at once, and find out which of them had ended by themselves."""
        # The executor's thread may have read a status before the fork server closes what it sent it through.
        dead = self._find_dead(seconds=_CHECK_SECONDS if self._is_broken else 0)
        for process in list(self._processes.values()):
            process.kill()
        # Nobody else holds it open any more: the executor's thread stops waiting for the rest of a result.
        self._results._writer.close()
        self._executor.shutdown(wait=True, cancel_futures=True)
        # When one is lost, the executor itself terminates the others, which then exit with 0.
        by_executor = (0, -signal.SIGTERM) if self._workers > 1 else ()
        for pid, process in self._processes.items():
            if process.sentinel in dead and process.exitcode not in by_executor:
                self._exit_codes[pid] = process.exitcode

    def find_end(self, chunk: _Chunk[ItemT]) -> _End | None:
        """Return how the process ended that had a chunk; None if no process began it, or it did not end."""
        pid, *note = self._notes[chunk.slot].tolist()
        return _End(self._exit_codes[pid], *note) if pid in self._exit_codes else None

    def describe_ends(self) -> str:
        """Return how the processes ended that did so by themselves."""
        return ", ".join(sorted({_name_code(code) for code in self._exit_codes.values()})) or "unknown"

    def _find_dead(self, *, seconds: float = 0) -> list[Any]:
        """Return the sentinels of ended processes; wait so long for the first."""
        return connection.wait([process.sentinel for process in self._processes.values()], timeout=seconds)


def _settle(
    work: Work[ItemT, ResultT], pool: _Pool[ItemT, ResultT], in_flight: "deque[_Chunk[ItemT]]"
) -> bool:
    """Do again alone, once a pool has ended, the chunks at which its processes did; return whether any.

    A chunk is replaced by its parts, which have their results.

    Raises:
        InputError: It is not the item's fault.
    """
    is_settled = False
    for chunk in list(in_flight):
        in_flight.popleft()
        end = None if chunk.has_result() else pool.find_end(chunk)
        if end is None:
            in_flight.append(chunk)
            continue
        is_settled = True
        for result in _do_alone(work, chunk.items, suspect=end.item):
            part: _Chunk[ItemT] = _Chunk(())
            part.future.set_result(result)
            in_flight.append(part)
    return is_settled


def _do_alone(work: Work[ItemT, ResultT], items: Sequence[ItemT], *, suspect: int) -> Iterator[ResultT]:
    """Yield the results of a chunk's parts in order, done one by one with nothing beside them.

    Args:
        work: What to do.
        items: The chunk.
        suspect: The item at which its process ended, which is tried in a process of its own, or _NO_ITEM.

    Raises:
        InputError: It is not the item's fault that its process ended again.
    """
    parts = _split(items, suspect)
    while parts:
        part = parts.popleft()
        outcome = _try_alone(work, part)
        if not isinstance(outcome, _End):
            yield outcome
        elif len(part) > 1:
            parts.extendleft(reversed(_split(part, outcome.item)))
        else:
            yield work.leave_out(part[0], _explain(outcome, work, part[0]))


def _split(items: Sequence[ItemT], suspect: int) -> "deque[Sequence[ItemT]]":
    """Return what comes before a suspect, the suspect by itself, and what comes after it."""
    if suspect == _NO_ITEM:
        return deque([items])
    parts = (items[:suspect], items[suspect : suspect + 1], items[suspect + 1 :])
    return deque(part for part in parts if part)


def _try_alone(work: Work[ItemT, ResultT], items: Sequence[ItemT]) -> ResultT | _End:
    """Return the result of items in a process with nothing beside it, or how it ended at one of them.

    Raises:
        InputError: The process was ended by others twice, or at no item.
    """
    place = ends = ""
    for _ in range(2):
        pool = _Pool(work, 1, is_alone=len(items) == 1)
        chunk = _Chunk(items)
        try:
            pool.submit(chunk)
            while not pool.wait_for(chunk, seconds=_CHECK_SECONDS):
                pass
            result: ResultT = chunk.future.result()
            return result
        except _ProcessLost:
            pass
        finally:
            pool.end()
        end = pool.find_end(chunk)
        has_item = end is not None and end.item != _NO_ITEM
        if end is not None and has_item and not end.is_by_others():
            return end
        place = f" at {work.name_of(items[end.item])}" if end is not None and has_item else ""
        ends = pool.describe_ends()
    raise InputError(
        f"a process that reads images was ended from outside ({ends}){place}, also with none beside it; "
        f"if memory is short, free some, or {work.advice}"
    )


def _explain(end: _End, work: Work[ItemT, ResultT], item: ItemT) -> str:
    """Return why an item is left out at which a process ended that had nothing else to do.

    Raises:
        InputError: It may have failed for lack of memory that any item may need.
    """
    if end.code == -signal.SIGPROF:
        return f"takes more than {end.max_ms / 1000:g} s to decode"
    if not end.had_memory:
        raise InputError(
            f"{work.name_of(item)}: found too little memory to decode it or to tell whether it is damaged; "
            f"a process needs {work.max_memory_bytes / 1e6:,.0f} MB more than it starts with; free memory "
            f"or raise its limit (ulimit -v), or {work.advice}"
        )
    if end.code == _OUT_OF_MEMORY:
        return f"takes more than {work.max_memory_bytes / 1e6:,.0f} MB of memory to decode"
    if end.code >= 0:
        return f"ends the process that decodes it ({_name_code(end.code)})"
    return f"crashes the decoder ({_name_code(end.code)})"


def _name_code(code: int) -> str:
    if code >= 0:
        return f"status {code}"
    return signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"


@contextmanager
def _explain_failed_start() -> Iterator[None]:
    """Turn the system's refusal to start processes into one line.

    Raises:
        InputError: It refused.
    """
    try:
        yield
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        room = f"/dev/shm and {tempfile.gettempdir()}"
        raise InputError(
            f"processes that read images cannot be started: {printable(reason)}; they need memory, some "
            f"files in {room}, and free process numbers (df, ulimit -a)"
        ) from None


def _choose_context(module: str) -> ForkServerContext | SpawnContext:
    """Return the way to start processes: a clean one, whatever threads and libraries the parent has.

    Args:
        module: What the processes import. Loaded once, before the first of them, it costs the others nothing.
    """
    use_short_socket_paths()
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    return context


# What follows runs in the processes.


class _Process:
    """What this process works on; a pool's initializer has nowhere else to put it."""

    work: Work[Any, Any]
    is_alone: bool
    had_memory: bool
    notes: npt.NDArray[np.int64]
    note: npt.NDArray[np.int64] | None = None
    """That of the chunk at hand: process, and what an _End says of it."""


def _start_process(work: Work[Any, Any], notes: Any, is_alone: bool) -> None:
    follow_parent()
    work.start()
    _limit_memory(work.max_memory_bytes + _KEPT_BYTES)
    _Process.work, _Process.notes, _Process.is_alone = work, _view(notes), is_alone
    _Process.had_memory = _can_have(work.max_memory_bytes)


def _run_in_process(slot: int, items: Sequence[Any]) -> Any:
    note = _Process.note = _Process.notes[slot]
    note[:] = os.getpid(), _NO_ITEM, 0, _Process.had_memory
    try:
        result = _Process.work.run(_watch(items, note))
    except MemoryError:
        os._exit(_OUT_OF_MEMORY)
    note[0] = _NOTHING
    return result


def _watch(items: Sequence[ItemT], note: npt.NDArray[np.int64]) -> Iterator[ItemT]:
    """Yield items, note which of them is at hand, and give each its time."""
    for number, item in enumerate(items):
        note[1] = number
        allow_seconds(_Process.work.max_seconds)
        yield item
    signal.setitimer(signal.ITIMER_PROF, 0)
    note[1] = _NO_ITEM


def allow_seconds(seconds: float) -> None:
    """Let the item at hand take so much CPU time from now on; nothing happens outside such a process."""
    if _Process.note is not None:
        _Process.note[2] = round(1000 * seconds)
        # Nothing handles the signal, so it also ends native code that never returns. CPU time, so that
        # neither a slow disk, nor a busy machine, nor Ctrl-Z decides which images there are.
        signal.setitimer(signal.ITIMER_PROF, seconds)


def leave_if_short_of_memory() -> None:
    """End this process if the item at hand may have failed for lack of memory; it is tried again alone.

    Many a decoder calls a file damaged when it gets no memory. Call it when an item has failed and what it
    held is free. Nothing happens outside such a process.
    """
    if _Process.note is None:
        return
    # What the only item of a process has left behind is its own.
    has_memory = _Process.had_memory if _Process.is_alone else _can_have(_Process.work.max_memory_bytes)
    if not has_memory:
        os._exit(_OUT_OF_MEMORY)


def _can_have(num_bytes: int) -> bool:
    """Return whether this process may ask for so much memory; none of it is touched."""
    try:
        mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError:
        return False
    return True


def _view(notes: Any) -> npt.NDArray[np.int64]:
    """Return shared memory as an array (num_slots, 4): of each chunk its process, and what an _End says."""
    return np.frombuffer(notes, dtype=np.int64).reshape(-1, len(_End._fields))


def _limit_memory(num_bytes: int) -> None:
    """Have every request for more memory than that fail, instead of the whole machine running out of it.

    A limit from outside that is lower stays.
    """
    if sys.platform != "linux":
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + num_bytes
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if soft < 0 or limit < soft:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
