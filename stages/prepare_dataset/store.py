"""Decoded pixels, kept from one run to the next by the SHA-256 of the files they come from.

DVC removes a stage's outputs before it runs the stage, so what a run can start from lies elsewhere: in
`.dvc/tmp/darkroom/decoded/`, a folder for each form of images and version of the code that decodes. It holds
packs: an .npy file of pixels and a table of what was measured of them. A pack is written beside its name and
renamed when it is whole, so that a run killed at any moment leaves whole packs behind, which the next run
goes on from. Both files are named for their SHA-256 (pixels: by blocks): what is damaged is not used.

After a run the packs are the shards it published, as further names of the same files, so that they take no
room until DVC removes the outputs.
"""

import functools
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

import stages.images
import stages.prepare_dataset
from schemas.shared.image import ImageForm
from schemas.shared.manifest import ShardRecord
from stages.images.decode import DecodeLimits
from stages.images.resize import Pixels
from stages.prepare_dataset.fingerprint import MEASURED, Measured
from stages.prepare_dataset.known import PLACE, Known, Places, write_known
from stages.prepare_dataset.open_packs import THREADS, Pack, PackOpening
from stages.prepare_dataset.pack import (
    SHARD_BYTES,
    RowsReader,
    RowsWriter,
    npy_header,
    overwrite_rows,
    rows_per_shard,
    shape_of,
)
from stages.prepare_dataset.shards import plan_shards
from stages.shared.block_hash import hash_again, join_blocks
from stages.shared.dvc_repository import find_scratch
from stages.shared.files import describe_shard, sha256_of

Rows = npt.NDArray[np.int64]

_NUM_KEPT = 3
"""Folders that stay, the latest used: for as many forms of images, to go back and forth between."""

_GATHER_BYTES = 2**22
_ROWS_PER_BLOCK = 4096


@contextmanager
def open_store(form: ImageForm, limits: DecodeLimits, *, private: Path) -> Iterator["PixelStore"]:
    """Yield the pixels that earlier runs decoded to a form, and to which this run adds.

    Args:
        form: Of the images.
        limits: What is not decoded.
        private: A folder for this run alone, where there is no repository to keep pixels in, or another run
            is at work on them.
    """
    scratch = find_scratch()
    if scratch is None:
        with closing(PixelStore(private, form)) as store:
            yield store
        shutil.rmtree(private)
        return
    folder = scratch / "decoded" / _name_version(form, limits)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print("prepare-dataset: another run is at work on these images, so they are decoded once more")
        folder = private
    try:
        with closing(PixelStore(folder, form)) as store:
            yield store
        if folder == private:
            shutil.rmtree(private)
        else:
            _remove_old_stores(folder)
    finally:
        lock.release()


