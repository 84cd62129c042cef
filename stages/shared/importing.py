"""How what is imported is kept in memory."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def import_for_good() -> Iterator[None]:
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
