"""Why an image cannot be had, noted instead of raised."""

from collections.abc import Iterator
from contextlib import contextmanager

from stages.images.formats.header import Undecodable
from stages.images.sources import UnreadableFile


@contextmanager
def note_refusal(reasons: dict[int, str], item: int) -> Iterator[None]:
    """Note the reason, under the item's number, if reading and decoding it in the block is refused."""
    try:
        yield
    except (UnreadableFile, Undecodable) as error:
        reasons[item] = str(error)
    except MemoryError:
        reasons[item] = "takes more memory to decode than an image of max_pixels does"
