"""Work for processes in which some items crash, hang, or ask for all the memory there is."""

import multiprocessing
import os
import signal
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.images.workers import allow_seconds
from stages.shared.errors import InputError


class TroubledWork:
    """Returns its items; negative ones are trouble."""

    max_seconds = 0.5
    max_memory_bytes = 2**28

    LARGE_HANG = -13
    CRASH, HANG, EXIT, HUNGRY, BUG, SLEEP, SPIN, REFUSE, KILLED = -1, -2, -3, -4, -5, -6, -7, -8, -9
    WAIT, KILLED_SENDING, UNPICKLABLE = -10, -11, -12

    def start(self) -> None:
        pass

    def run(self, items: Sequence[int], failed: Mapping[int, str]) -> Any:
        fates: list[int | str] = []
        for i, item in enumerate(items):
            if i in failed:
                fates.append(failed[i])
                continue
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
            elif item == self.UNPICKLABLE:
                return Unpicklable()
            elif item == self.SLEEP:
                time.sleep(60)
            elif item == self.WAIT:
                time.sleep(2 * self.max_seconds)
            if item == self.LARGE_HANG:
                allow_seconds(1.0)
            while item in (self.HANG, self.SPIN, self.LARGE_HANG):
                pass
            if item == self.HUNGRY:
                try:
                    np.ones(2**29, dtype=np.uint8)
                except MemoryError:
                    fates.append("too hungry")
                    continue
            fates.append(item)
        return fates


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

    def run(self, items: Sequence[int], failed: Mapping[int, str]) -> Any:
        time.sleep(0.05)
        return super().run(items, failed)


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
