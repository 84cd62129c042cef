"""Alternating measurements: what runs beside each other in time is compared fairly on a noisy machine."""

import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import NamedTuple, TypeVar

Result = TypeVar("Result")


class Seconds(NamedTuple):
    """What a call took."""

    clock: float
    processor: float
    """Of all threads, and of child processes that ended. What else runs on the machine lengthens it far less
    than the clock's.
    """


class Stopwatch:
    """Measures from when it is made."""

    def __init__(self) -> None:
        self._start = _read_clocks()

    def read(self) -> Seconds:
        """Return what was taken until now."""
        now = _read_clocks()
        return Seconds(now.clock - self._start.clock, now.processor - self._start.processor)


def _read_clocks() -> Seconds:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return Seconds(time.perf_counter(), sum(each.ru_utime + each.ru_stime for each in used))


@contextmanager
def in_own_process(build: Callable[[], Callable[[], Result]]) -> Iterator[Callable[[], Result]]:
    """Yield a call that runs what `build` returns, which lives in a process of its own.

    There it has the memory and the settings that it would have if it were alone.

    Args:
        build: Called in the process, once; a function of a module, or a partial of one.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(build, theirs))
    process.start()
    theirs.close()

    def call() -> Result:
        ours.send(True)
        result: Result = ours.recv()
        return result

    try:
        yield call
    finally:
        ours.close()
        process.join()


def _serve(build: Callable[[], Callable[[], object]], orders: Connection) -> None:
    # This process was spawned, as its own would be: DataLoader workers would import torch each epoch.
    multiprocessing.set_start_method(None, force=True)
    run = build()
    while True:
        try:
            orders.recv()
        except EOFError:
            return
        orders.send(run())


def measure_alternately(
    contestants: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Return the seconds of every call, the contestants taking turns, after one unmeasured call each.

    On one thread the clock may be time.thread_time, which other programs lengthen far less.
    """
    for call in contestants.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, call in contestants.items():
            start = clock()
            call()
            seconds[name].append(clock() - start)
    return seconds


def print_table(seconds: Mapping[str, list[float]], *, base: str) -> None:
    """Print median, spread and the ratio to one contestant, taken round by round."""
    width = max(map(len, seconds))
    print(f"{'':{width}}  {'median':>9}  {'min .. max':>17}  ratio to {base} (min .. max)")
    for name, values in seconds.items():
        ratios = [value / other for value, other in zip(values, seconds[base], strict=True)]
        print(
            f"{name:{width}}  {statistics.median(values):7.3f} s  {min(values):6.3f} .. {max(values):6.3f} s"
            f"  {statistics.median(ratios):.2f} ({min(ratios):.2f} .. {max(ratios):.2f})"
        )