class PixelStore:
    """The packs of one form of images, and those that this run adds to them."""

    def __init__(self, folder: Path, form: ImageForm, *, shard_bytes: int = SHARD_BYTES) -> None:
        self._folder = folder
        self._form = form
        self._per_shard = rows_per_shard(form, shard_bytes=shard_bytes)
        folder.mkdir(parents=True, exist_ok=True)
        self._opening = PackOpening(folder, form)
        self._writer: RowsWriter | None = None
        self._rows: BinaryIO | None = None
        self.seen = folder / "seen"
        """Where it is noted which files need not be read."""

        self.details = folder / "details.partial"
        """Where this run keeps what it only asks for now and then."""

    @functools.cached_property
    def _opened(self) -> tuple[list[Pack], list[Path]]:
        return self._opening.wait()

    @property
    def _packs(self) -> list[Pack]:
        return self._opened[0]

    @functools.cached_property
    def known(self) -> Path:
        """Return a file of KNOWN, in the order of their keys, for the processes that decode to look up."""
        _, tables = self._opened
        path = self._folder / "known.npy"
        write_known(path, tables)
        return path

    @property
    def num_bytes(self) -> int:
        """Return how much earlier runs left on the disk, whole or not."""
        return sum(path.stat().st_size for path in self._folder.glob("*.npy"))

    def read_known(self) -> Known:
        """Return the images that need not be decoded."""
        return np.asarray(np.load(self.known, mmap_mode="r"))

    def append(self, measured: Measured, images: Pixels) -> Places:
        """Add images (N, height, width, channels), and return their places."""
        places = np.empty(len(images), dtype=PLACE)
        start = 0
        while start < len(images):
            if self._writer is None or self._rows is None:
                self._writer = RowsWriter(
                    self._folder / "pixels.partial", self._form, num_rows=self._per_shard
                )
                self._rows = (self._folder / "measured.partial").open("w+b")
            room = self._per_shard - self._writer.num_rows
            end = min(len(images), start + room)
            places["pack"][start:end] = len(self._packs)
            places["row"][start:end] = np.arange(end - start) + self._writer.num_rows
            self._writer.append(images[start:end])
            self._rows.write(measured[start:end].tobytes())
            if end - start == room:
                self.finish_pack()
            start = end
        return places

    def close(self) -> None:
        """Let go of what is not finished."""
        self._opening.close()
        self._let_go_of_pack()

    def finish_pack(self) -> None:
        """Give the pack that is being written its name; all that was appended can be read afterwards."""
        if self._writer is None or self._rows is None:
            return
        self._writer.close()
        digests = self._writer.digests()
        name = join_blocks(digests)
        pixels = self._folder / "pixels.partial"
        path = self._folder / f"{name}.npy"
        pixels.replace(path)
        self._write_table(name, functools.partial(_read_rows, self._rows), np.arange(self._writer.num_rows))
        self._packs.append(Pack(path, digests))
        self._let_go_of_pack()

    def gather(self, places: Places) -> Iterator[Pixels]:
        """Yield the images at some places, in blocks (N, height, width, channels) of bounded size.

        A block holds until the next one is asked for.
        """
        shape = shape_of(self._form)
        num_rows = max(1, _GATHER_BYTES // int(np.prod(shape)))
        room = np.empty((min(num_rows, len(places)), *shape), dtype=np.uint8)
        for start in range(0, len(places), num_rows):
            wanted = places[start : start + num_rows]
            block = room[: len(wanted)]
            for pack in np.unique(wanted["pack"]).tolist():
                chosen = np.flatnonzero(wanted["pack"] == pack)
                rows = wanted["row"][chosen]
                breaks = np.flatnonzero((np.diff(rows) != 1) | (np.diff(chosen) != 1)) + 1
                with RowsReader(self._packs[pack].path) as reader:
                    for run in np.split(np.arange(len(rows)), breaks):
                        first, last = chosen.item(run[0]), chosen.item(run[-1])
                        reader.read_into(block[first : last + 1], first=rows.item(run[0]))
            yield block

    def publish(self, folder: Path, places: Places, *, left_out: Places) -> tuple[ShardRecord, ...]:
        """Write images to `images-00000.npy`, `images-00001.npy`, ... and describe the files.

        A pack that is a shard already gets a further name. One that differs from a shard in few images is
        made into it, for the system takes four times as long to write a file as to read and hash it: whoever
        is stopped meanwhile has lost the pack, and decodes its images again.

        Args:
            folder: Where the shards go.
            places: Of the images, in their order.
            left_out: Of further images that are asked for later.
        """
        paths = [pack.path for pack in self._packs]
        shards = plan_shards(paths, places, per_shard=self._per_shard, left_out=left_out)

        def publish_shard(number: int) -> ShardRecord:
            path = folder / f"images-{number:05}.npy"
            shard = shards[number]
            if shard.pack is None:
                return describe_shard(path, self._write_rows(path, shard.places))
            source, digests = self._packs[shard.pack]
            if len(shard.changed):
                images = self.gather(shard.places[shard.changed])
                digests = hash_again(source, digests, overwrite_rows(source, shard.changed, images))
            _link(source, path)
            return describe_shard(path, digests)

        with ThreadPoolExecutor(THREADS) as threads:
            return tuple(threads.map(publish_shard, range(len(shards))))

    def keep(
        self,
        folder: Path,
        shards: tuple[ShardRecord, ...],
        *,
        measured: Callable[[Rows], Measured],
        used: Rows,
        left_out: Rows,
        left_out_places: Places,
    ) -> None:
        """Keep what was published, and what was decoded and left out, and remove all else.

        Args:
            folder: Where the shards are.
            shards: What `publish` returned.
            measured: Returns what is known of some images.
            used: The images in the shards, in their order.
            left_out: The other images.
            left_out_places: Where those are.
        """
        kept = set()
        start = 0
        for shard in shards:
            path = self._folder / f"{shard.blocks_sha256}.npy"
            if not path.exists():
                _link(folder / shard.name, path)
            num_rows = min(self._per_shard, len(used) - start)
            kept |= {path, self._write_table(shard.blocks_sha256, measured, used[start : start + num_rows])}
            start += num_rows
        if len(left_out):
            partial = self._folder / "pixels.partial"
            path = self._folder / f"{join_blocks(self._write_rows(partial, left_out_places))}.npy"
            partial.replace(path)
            kept |= {path, self._write_table(path.stem, measured, left_out)}
        for path in {*self._folder.glob("*.npy"), *self._folder.glob("*.partial")} - kept:
            path.unlink()

    def _let_go_of_pack(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._rows is not None:
            self._rows.close()
            self._rows = None

    def _write_table(self, name: str, measured: Callable[[Rows], Measured], rows: Rows) -> Path:
        """Write what is known of a pack's images, some at a time, and return the file."""
        partial = self._folder / "table.partial"
        with partial.open("wb") as file:
            file.write(npy_header(len(rows), MEASURED))
            for start in range(0, len(rows), _ROWS_PER_BLOCK):
                file.write(measured(rows[start : start + _ROWS_PER_BLOCK]).tobytes())
        return partial.replace(self._folder / f"{name}.{sha256_of(partial)}.table.npy")

    def _write_rows(self, path: Path, places: Places) -> bytes:
        """Write images to a file, and return the SHA-256 of each of its blocks."""
        with RowsWriter(path, self._form, num_rows=len(places)) as writer:
            for block in self.gather(places):
                writer.append(block)
        return writer.digests()


def _read_rows(file: BinaryIO, rows: Rows) -> Measured:
    """Return rows of MEASURED that follow one another in a file."""
    file.seek(rows.item(0) * MEASURED.itemsize)
    return np.frombuffer(file.read(len(rows) * MEASURED.itemsize), dtype=MEASURED)


def _name_version(form: ImageForm, limits: DecodeLimits) -> str:
    """Return a name for all that pixels depend on but the files: the form, and the code that decodes."""
    code = [
        path.read_bytes()
        for package in (stages.images, stages.prepare_dataset)
        for path in sorted(Path(package.__path__[0]).rglob("*.py"))
    ]
    facts = [form.model_dump_json(), repr(limits), cv2.__version__, np.__version__]
    digest = hashlib.sha256(b"\0".join([*(fact.encode() for fact in facts), *code]))
    return digest.hexdigest()[:16]


def _remove_old_stores(folder: Path) -> None:
    """Remove the stores beside one that were not used for longest."""
    os.utime(folder)
    stores = sorted((path for path in folder.parent.iterdir() if path.is_dir()), key=_last_used)
    for path in stores[:-_NUM_KEPT]:
        shutil.rmtree(path, ignore_errors=True)
        path.with_suffix(".lock").unlink(missing_ok=True)


def _last_used(path: Path) -> float:
    return path.stat().st_mtime


def _link(source: Path, path: Path) -> None:
    """Give a file a second name; copy it where the file system has no such thing."""
    try:
        os.link(source, path)
    except OSError:
        partial = path.with_suffix(".partial")
        shutil.copyfile(source, partial)
        partial.replace(path)
