"""Work spread over processes comes back whole and in order, whatever happens to the processes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stages.images.workers import spread
from stages.shared.errors import InputError
from tests.architecture.imports import ROOT
from tests.images.troubled_work import NotingWork, StillbornWork, TroubledWork

CRASH, HANG, EXIT, HUNGRY, BUG = -1, -2, -3, -4, -5


def run(tasks: list[list[int]], *, workers: int = 2) -> list[tuple[list[str], list[int]]]:
    """Return the fates and the bytes of each task."""
    return [(fates, pixels.tolist()) for fates, pixels in spread(TroubledWork(), tasks, workers=workers)]


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


def test_processes_that_cannot_start() -> None:
    """It is refused after a few tries, in words."""
    with pytest.raises(InputError, match=r"ended before it read one .*fewer workers"):
        list(spread(StillbornWork(), [[1]], workers=2))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_processes_end_with_the_results(tmp_path: Path) -> None:
    """Whoever stops asking, for an error or otherwise, leaves no process behind."""
    results = spread(NotingWork(tmp_path), ([i] for i in range(1000)), workers=2)
    next(results)
    results.close()
    assert len(list(tmp_path.iterdir())) == 2
    assert not [path for path in tmp_path.iterdir() if is_alive(int(path.name))]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_processes_end_with_their_parent(tmp_path: Path) -> None:
    """A run that is killed leaves no process behind."""
    program = (
        "from pathlib import Path\nfrom stages.images.workers import spread\n"
        "from tests.images.troubled_work import NotingWork\n"
        f"work = NotingWork(Path({str(tmp_path)!r}))\n"
        "for _ in spread(work, ([1] for _ in range(9**9)), workers=2): pass\n"
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
