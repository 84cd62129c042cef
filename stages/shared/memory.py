"""What becomes of memory that is no longer used."""

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_SETTINGS = ("GLIBC_TUNABLES", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")


def keep_freed_memory() -> None:
    """Have this process keep large blocks that it frees, for the next ones of their size.

    The GNU allocator gives them back to the system, which clears every page when they are wanted again, as
    they are in every step: 16,000 pages a step of a small network, a tenth to a quarter of its time. It
    changes no result. The price is room between blocks: measured for a small network, 354 MB at most instead
    of 336. Whoever sets the allocator by the environment has the last word; other allocators than GNU's are
    left alone.
    """
    if sys.platform != "linux" or any(name in os.environ for name in _SETTINGS):
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_MMAP_MAX, 0)
        set_option(_M_TRIM_THRESHOLD, 2**31 - 1)
