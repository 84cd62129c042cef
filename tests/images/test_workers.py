"""Work spread over processes comes back whole and in order, whatever happens to the processes."""

import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from stages.images.work import NotYet, Task
from stages.images.workers import spread
from stages.shared.errors import InputError
from tests.architecture.imports import ROOT
from tests.images.troubled_work import Ballast, NotingWork, SharingWork, StillbornWork, TroubledWork

CRASH, HANG, EXIT, HUNGRY, BUG, SLEEP, SPIN, REFUSE = -1, -2, -3, -4, -5, -6, -7, -8


def run(tasks: list[list[int]], *, workers: int = 2) -> list[tuple[list[str], list[int]]]:
    """Return the fates and the bytes of each task."""
    done = chain.from_iterable(spread(TroubledWork(), map(Task, tasks), workers=workers))
    return [(fates, pixels.tolist()) for fates, pixels in done]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_order_of_the_tasks(workers: int) -> None:
    """However many processes there are."""
    tasks = [[i % 251, (i + 1) % 251] for i in range(60)]
    assert run(tasks, workers=workers) == [(["done", "done"], task) for task in tasks]


def test_no_tasks() -> None:
    """Nothing to do is done at once."""
    assert run([]) == []


@pytest.mark.parametrize(
    ("trouble", "fate"),
    [
        (CRASH, "crashes the decoder (SIGSEGV)"),
        (HANG, "takes more than 0.5 s to decode"),
        (EXIT, "ends the process that decodes it (status 3)"),
        (HUNGRY, "too hungry"),
    ],
)
def test_trouble_is_the_items_own(trouble: int, fate: str) -> None:
    """What crashes, hangs or is too large is told of, and costs no other item."""
    tasks = [[1, 2, 3], [4, trouble, 5], [6, 7], [8]]
    assert run(tasks) == [
        (["done"] * 3, [1, 2, 3]),
        (["done", fate, "done"], [4, 5]),
        (["done"] * 2, [6, 7]),
        (["done"], [8]),
    ]


def test_much_trouble() -> None:
    """Any number of items may crash, in one task and in many."""
    tasks = [[CRASH, i, CRASH, EXIT] for i in range(5)]
    results = run(tasks)
    assert [pixels for _, pixels in results] == [[i] for i in range(5)]
    assert {fate for fates, _ in results for fate in fates} == {
        "done",
        "crashes the decoder (SIGSEGV)",
        "ends the process that decodes it (status 3)",
    }


def test_what_someone_else_kills_is_no_fault_of_the_item() -> None:
    """As when memory is short: the run stops, and no image is left out for it."""
    with pytest.raises(InputError, match=r"killed .*SIGKILL.* fewer workers"):
        run([[1], [TroubledWork.KILLED], [2]])


def test_a_bug_is_not_hidden() -> None:
    """An error that nobody foresaw stops the run with its traceback."""
    with pytest.raises(RuntimeError, match="KeyError: 'a bug'"):
        run([[1], [BUG], [2]])


def test_bad_input_stays_bad_input() -> None:
    """What the work refuses for good stops the run with the very error, which a stage ends by in one line."""
    with pytest.raises(InputError, match=r"^photos.zip: was changed$"):
        run([[1], [REFUSE], [2]])


def test_results_come_while_the_next_task_is_awaited() -> None:
    """Whoever writes task after task by hand gets every answer before writing the next."""
    reader, writer = os.pipe()

    def tasks() -> Iterator[Task[int] | NotYet]:
        while True:
            while not select.select([reader], [], [], 0)[0]:
                yield NotYet(reader)
            if not (data := os.read(reader, 1)):
                return
            yield Task(list(data))

    results = spread(TroubledWork(), tasks(), workers=2)
    assert next(results) == []
    for number in (1, 2, 3):
        later = threading.Timer(0.3, os.write, (writer, bytes([number])))
        later.start()
        [(fates, pixels)] = next(results)
        assert (fates, pixels.tolist()) == (["done"], [number])
    os.close(writer)
    assert list(results) == []
    os.close(reader)


def test_what_tasks_share_travels_once() -> None:
    """It comes with the first task of a row that shares it, and again to a process that takes one's place."""
    first, second = Ballast(b"first"), Ballast(b"second")
    tasks = [
        *(Task([1], first) for _ in range(20)),
        Task([CRASH], first),
        *(Task([1], second) for _ in range(20)),
    ]
    done = list(chain.from_iterable(spread(SharingWork(), tasks, workers=2)))
    assert [shared for shared, _ in done] == [b"first"] * 21 + [b"second"] * 20
    assert first.num_pickled <= 4
    assert second.num_pickled <= 4


def test_processes_that_cannot_start() -> None:
    """It is refused after a few tries, in words."""
    with pytest.raises(InputError, match=r"ended before it read one .*fewer workers"):
        list(spread(StillbornWork(), [Task([1])], workers=2))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_processes_end_with_the_results(tmp_path: Path) -> None:
    """Whoever stops asking, for an error or otherwise, leaves no process behind."""
    results = spread(NotingWork(tmp_path), (Task([i]) for i in range(1000)), workers=2)
    assert next(results) == []
    while (
        len(list(tmp_path.iterdir())) < 2
    ):  # on a busy machine one is done with tasks before the other begins
        assert next(results)
    results.close()
    assert not [path for path in tmp_path.iterdir() if is_alive(int(path.name))]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("item", [1, SLEEP, SPIN])
def test_processes_end_with_their_parent(tmp_path: Path, item: int) -> None:
    """A run that is killed leaves no process behind, also none that is at work for a minute."""
    program = (
        "from pathlib import Path\nfrom stages.images.work import Task\n"
        "from stages.images.workers import spread\n"
        "from tests.images.troubled_work import NotingWork\n"
        f"work = NotingWork(Path({str(tmp_path)!r}))\n"
        f"for _ in spread(work, (Task([{item}]) for _ in range(9**9)), workers=2): pass\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, env={**os.environ, "PYTHONPATH": "."}
    )
    try:
        _wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
    finally:
        parent.kill()
        parent.wait()
    _wait_for(lambda: not any(is_alive(int(path.name)) for path in tmp_path.iterdir()))


def _wait_for(condition: object, *, seconds: float = 20) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
