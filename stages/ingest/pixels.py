"""From a list of files to pixel shards and features: what is known is copied or linked, the rest is decoded.

Rows are written in the order of the files, so that the shards depend on the source alone, never on what was
decoded when. A shard of 64 MiB is finished, and safe from a stop, before the next one begins; one that an
earlier run wrote in the same way gets a second name instead of a second copy.
"""

import io
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from schemas.shared.manifest import FileRecord, ImageForm
from stages.images.decode import DecodeLimits
from stages.images.image_table import STATUSES, ImageTable
from stages.images.resize import Pixels
from stages.images.sources import Source
from stages.images.workers import run_chunks
from stages.ingest.decoded_cache import DecodedCache, Known
from stages.ingest.decoding import Chunk, Decoding, LocatedFile, max_images_per_chunk
from stages.ingest.measure import FEATURES, Features
from stages.shared.progress import Progress

SHARD_BYTES = 64 * 2**20
"""Large enough for few files, small enough that DVC hashes them side by side."""

_MAX_ROWS = 2**16
"""In a shard; bounds what is held of its images until it is finished."""

_CHUNKS_PER_WORKER = 4
"""At least, where few images are read, so that every process has some of them."""

_BLOCK_BYTES = 4 * 2**20
_BLOCK_ROWS = 4096
"""Known images that are handled at once."""

_KNOWN, _NEW, _FAILED = 0, 1, 2

Rows = npt.NDArray[np.int64]
Places = npt.NDArray[np.int32]
"""Shards, or rows in them, for images that are in the cache."""


@dataclass(frozen=True)
class Decoded:
    """A table with its measured columns filled in, and the files that hold the pixels."""

    table: ImageTable
    shards: tuple[FileRecord, ...]
    num_decoded: int
    """Images that no earlier run had decoded."""


