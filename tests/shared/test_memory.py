"""Memory that is freed stays with the process, unless a person asked for something else."""

import os
import subprocess
import sys

import pytest

from tests.pipeline.project import ROOT

_PROGRAM = """
import resource, sys
from stages.shared.memory import keep_freed_memory
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
