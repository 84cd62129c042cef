"""Work spread over processes comes back whole and in order, whatever happens to the processes."""

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from stages.images.workers import run_chunks
from stages.shared.errors import InputError
from tests.architecture.imports import ROOT
from tests.images.troubled_work import (
    NotingWork,
    ShortWork,
    StillbornWork,
    StrayWork,
    TroubledWork,
    Unpicklable,
)
from tools.doctor.processes import is_alive

CRASH, HANG, EXIT, HUNGRY, BUG, SLEEP, SPIN, REFUSE = -1, -2, -3, -4, -5, -6, -7, -8


DAMAGED, HUNGRY_REASON = TroubledWork.DAMAGED, "takes more than 268 MB of memory to decode"


def run(chunks: list[list[int]], work: TroubledWork | None = None, *, workers: int = 2) -> list[int | str]:
    """Return what became of each item of each chunk: the item itself, or a reason."""
    return [fate for part in run_chunks(work or TroubledWork(), chunks, workers=workers) for fate in part]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_order_of_the_chunks(workers: int) -> None:
    """However many processes there are."""
    chunks: list[list[int]] = [[i, i + 1] for i in range(60)]
    assert list(run_chunks(TroubledWork(), chunks, workers=workers)) == chunks


def test_no_chunks() -> None:
    """Nothing to do is done at once."""
    assert run([]) == []


@pytest.mark.parametrize(
    ("trouble", "fate"),
    [
        (CRASH, "crashes the decoder (SIGSEGV)"),
        (HANG, "takes more than 0.5 s to decode"),
        (TroubledWork.LARGE_HANG, "takes more than 1 s to decode"),
        (EXIT, "ends the process that decodes it (status 3)"),
        (HUNGRY, HUNGRY_REASON),
    ],
)
def test_trouble_is_the_items_own(trouble: int, fate: str) -> None:
    """What crashes, hangs or is too large is named with a reason, and costs no other item."""
    assert run([[1, 2, 3], [4, trouble, 5], [6, 7], [8]]) == [1, 2, 3, 4, fate, 5, 6, 7, 8]


def test_much_trouble() -> None:
    """Any number of items may crash, in one chunk and in many, also in several processes at the same time."""
    crash, leave = "crashes the decoder (SIGSEGV)", "ends the process that decodes it (status 3)"
    assert run([[CRASH, i, CRASH, EXIT] for i in range(5)]) == [
        fate for i in range(5) for fate in (crash, i, crash, leave)
    ]


def test_waiting_takes_no_cpu_time() -> None:
    """An item may wait for a slow disk for longer than it may compute."""
    slow = [TroubledWork.WAIT] * 3
    assert run([slow]) == slow


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGPROF, signal.SIGHUP])
def test_a_stray_signal_loses_no_item(tmp_path: Path, number: signal.Signals) -> None:
    """The item at which a process ended is tried again."""
    assert run([[1, 2], [3, CRASH, 4], [5]], StrayWork(tmp_path, number)) == [1, 2, 3, CRASH, 4, 5]


def test_the_second_try_is_alone(tmp_path: Path) -> None:
    """No other process is at work meanwhile."""
    run([[CRASH], *([i] for i in range(20))], StrayWork(tmp_path, signal.SIGSEGV))
    assert (tmp_path / "tried").read_text().count("psutil.Process(") == 1


@pytest.mark.parametrize(
    ("trouble", "place"),
    [(TroubledWork.KILLED, " at item -9"), (TroubledWork.KILLED_SENDING, " at item -11")],
)
@pytest.mark.timeout(60)
def test_a_killed_process_is_not_the_items_fault(trouble: int, place: str) -> None:
    """As when memory is short, also while a result is sent: the run stops, and no image is left out."""
    with pytest.raises(InputError, match=rf"outside \(SIGKILL\){place}, .* lower the number of workers"):
        run([[1], [trouble], [2]])


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
class TestMemory:
    """Which failures for lack of memory are the item's."""

    def test_a_process_that_kept_memory_is_not_believed(self) -> None:
        """Damage that is found where little memory is left is looked for again, in a new process."""
        results = list(run_chunks(TroubledWork(), [[TroubledWork.KEEPER, 1, DAMAGED, 2]], workers=1))
        assert results == [[TroubledWork.KEEPER, 1], ["damaged"], [2]]

    def test_damage_is_believed_otherwise(self) -> None:
        """It takes no second try where there is memory for any item."""
        assert list(run_chunks(TroubledWork(), [[1, DAMAGED, 2]], workers=1)) == [[1, "damaged", 2]]

    @pytest.mark.parametrize("trouble", [HUNGRY, DAMAGED, CRASH])
    def test_a_limit_from_outside_is_not_the_items_fault(self, trouble: int) -> None:
        """What fails where a process may have less than an item may need stops the run."""
        with pytest.raises(InputError, match=rf"^item {trouble}: .*needs 268 MB.*ulimit -v.*workers"):
            run([[1, trouble], [2]], ShortWork())

    def test_a_limit_from_outside_may_be_enough(self) -> None:
        """Items that need little are done under it."""
        assert run([[1, 2], [3]], ShortWork()) == [1, 2, 3]


def test_a_bug_is_not_hidden() -> None:
    """An unforeseen error stops the run with the traceback of the process."""
    with pytest.raises(KeyError, match="a bug") as caught:
        run([[1], [BUG], [2]])
    assert "troubled_work.py" in str(caught.value.__cause__)


def test_a_result_that_cannot_be_unpickled_is_not_hidden() -> None:
    """It is a bug, too, and no crash of a decoder."""
    with pytest.raises(BrokenProcessPool) as caught:
        run([[TroubledWork.UNPICKLABLE]])
    assert Unpicklable.MESSAGE in str(caught.value.__cause__)


def test_bad_input_stays_bad_input() -> None:
    """What the work refuses for good stops the run with the same error, which ends a stage in one line."""
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
        threading.Timer(0.3, os.write, (writer, bytes([number]))).start()
        assert next(results) == [number]
    os.close(writer)
    assert list(results) == []
    os.close(reader)


def test_processes_work_before_a_result_is_asked_for(tmp_path: Path) -> None:
    """Whoever has the results to come may do something else first."""
    results = run_chunks(NotingWork(tmp_path), [[1]], workers=2)
    _wait_for(lambda: any(tmp_path.iterdir()))
    assert list(results) == [[1]]


def test_processes_that_cannot_start() -> None:
    """It is refused after a few tries, in words."""
    with pytest.raises(InputError, match=r"before they read one \(status 9\).*number of workers"):
        list(run_chunks(StillbornWork(), [[1]], workers=2))


def test_processes_end_with_the_results(tmp_path: Path) -> None:
    """Whoever stops asking, for an error or otherwise, leaves no process behind."""
    results = run_chunks(NotingWork(tmp_path), ([i] for i in range(1000)), workers=2)
    while (
        len(list(tmp_path.iterdir())) < 2
    ):  # on a busy machine one may finish chunks before the other begins
        assert next(results)
    results.close()
    assert not [path for path in tmp_path.iterdir() if is_alive(int(path.name))]


@pytest.mark.parametrize("item", [1, SLEEP, SPIN])
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
