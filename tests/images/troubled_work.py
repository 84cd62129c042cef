"""Work for processes in which some items crash, hang, or ask for all the memory there is."""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.images.work import Bytes, Watch
from stages.shared.errors import InputError


class TroubledWork:
    """Gives back each item as one byte; negative ones are trouble."""

    slot_bytes = 64
    max_seconds = 0.5
    max_memory_bytes = 2**28

    CRASH, HANG, EXIT, HUNGRY, BUG, SLEEP, SPIN, REFUSE, KILLED = -1, -2, -3, -4, -5, -6, -7, -8, -9

    def start(self) -> None:
        pass

    def run(
        self, items: Sequence[int], *, shared: Any, failed: Mapping[int, str], watch: Watch, slot: Bytes
    ) -> tuple[list[str], int]:
        fates = []
        num_bytes = 0
        for i, item in enumerate(items):
            if i in failed:
                fates.append(failed[i])
                continue
            watch.begin(i)
            if item == self.SLEEP:  # before there is a time limit, as in reading from a slow disk
                time.sleep(60)
            while item == self.SPIN:
                pass
            if item == self.REFUSE:
                raise InputError("photos.zip: was changed")
            watch.start_clock()
            if item == self.CRASH:
                os.kill(os.getpid(), signal.SIGSEGV)
            elif item == self.HANG:
                time.sleep(60)
            elif item == self.EXIT:
                os._exit(3)
            elif item == self.KILLED:
                os.kill(os.getpid(), signal.SIGKILL)
            elif item == self.BUG:
                raise KeyError("a bug")
            elif item == self.HUNGRY:
                try:
                    np.ones(2**29, dtype=np.uint8)
                except MemoryError:
                    fates.append("too hungry")
                    continue
            slot[num_bytes] = item
            num_bytes += 1
            fates.append("done")
        return fates, num_bytes


class StillbornWork(TroubledWork):
    """Ends its process before the first item."""

    def start(self) -> None:
        os._exit(9)


class NotingWork(TroubledWork):
    """Writes the number of its process into a folder, and then takes its time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def start(self) -> None:
        (self._folder / str(os.getpid())).touch()

    def run(
        self, items: Sequence[int], *, shared: Any, failed: Mapping[int, str], watch: Watch, slot: Bytes
    ) -> tuple[list[str], int]:
        time.sleep(0.05)
        return super().run(items, shared=shared, failed=failed, watch=watch, slot=slot)


class Ballast:
    """Something that tasks share; counts how often it is pickled."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.num_pickled = 0

    def __getstate__(self) -> dict[str, Any]:
        self.num_pickled += 1
        return self.__dict__


class SharingWork(TroubledWork):
    """Takes what the task shares for the fate of its items."""

    def run(
        self, items: Sequence[int], *, shared: Ballast, failed: Mapping[int, str], watch: Watch, slot: Bytes
    ) -> tuple[Any, int]:
        super().run(items, shared=shared, failed=failed, watch=watch, slot=slot)
        return shared.data, 0
