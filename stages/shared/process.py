"""Settings of this process that change its speed and memory, never a result."""

import ctypes
import gc
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import util

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_SETTINGS = ("GLIBC_TUNABLES", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")

_LARGE_BYTES = 2**17

_MAX_SOCKET_FOLDER = 70
"""Characters of TMPDIR that leave room for what multiprocessing appends, 32 of them."""


def keep_freed_memory() -> None:
    """Keep large blocks that this process frees, for the next ones of their size.

    By default the GNU allocator returns them to the system, which clears every page when the next step asks
    for them again: 16,000 pages a step of a small network, a tenth to a quarter of its time. The cost is
    fragmentation: 354 MB instead of 336 at most, for a small network. Settings in the environment take
    precedence; allocators other than GNU's are left alone.
    """
    _set_options({_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1})


def return_freed_memory() -> None:
    """Return every large block that this process frees to the system.

    By default the GNU allocator keeps large blocks once one was freed, and the gaps between them with it. A
    process that only sorts and sums columns just holds more memory that way. Settings in the environment take
    precedence.
    """
    _set_options({_M_MMAP_THRESHOLD: _LARGE_BYTES, _M_TRIM_THRESHOLD: _LARGE_BYTES})


def _set_options(options: Mapping[int, int]) -> None:
    if sys.platform != "linux" or any(name in os.environ for name in _SETTINGS):
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        for option, value in options.items():
            set_option(option, value)


def limit_spinning() -> None:
    """Let OpenMP's threads sleep after a short wait. Call this before torch is imported.

    By default they spin for milliseconds and take CPU time from others on a busy machine: with two cores and
    a load of nine, training ran 3 to 5 times as fast with this setting, and as fast as before on an idle one.
    It changes no result. OMP_WAIT_POLICY or GOMP_SPINCOUNT in the environment take precedence.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


@contextmanager
def import_without_gc() -> Iterator[None]:
    """Import in the block without looking for garbage, nor ever again among what was imported.

    Importing torch makes a million objects and throws hardly any away. Python would go through all of them
    several times meanwhile, and now and then in the middle of training: a tenth of a second each time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def use_short_socket_paths() -> None:
    """Have multiprocessing keep its sockets elsewhere where TMPDIR is too long a path for them.

    A socket's path has 107 characters at most, on macOS 103; "AF_UNIX path too long", Python says.
    """
    if len(os.fsencode(tempfile.gettempdir())) <= _MAX_SOCKET_FOLDER:
        return
    before, tempfile.tempdir = tempfile.tempdir, "/tmp"
    try:
        util.get_temp_dir()  # made once, by the first who asks
    finally:
        tempfile.tempdir = before
