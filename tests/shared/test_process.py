"""Memory that is freed stays with the process, or goes, unless a person asked for something else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages.shared.process import limit_spinning
from tests.pipeline.project import ROOT

_PROGRAM = """
import resource, sys
from stages.shared.process import keep_freed_memory
if "keep" in sys.argv:
    keep_freed_memory()
def take():
    blocks = [b"x" * (size << 20) for size in (40, 3, 40)]
for _ in range(3):
    take()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    take()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def count_new_pages(*arguments: str, **environment: str) -> int:
    """Return how many pages ten rounds ask for that need what three rounds before them needed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments],
        cwd=ROOT,
        env={**kept, **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other allocators")
def test_what_is_freed_is_used_again() -> None:
    """Who needs the same blocks again asks the system for hardly a page; without it for all of them."""
    assert count_new_pages("keep") < 200
    assert count_new_pages() > 10_000


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other allocators")
def test_the_person_has_the_last_word() -> None:
    """Where the environment sets the allocator, that holds."""
    assert count_new_pages("keep", MALLOC_TRIM_THRESHOLD_="131072") > 10_000


_RETURNING_PROGRAM = """
import sys
from pathlib import Path
from stages.shared.process import return_freed_memory
if "return" in sys.argv:
    return_freed_memory()
def held():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
first = b"x" * (30 << 20)
del first
before = held()
second, behind = b"x" * (20 << 20), b"x" * (200 << 10)
del second
print(held() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other allocators")
def test_what_is_freed_is_given_back() -> None:
    """A large block that was freed is gone, also below one that is still used; without it, it stays."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}

    def count_bytes(*arguments: str) -> int:
        command = [sys.executable, "-c", _RETURNING_PROGRAM, *arguments]
        return int(subprocess.run(command, cwd=ROOT, env=kept, check=True, capture_output=True).stdout)

    assert count_bytes("return") < 2 * 2**20
    assert count_bytes() > 10 * 2**20


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"GOMP_SPINCOUNT": "1000"}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
    ],
)
def test_the_environment_has_the_last_word_on_spinning(
    given: dict[str, str], expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is set in the environment stays."""
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    limit_spinning()
    names = {*expected, "GOMP_SPINCOUNT"} & set(os.environ)
    assert {name: os.environ[name] for name in names} == expected
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)


def test_sockets_fit_where_tmpdir_is_long(tmp_path: Path) -> None:
    """Sockets get a folder elsewhere then; other temporary files stay in TMPDIR."""
    long = tmp_path / ("x" * 90)
    long.mkdir()
    program = (
        "import multiprocessing.util, tempfile; from stages.shared.process import use_short_socket_paths; "
        "use_short_socket_paths(); print(multiprocessing.util.get_temp_dir(), tempfile.gettempdir())"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(long)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert len(printed[0]) < 40
    assert printed[1] == str(long)
