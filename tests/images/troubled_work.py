"""Work for processes in which some items crash, hang, or ask for all the memory there is."""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from stages.shared.errors import InputError


class TroubledWork:
    """Returns what became of each item; negative ones are trouble."""

    max_seconds = 0.5
    max_memory_bytes = 2**28

    CRASH, HANG, EXIT, HUNGRY, BUG, SLEEP, REFUSE, KILLED = -1, -2, -3, -4, -5, -6, -7, -8

    def start(self) -> None:
        pass

    def run(self, items: Sequence[int], failed: Mapping[int, str]) -> list[str]:
        return [failed[i] if i in failed else self._work_on(items[i]) for i in range(len(items))]

    def _work_on(self, item: int) -> str:
        if item == self.SLEEP:  # takes no CPU time, as reading from a slow disk
            time.sleep(60)
        while item == self.HANG:
            pass
        if item == self.REFUSE:
            raise InputError("photos.zip: was changed")
        if item == self.CRASH:
            os.kill(os.getpid(), signal.SIGSEGV)
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
                return "too hungry"
        return f"done {item}"


class StillbornWork(TroubledWork):
    """Ends its process before the first item."""

    def start(self) -> None:
        os._exit(9)


class PatientWork(TroubledWork):
    """May take a minute of CPU time for an item."""

    max_seconds = 60.0


class NotingWork(PatientWork):
    """Writes the number of its process into a folder, and then takes its time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def start(self) -> None:
        (self._folder / str(os.getpid())).touch()

    def run(self, items: Sequence[int], failed: Mapping[int, str]) -> list[str]:
        time.sleep(0.05)
        return super().run(items, failed)
