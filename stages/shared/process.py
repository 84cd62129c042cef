"""Settings of this process that change its speed and memory, never a result."""

import ctypes
import gc
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_SETTINGS = ("GLIBC_TUNABLES", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")

_LARGE_BYTES = 2**17


def keep_freed_memory() -> None:
    """Have this process keep large blocks that it frees, for the next ones of their size.

    The GNU allocator gives them back to the system, which clears every page when they are wanted again, as
    they are in every step: 16,000 pages a step of a small network, a tenth to a quarter of its time. It
    changes no result. The price is room between blocks: measured for a small network, 354 MB at most instead
    of 336. Whoever sets the allocator by the environment has the last word; other allocators than GNU's are
    left alone.
    """
    _set_options({_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1})


def return_freed_memory() -> None:
    """Have this process give every large block that it frees back to the system.

    By itself the GNU allocator takes a large block that was freed as a sign that more will follow, keeps the
    next ones, and with them the gaps between them: for a process that sorts and sums up columns, and little
    else, only more memory. As above, the environment has the last word.
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
    """Have OpenMP's threads sleep after a short while of waiting; to be called before torch is imported.

    They spin for milliseconds otherwise. On a machine that does something else too each then stands in the
    other's way: with two cores and a load of nine, training ran 3 to 5 times as fast with this, and as fast
    as ever on a quiet one. It changes no result. Whoever sets OMP_WAIT_POLICY or GOMP_SPINCOUNT has the last
    word.
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
