"""The attack suite's own tools; `make attack` runs its parts."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attack.__main__ import PARTS, run_parts
from tests.attack.bounded import call_bounded, run_bounded
from tests.faults.tally import Tally


def _take(num_mb: int) -> int:
    return len(bytearray(num_mb * 1_000_000))


def _burn(seconds: float) -> None:
    start = time.process_time()
    while time.process_time() < start + seconds:
        pass


def _fail() -> None:
    raise KeyError("x")


def _write(num_mb: int) -> None:
    path = Path(os.environ["TMPDIR"], "large")
    path.write_bytes(bytes(num_mb * 1_000_000))
    time.sleep(0.2)
    path.unlink()
    path.with_name("left").touch()


def test_memory_is_the_childs_own(tmp_path: Path) -> None:
    """The peak holds what the child took, and nothing of a large process that started it."""
    ballast = bytearray(400_000_000)
    small = call_bounded(_take, 1, scratch=tmp_path)
    del ballast
    large = call_bounded(_take, 300, scratch=tmp_path)
    assert small.value == 1_000_000
    assert small.peak_mb < 200 < 300 < large.peak_mb < 500
    assert "MB of memory" in large.find_problem(max_cpu_seconds=60, max_peak_mb=200)


def test_cpu_time_and_wall_time_are_bounded(tmp_path: Path) -> None:
    """CPU time is measured; a command that never ends is ended, and said to hang."""
    busy = call_bounded(_burn, 0.5, scratch=tmp_path)
    assert 0.5 < busy.cpu_seconds < 3
    hanging = run_bounded(["sleep", "60"], scratch=tmp_path, max_wall_seconds=0.3)
    assert hanging.is_timed_out
    assert hanging.wall_seconds < 30
    assert hanging.find_problem(max_cpu_seconds=60, max_peak_mb=500).startswith("hangs")


def test_temporary_files_are_measured_and_listed(tmp_path: Path) -> None:
    """Also those that are gone again; the folder itself is removed."""
    outcome = call_bounded(_write, 5, scratch=tmp_path)
    assert 5 <= outcome.temporary_mb < 6
    assert outcome.left == ("left",)
    assert list(tmp_path.iterdir()) == []


def test_output_and_what_was_raised(tmp_path: Path) -> None:
    """A command's status and output, a function's exception, a traceback as a problem."""
    outcome = run_bounded([sys.executable, "-c", "1 / 0"], scratch=tmp_path)
    assert outcome.status == 1
    assert "a traceback" in outcome.find_problem(max_cpu_seconds=60, max_peak_mb=500)
    assert call_bounded(_fail, scratch=tmp_path).raised == "KeyError: 'x'"
    missing = run_bounded(["no-such-program"], scratch=tmp_path)
    assert (missing.status, missing.stderr[:15]) == (127, "no-such-program")


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not limit the address space")
def test_the_address_space_is_limited(tmp_path: Path) -> None:
    """As on a machine with little memory."""
    assert call_bounded(_take, 3000, scratch=tmp_path, max_address_mb=1000).raised.startswith("MemoryError")


def test_all_parts_are_listed() -> None:
    """A module with `attack` that PARTS does not name would never run."""
    folder = Path(__file__).parent
    found = {path.stem for path in folder.glob("*.py") if "\ndef attack(" in path.read_text(encoding="utf-8")}
    assert found == set(PARTS)


def test_a_part_that_fails_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the parts after it still run."""

    def attack(scratch: Path, *, seed: int) -> Iterator[Tally]:
        yield Tally(f"{scratch.name} {seed}", tried=1)
        raise RuntimeError("broken")

    module = type(sys)("tests.attack.fake")
    vars(module)["attack"] = attack
    monkeypatch.setitem(sys.modules, "tests.attack.fake", module)
    monkeypatch.setitem(sys.modules, "tests.attack.other", module)
    tallies = list(run_parts(tmp_path, ["fake", "other"], seed=3))
    assert [tally.name for tally in tallies] == ["fake 3", "fake", "other 3", "other"]
    assert "broken" in tallies[1].wrong[0]


def test_a_part_that_never_ends_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that waits for a pipe would be: it is interrupted, and says where."""

    def attack(_scratch: Path, *, seed: int) -> Iterator[Tally]:
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "pipe").read_bytes()
        yield Tally("read", tried=seed)

    module = type(sys)("tests.attack.fake")
    vars(module)["attack"] = attack
    monkeypatch.setitem(sys.modules, "tests.attack.fake", module)
    monkeypatch.setattr("tests.attack.__main__.MAX_SECONDS", 1)
    (tally,) = run_parts(tmp_path, ["fake"], seed=0)
    assert "it takes more than 1 s" in tally.wrong[0]
