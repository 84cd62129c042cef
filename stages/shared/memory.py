"""What becomes of memory that is no longer used."""

import ctypes
import os
import sys
from collections.abc import Mapping

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
