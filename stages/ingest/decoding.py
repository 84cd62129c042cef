"""What each worker process does with some files: read, hash, decode unless an earlier run did, measure."""

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from schemas.shared.manifest import ImageForm
from stages.images.decode import DecodeLimits, Undecodable, decode_image
from stages.images.headers import Damaged
from stages.images.resize import Pixels, resize_image
from stages.images.sources import FileRef, UnreadableFile
from stages.images.workers import allow_seconds, leave_if_short_of_memory
from stages.ingest.appearance import count_levels
from stages.ingest.decoded_cache import connect, find_image
from stages.ingest.measure import FEATURES, Features, measure_images, shrink
from stages.shared.errors import printable

# Large enough that handing over a chunk costs little beside it, small enough to keep memory flat.
_IMAGES_PER_CHUNK = 256
_BYTES_PER_CHUNK = 4 * 2**20


def max_images_per_chunk(form: ImageForm) -> int:
    """Return how many images a chunk has at most."""
    return max(1, min(_IMAGES_PER_CHUNK, _BYTES_PER_CHUNK // form.num_bytes))


class LocatedFile(NamedTuple):
    """A file of the source."""

    path: str
    """In the source."""

    ref: FileRef
    """Where it is."""


@dataclass
class Chunk:
    """What came of some files, in their order."""

    digests: list[bytes]
    """SHA-256 of each file; empty for one that could not be read or decoded."""

    reasons: dict[int, str]
    """Why the images with no digest have none, by their position."""

    new: list[int]
    """Positions of the images that no earlier run had decoded."""

    pixels: Path | None
    """A file of their pixels, uint8 (len(new), height, width, channels), which the reader removes; None for
    no images. Through a pipe 4 MB take ten times as long."""

    features: Features
    """Of the same images."""


@dataclass
class Decoding:
    """The work of the processes; see `stages.images.workers.Work`."""

    form: ImageForm
    limits: DecodeLimits
    folder: Path
    """Of the cache: gets files of pixels."""

    database: Path | None
    """Of the cache, to look up files by their bytes; None if it holds no images yet."""

    _num_chunks: int = field(default=0, init=False, repr=False)

    _connection: sqlite3.Connection | None = field(default=None, init=False, repr=False)

    @property
    def max_seconds(self) -> float:
        """Return how much CPU time one file may take, unless it is large."""
        return self.limits.max_seconds

    @property
    def max_memory_bytes(self) -> int:
        """Return how much memory one file may need."""
        return self.limits.max_memory_bytes

    @property
    def advice(self) -> str:
        """Return which settings to lower where memory is short."""
        return "lower dataset.workers, dataset.max_pixels or dataset.max_file_bytes"

    def start(self) -> None:
        """Get ready, once in each process."""
        cv2.setNumThreads(1)  # there is a process for every core; threads would only compete with them
        self._connection = None if self.database is None else connect(self.database)

    def run(self, items: Iterator[LocatedFile]) -> Chunk:
        """Decode some files."""
        digests: list[bytes] = []
        reasons: dict[int, str] = {}
        new: list[int] = []
        packed, small, sides_px, histograms, bits = [], [], [], [], []
        for item, file in enumerate(items):
            digest, is_damaged = b"", False
            try:
                data = file.ref.read(max_bytes=self.limits.max_file_bytes)
                sha256 = hashlib.sha256(data).digest()
                if self._connection is None or find_image(self._connection, sha256) is None:
                    decoded = decode_image(
                        data, self.form, self.limits, is_measured=True, allow_seconds=allow_seconds
                    )
                    packed.append(resize_image(decoded.pixels, self.form))
                    small.append(shrink(decoded.measured))
                    histograms.append(count_levels(decoded.measured))
                    sides_px.append((decoded.height_px, decoded.width_px))
                    bits.append(decoded.bits)
                    new.append(item)
                digest = sha256
            except (UnreadableFile, Undecodable) as error:
                reasons[item] = str(error)
                is_damaged = isinstance(error, Damaged)
            data = b""
            if is_damaged:
                leave_if_short_of_memory()
            digests.append(digest)
        if not new:
            return Chunk(digests, reasons, new, None, np.empty(0, FEATURES))
        pixels = np.stack(packed)
        features = measure_images(np.stack(small), sides_px, pixels, np.stack(histograms))
        features["bits"] = bits
        return Chunk(digests, reasons, new, self._write(pixels), features)

    def _write(self, pixels: Pixels) -> Path:
        """Write pixels to a new file.

        Raises:
            OSError: It cannot be written; the error names it.
        """
        self._num_chunks += 1
        path = self.folder / f"pixels-{os.getpid()}-{self._num_chunks}.partial"
        try:
            path.write_bytes(pixels.data)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
        return path

    def leave_out(self, item: LocatedFile, reason: str) -> Chunk:
        """Return what came of one file that ended its process twice."""
        return Chunk([b""], {0: reason}, [], None, np.empty(0, FEATURES))

    def name_of(self, item: LocatedFile) -> str:
        """Return what messages call a file."""
        return printable(item.path)