def decode_images(
    table: ImageTable,
    source: Source,
    cache: DecodedCache,
    folder: Path,
    *,
    form: ImageForm,
    limits: DecodeLimits,
    workers: int,
) -> Decoded:
    """Decode every file whose status is "decoded", and write the pixels to shards.

    Args:
        table: The files of the source. Its measured columns are filled in place.
        source: Where to read the files.
        cache: What earlier runs decoded, and where this run keeps its own.
        folder: Gets the shards, `images-00000.npy` and so on.
        form: What the pixels are brought to.
        limits: What is not decoded.
        workers: Number of processes, at most.

    Returns:
        The table, in which files that cannot be decoded have status "undecodable" and a reason.
    """
    rows = np.flatnonzero(table.has_status("decoded"))
    paths = table.path[rows]
    states = cache.state_of(source, paths)
    cache.forget_damaged()
    with closing(ShardWriter(cache, folder, form, SHARD_BYTES)) as writer:
        record = _Record(table, rows, cache, writer)
        for start in range(0, len(rows) if cache.has_images else 0, _BLOCK_ROWS):
            record.take_known(start, cache.find_files(states[start : start + _BLOCK_ROWS]))
        unread = np.flatnonzero(record.kind != _KNOWN)
        if len(unread):
            size = min(max_images_per_chunk(form), -(-len(unread) // (_CHUNKS_PER_WORKER * workers)))
            chunks: Iterator[Chunk] = run_chunks(
                Decoding(form, limits, cache.folder, cache.database if cache.has_images else None),
                _cut_chunks(source, paths, unread, size=size),
                workers=min(workers, -(-len(unread) // size)),
            )
            with Progress("ingest: decoding", len(unread)) as progress:
                for chunk in chunks:
                    end = progress.num_done + len(chunk.digests)
                    record.add_chunk(unread[progress.num_done : end], chunk)
                    progress.advance(len(chunk.digests))
        shards = record.finish()
    cache.record_files(states[record.kind != _FAILED], table.sha256[rows[record.kind != _FAILED]])
    return Decoded(table, shards, int((record.kind == _NEW).sum()))


def _cut_chunks(
    source: Source, paths: npt.NDArray[np.object_], wanted: Rows, *, size: int
) -> Iterator[list[LocatedFile]]:
    for start in range(0, len(wanted), size):
        yield [LocatedFile(path, source.locate(path)) for path in paths[wanted[start : start + size]]]


class _Record:
    """Fills in the table, and hands the pixels of all files to the writer in the order of the files."""

    def __init__(self, table: ImageTable, rows: Rows, cache: DecodedCache, writer: "ShardWriter") -> None:
        self.kind = np.full(len(rows), _NEW, dtype=np.uint8)
        self._table = table
        self._rows = rows
        self._cache = cache
        self._writer = writer
        self._shard = np.zeros(len(rows), dtype=np.int32)  # where the cache has the pixels that are known
        self._row = np.zeros(len(rows), dtype=np.int32)
        self._num_written = 0

    def take_known(self, start: int, known: Known) -> None:
        """Fill in what the cache knows of some files, from one position on."""
        positions = start + np.flatnonzero(known.is_known)
        self._note_known(positions, known)

    def _note_known(self, positions: Rows, known: Known) -> None:
        self.kind[positions] = _KNOWN
        self._shard[positions] = known.shard[known.is_known]
        self._row[positions] = known.row[known.is_known]
        self._fill_in(positions, known.sha256[known.is_known], known.features[known.is_known])

    def _fill_in(self, positions: Rows, digests: npt.NDArray[np.uint8], features: Features) -> None:
        rows = self._rows[positions]
        self._table.sha256[rows] = digests
        for name in FEATURES.names or ():
            getattr(self._table, name)[rows] = features[name]

    def add_chunk(self, positions: Rows, chunk: Chunk) -> None:
        """Fill in what a worker found, and write all pixels up to the chunk's last file."""
        for item, reason in chunk.reasons.items():
            row = self._rows[positions[item]]
            self._table.reason[row] = reason
            self._table.status[row] = STATUSES.index("undecodable")
            self.kind[positions[item]] = _FAILED
        is_new = np.zeros(len(positions), dtype=np.bool_)
        is_new[chunk.new] = True
        digests = np.frombuffer(b"".join(chunk.digests[item] for item in chunk.new), dtype=np.uint8)
        self._fill_in(positions[is_new], digests.reshape(-1, 32), chunk.features)
        # Files whose bytes the worker found in the cache: moved, renamed or touched.
        known = self._cache.find_images(
            [b"" if new else digest for new, digest in zip(is_new, chunk.digests, strict=True)]
        )
        self._note_known(positions[known.is_known], known)
        pixels = None
        if chunk.pixels is not None:
            pixels = np.fromfile(chunk.pixels, dtype=np.uint8).reshape(len(chunk.new), *self._writer.shape)
            chunk.pixels.unlink()
        self._write_until(positions.item(-1) + 1, pixels)

    def finish(self) -> tuple[FileRecord, ...]:
        """Write what is left, and return all shards."""
        self._write_until(len(self._rows), None)
        is_decoded = self.kind != _FAILED
        self._table.row[self._rows[is_decoded]] = np.arange(is_decoded.sum())
        return self._writer.finish()

    def _write_until(self, end: int, new: Pixels | None) -> None:
        """Write the pixels of all files before a position; those that are new stand in `new`, in order."""
        num_new = 0
        for run in _runs(self.kind[self._num_written : end], max_rows=self._writer.block_rows):
            positions = slice(self._num_written + run.start, self._num_written + run.stop)
            kind, rows = self.kind[positions.start], self._rows[positions]
            if kind == _FAILED:
                continue
            digests = [bytes(digest) for digest in self._table.sha256[rows]]
            features = np.empty(len(rows), dtype=FEATURES)
            for name in FEATURES.names or ():
                features[name] = getattr(self._table, name)[rows]
            if kind == _KNOWN:
                self._writer.add_known(digests, features, self._shard[positions], self._row[positions])
            else:
                assert new is not None, "only a chunk holds new images"
                self._writer.add(digests, features, new[num_new : num_new + len(rows)])
                num_new += len(rows)
        assert new is None or num_new == len(new), "every new image is written"
        self._num_written = end


def _runs(codes: npt.NDArray[np.uint8], *, max_rows: int) -> Iterator[slice]:
    """Yield the runs of equal codes, long ones in pieces."""
    breaks = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]
    for start, end in pairwise(breaks):
        for first in range(start, end, max_rows):
            yield slice(first, min(end, first + max_rows))


class ShardWriter:
    """Writes images one after the other to .npy files of bounded size.

    A file is begun when the first new image arrives. Until then its images are only noted: if all that go
    into it are known, it may be there already, whole.
    """

    def __init__(self, cache: DecodedCache, folder: Path, form: ImageForm, shard_bytes: int) -> None:
        self._cache = cache
        self._folder = folder
        self.shape = (form.height_px, form.width_px, form.num_channels)
        self._rows_per_shard = max(1, min(_MAX_ROWS, shard_bytes // form.num_bytes))
        self.block_rows = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // form.num_bytes, self._rows_per_shard))
        self._file: BinaryIO | None = None
        self._digests: list[bytes] = []
        self._features: list[Features] = []
        self._noted: list[tuple[Places, Places]] = []
        self._shards: list[FileRecord] = []

    def add(self, digests: Sequence[bytes], features: Features, images: Pixels) -> None:
        """Add new images (N, height, width, channels)."""
        for part in self._parts(len(digests)):
            self._begin()
            self._write(images[part])
            self._note(digests[part], features[part])

    def add_known(
        self,
        digests: Sequence[bytes],
        features: Features,
        shard: Places,
        row: Places,
    ) -> None:
        """Add images that are in the cache, by shard and row there."""
        for part in self._parts(len(digests)):
            if self._file is None:
                self._noted.append((shard[part], row[part]))
            else:
                self._write(self._cache.read_pixels(shard[part], row[part]))
            self._note(digests[part], features[part])

    def _parts(self, num_images: int) -> Iterator[slice]:
        """Yield the images that fit into one shard after the other."""
        start = 0
        while start < num_images:
            room = self._rows_per_shard - len(self._digests)
            part = slice(start, min(num_images, start + room))
            yield part
            start = part.stop
            if len(self._digests) == self._rows_per_shard:
                self._finish_shard()

    def _note(self, digests: Sequence[bytes], features: Features) -> None:
        self._digests += digests
        self._features.append(features)

    def _begin(self) -> None:
        """Open the file, and write what was only noted so far."""
        if self._file is not None:
            return
        self._file = self._partial.open("wb", buffering=0)
        self._file.write(_npy_header(self._rows_per_shard, self.shape))
        for shard, row in self._noted:
            self._write(self._cache.read_pixels(shard, row))
        self._noted = []

    @property
    def _partial(self) -> Path:
        return self._cache.folder / "shard.partial"

    def _write(self, images: Pixels) -> None:
        assert self._file is not None, "a file is begun before it is written to"
        view = np.ascontiguousarray(images).data.cast("B")
        while len(view):  # the system may write less than all of it
            view = view[self._file.write(view) :]

    def _finish_shard(self) -> None:
        if not self._digests:
            return
        found = self._cache.find_shard(self._digests) if self._file is None else None
        if found is None:
            self._begin()
            assert self._file is not None
            # NumPy pads the header, so that a smaller number of rows fits as well.
            self._file.seek(0)
            self._file.write(_npy_header(len(self._digests), self.shape))
            self._file.close()
            found = self._cache.add_shard(self._partial, self._digests, np.concatenate(self._features))
        name = f"images-{len(self._shards):05}.npy"
        _link(self._cache.folder / found.name, self._folder / name)
        self._shards.append(found.model_copy(update={"name": name}))
        self._file, self._digests, self._features, self._noted = None, [], [], []

    def finish(self) -> tuple[FileRecord, ...]:
        """Finish the last shard and return the records of all."""
        self._finish_shard()
        return tuple(self._shards)

    def close(self) -> None:
        """Close the file that a run did not come to finish."""
        if self._file is not None:
            self._file.close()


def _npy_header(num_rows: int, shape: tuple[int, ...]) -> bytes:
    """Return what stands in an .npy file before its rows, uint8 of a shape each."""
    file = io.BytesIO()
    descr = npy.dtype_to_descr(np.dtype(np.uint8))
    npy.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": (num_rows, *shape)})
    return file.getvalue()


def _link(source: Path, path: Path) -> None:
    """Give a file a second name; copy it where the file system has no hard links."""
    try:
        os.link(source, path)
    except OSError:
        shutil.copyfile(source, path)
