"""Work for processes in which some items crash, hang, or ask for all the memory there is."""

import multiprocessing
import os
import resource
import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from stages.images.workers import allow_seconds, leave_if_short_of_memory
from stages.shared.errors import InputError


class TroubledWork:
    """Returns its items; negative ones are trouble."""

    max_seconds = 0.5
    max_memory_bytes = 2**28
    advice = "lower the number of workers"

    LARGE_HANG = -13
    CRASH, HANG, EXIT, HUNGRY, BUG, SLEEP, SPIN, REFUSE, KILLED = -1, -2, -3, -4, -5, -6, -7, -8, -9
    WAIT, KILLED_SENDING, UNPICKLABLE, KEEPER, DAMAGED = -10, -11, -12, -14, -15

    def start(self) -> None:
        pass

    def run(self, items: Iterator[int]) -> Any:
        fates: list[int | str] = []
        for item in items:
            if item == self.UNPICKLABLE:
                return Unpicklable()
            fates.append("damaged" if item == self.DAMAGED else item)
            self.do(item)
        return fates

    def do(self, item: int) -> None:
        if item == self.REFUSE:
            raise InputError("photos.zip: was changed")
        if item == self.BUG:
            raise KeyError("a bug")
        if item == self.CRASH:
            os.kill(os.getpid(), signal.SIGSEGV)
        elif item == self.EXIT:
            os._exit(3)
        elif item == self.KILLED:
            os.kill(os.getpid(), signal.SIGKILL)
        elif item == self.KILLED_SENDING:
            _send_part_of_a_result()
            os.kill(os.getpid(), signal.SIGKILL)
        elif item == self.SLEEP:
            time.sleep(60)
        elif item == self.WAIT:
            time.sleep(2 * self.max_seconds)
        elif item == self.LARGE_HANG:
            allow_seconds(1.0)
        elif item == self.HUNGRY:
            np.ones(2**29, dtype=np.uint8)
        elif item == self.KEEPER:
            _KEPT.append(np.empty(2**28, dtype=np.uint8))
        elif item == self.DAMAGED:
            leave_if_short_of_memory()
        while item in (self.HANG, self.SPIN, self.LARGE_HANG):
            pass

    def leave_out(self, item: int, reason: str) -> Any:
        return [reason]

    def name_of(self, item: int) -> str:
        return f"item {item}"


_KEPT: list[Any] = []


class StrayWork(TroubledWork):
    """Ends its process at an item, but only the first time, as a stray signal does."""

    def __init__(self, folder: Path, number: int) -> None:
        self._folder = folder
        self._number = number

    def do(self, item: int) -> None:
        marker = self._folder / "tried"
        if item != self.CRASH:
            return
        if marker.exists():
            marker.write_text(str(psutil.Process().parent().children()))
        else:
            marker.touch()
            os.kill(os.getpid(), self._number)
            time.sleep(60)


class ShortWork(TroubledWork):
    """Runs where the system gives a process less memory than an item may need."""

    def start(self) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**27,) * 2)


class StillbornWork(TroubledWork):
    """Ends its process before the first item."""

    def start(self) -> None:
        os._exit(9)


class NotingWork(TroubledWork):
    """Writes the number of its process into a folder, and then takes its time."""

    max_seconds = 60.0

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def start(self) -> None:
        (self._folder / str(os.getpid())).touch()

    def run(self, items: Iterator[int]) -> Any:
        time.sleep(0.05)
        return super().run(items)


class Unpicklable:
    """A result that arrives, and then cannot be made an object again."""

    MESSAGE = "cannot be unpickled"

    def __reduce__(self) -> tuple[Any, ...]:
        return _raise, (self.MESSAGE,)


def _raise(message: str) -> None:
    raise RuntimeError(message)


def _send_part_of_a_result() -> None:
    """Send the first bytes of a message of 1000, as a process does that is killed while it sends."""
    process: Any = multiprocessing.current_process()
    _, results, *_ = process._args  # of concurrent.futures.process._process_worker
    os.write(results._writer.fileno(), struct.pack("!i", 1000) + b"only this")
