"""What one of the processes does: task after task, until its parent is gone."""

import sys
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from stages.images.messages import receive_large
from stages.images.work import Watch, Work
from stages.shared.errors import InputError
from stages.shared.stopping import follow_parent

TASKS_AHEAD = 2
"""What each process has at hand: the task it works on, and the next."""


def serve(connection: Connection, work: Work[Any, Any], memory: Any, notes: Any) -> None:
    """Be one of the processes: run tasks until the parent is gone."""
    follow_parent()
    slots = np.frombuffer(memory, dtype=np.uint8).reshape(TASKS_AHEAD, -1)
    watch = Watch(notes)
    work.start()
    _limit_memory(work.max_memory_bytes)
    shared: Any = None
    with suppress(EOFError, OSError):  # the parent has gone, or has had enough
        while True:
            slot, items, failed, is_other = connection.recv()
            if is_other:
                shared = receive_large(connection)
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
