"""Work done in several processes comes back whole and in order, whatever happens to the processes."""

import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.images.workers import run_chunks
from stages.shared.errors import InputError
from tests.architecture.imports import ROOT
from tests.images.troubled_work import NotingWork, StillbornWork, TroubledWork

CRASH, HANG, EXIT, HUNGRY, BUG = -1, -2, -3, -4, -5
SLEEP, REFUSE, KILLED = -6, -7, -8


def run(chunks: list[list[int]], *, workers: int = 2) -> list[list[str]]:
    """Return what became of the items of each chunk."""
    return list(run_chunks(TroubledWork(), iter(chunks), workers=workers))


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_order_of_the_chunks(workers: int) -> None:
    """However many processes there are."""
    chunks = [[i, i + 1] for i in range(60)]
    assert run(chunks, workers=workers) == [[f"done {i}", f"done {i + 1}"] for i in range(60)]


def test_no_chunks() -> None:
    """Nothing to do is done at once."""
    assert run([]) == []


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (CRASH, "crashes the decoder (SIGSEGV)"),
        (HANG, "takes more than 0.5 s to decode"),
        (EXIT, "ends the process that decodes it (status 3)"),
        (HUNGRY, "too hungry"),
    ],
)
def test_trouble_is_the_items_own(trouble: int, reason: str) -> None:
    """An item that crashes, hangs or is too large is named, and costs no other item."""
    assert run([[1, 2, 3], [4, trouble, 5], [6, 7], [8]]) == [
        ["done 1", "done 2", "done 3"],
        ["done 4", reason, "done 5"],
        ["done 6", "done 7"],
        ["done 8"],
    ]


def test_much_trouble() -> None:
    """Any number of items may crash, in one chunk and in many."""
    results = run([[CRASH, i, CRASH, EXIT] for i in range(5)])
    crash, end = "crashes the decoder (SIGSEGV)", "ends the process that decodes it (status 3)"
    assert results == [[crash, f"done {i}", crash, end] for i in range(5)]


def test_a_process_that_someone_else_kills_is_no_fault_of_the_item() -> None:
    """As when memory is short: the run stops, and no image is left out for it."""
    with pytest.raises(InputError, match=r"killed .*SIGKILL.* fewer workers"):
        run([[1], [KILLED], [2]])


def test_a_bug_is_not_hidden() -> None:
    """An error that nobody foresaw stops the run with its traceback."""
    with pytest.raises(KeyError, match="a bug"):
        run([[1], [BUG], [2]])


def test_bad_input_stays_bad_input() -> None:
    """What the work refuses for good stops the run with the very error, which a stage ends by in one line."""
    with pytest.raises(InputError, match=r"^photos.zip: was changed$"):
        run([[1], [REFUSE], [2]])


def test_results_come_while_the_next_chunk_is_awaited() -> None:
    """Whoever writes chunk after chunk by hand gets every result before writing the next."""
    reader, writer = os.pipe()

    def chunks() -> Iterator[list[int] | None]:
        while True:
            while not select.select([reader], [], [], 0)[0]:
                yield None
            if not (data := os.read(reader, 1)):
                return
            yield list(data)

    results = run_chunks(TroubledWork(), chunks(), workers=2)
    for number in (1, 2, 3):
        later = threading.Timer(0.3, os.write, (writer, bytes([number])))
        later.start()
        assert next(results) == [f"done {number}"]
    os.close(writer)
    assert list(results) == []
    os.close(reader)


def test_processes_that_cannot_start() -> None:
    """It is refused after a few tries, in words."""
    with pytest.raises(InputError, match=r"ended before it read one .*fewer workers"):
        list(run_chunks(StillbornWork(), iter([[1]]), workers=2))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_processes_end_with_the_results(tmp_path: Path) -> None:
    """Whoever stops asking, for an error or otherwise, leaves no process behind."""
    results = run_chunks(NotingWork(tmp_path), ([i] for i in range(1000)), workers=2)
    while len(list(tmp_path.iterdir())) < 2:  # on a busy machine one works before the other has begun
        assert next(results)
    results.close()
    _wait_for(lambda: not any(is_alive(int(path.name)) for path in tmp_path.iterdir()))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("item", [1, SLEEP, HANG])
def test_processes_end_with_their_parent(tmp_path: Path, item: int) -> None:
    """A run that is killed leaves no process behind, also none that is at work for a minute."""
    program = (
        "from pathlib import Path\n"
        "from stages.images.workers import run_chunks\n"
        "from tests.images.troubled_work import NotingWork\n"
        f"work = NotingWork(Path({str(tmp_path)!r}))\n"
        f"for _ in run_chunks(work, ([{item}] for _ in range(9**9)), workers=2): pass\n"
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
