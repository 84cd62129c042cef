"""What earlier runs decoded: pixel shards and, in one SQLite file, what is known of every image in them.

Two questions are answered without touching an image: which bytes does this file hold (by its path and what
the file system says of it), and what came of these bytes (shard, row, features). Everything else is a detail:
the cache may be deleted at any time, and every answer is checked before it is used. A shard and its features
are compared with their SHA-256, a row of the database with a checksum, a damaged database is dropped.

A file's state is trusted only if nobody can have changed the file since it was read. Nobody can set a file's
change time, so a file that was written, replaced or moved has another one, with one exception: clocks tick,
every few milliseconds or every second, and a file that changes twice within a tick shows one time. So, as in
Git's index ("racy git"), a state is recorded only if it is older than the tick in which this run began to
look. File systems' clocks may differ: files on another one than the cache's are read every time.
"""

import errno
import fcntl
import hashlib
import os
import shutil
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryFile

import cv2
import numpy as np
import numpy.typing as npt
import PIL
import simplejpeg
from filelock import FileLock, Timeout

import stages
from schemas.shared.manifest import FileRecord, ImageForm
from stages.images.decode import DecodeLimits
from stages.images.resize import Pixels
from stages.images.sources import Source
from stages.ingest.measure import FEATURES, Features
from stages.shared.files import sha256_of
from stages.shared.paths import find_scratch

DECODING_CODE = (
    "images/decode.py",
    "images/headers.py",
    "images/heif.py",
    "images/hevc.py",
    "images/jpeg.py",
    "images/webp.py",
    "images/tiff.py",
    "images/leftovers.py",
    "images/to_rgb.py",
    "images/resize.py",
    "ingest/measure.py",
    "ingest/appearance.py",
)
"""The code that pixels and features depend on. A change in it, and in no other code, empties the cache."""

_NUM_KEPT = 3
"""Caches that stay, the latest used: for as many image forms, to go back and forth between."""

_THREADS = 2
"""That compare shards with their SHA-256; hashing happens outside Python's lock."""

_BUSY_SECONDS = 60.0
"""How long a query waits for the other side: the workers read while the stage writes."""

_TABLES = (
    "CREATE TABLE files (state BLOB PRIMARY KEY, sha256 BLOB NOT NULL) STRICT, WITHOUT ROWID",
    (
        "CREATE TABLE shards (id INTEGER PRIMARY KEY, contents BLOB NOT NULL, sha256 BLOB NOT NULL, "
        "num_bytes INTEGER NOT NULL, features BLOB NOT NULL, features_sha256 BLOB NOT NULL) STRICT"
    ),
    (
        "CREATE TABLE images (sha256 BLOB PRIMARY KEY, shard INTEGER NOT NULL, row INTEGER NOT NULL, "
        "checksum BLOB NOT NULL) STRICT, WITHOUT ROWID"
    ),
)

_FIND_IMAGE = "SELECT shard, row, checksum FROM images WHERE sha256 = ?"
_FACTS = struct.Struct("<2Q3q")
_PLACE = struct.Struct("<2q")
DAMAGED = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What SQLite raises for a damaged file; the second for damage to its own texts, as a table's name."""

_IN_DOUBT = bytes(16)

States = npt.NDArray[np.uint8]
"""(num_files, 16), each a hash of what the file system says of a file; zeros where it does not say enough."""


@dataclass(frozen=True)
class Known:
    """What the cache holds of some images, in columns of one length."""

    is_known: npt.NDArray[np.bool_]
    sha256: npt.NDArray[np.uint8]
    """(N, 32)"""

    shard: npt.NDArray[np.int32]
    row: npt.NDArray[np.int32]
    features: Features


@contextmanager
def open_cache(form: ImageForm, limits: DecodeLimits, *, private: Path) -> Iterator["DecodedCache"]:
    """Yield the cache of one image form.

    Args:
        form: Of the images.
        limits: What is not decoded.
        private: A folder for this run alone, used where there is no DVC repository to keep pixels in, where
            another run is at work on them, or where no lock would tell that one is.

    Raises:
        OSError: The database cannot be read or written.
    """
    scratch = find_scratch()
    shared = None if scratch is None else scratch / "decoded" / name_version(form, limits)
    lock = None if shared is None else _lock(shared)
    folder = private if shared is None or lock is None else shared
    try:
        with closing(DecodedCache(folder)) as cache:
            yield cache
        if folder == private:
            shutil.rmtree(private)
        else:
            _remove_old_caches(folder)
    except sqlite3.Error as error:
        raise OSError(errno.EIO, f"what is decoded cannot be kept track of ({error})", folder) from None
    finally:
        if lock is not None:
            lock.release()


def _lock(folder: Path) -> FileLock | None:
    """Return the lock of a cache; None, after saying why, if it cannot be had."""
    folder.mkdir(parents=True, exist_ok=True)
    # Not the lock that stands in where there is none: one that a killed run leaves would stay for good.
    lock = FileLock(folder.with_suffix(".lock"), fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print("ingest: another run is decoding these images, so this one decodes them as well")
        return None
    except OSError as error:
        reason = error.strerror or error
        print(f"ingest: {lock.lock_file}: cannot lock ({reason}); every run decodes all images again")
        return None
    return lock


class DecodedCache:
    """One folder of shards with its database."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        for leftover in folder.glob("*.partial"):
            leftover.unlink()
        # The system sets the time, so it is the file system's clock, cut to the ticks of its files' times.
        os.utime(folder)
        status = folder.stat()
        self._began_ns, self._device = status.st_mtime_ns, status.st_dev
        has_locks = _has_locks(folder)
        path = folder / "images.sqlite"
        self.database = path if has_locks else None
        """What workers may read while this process writes; nothing where no lock would keep them apart."""
        try:
            self._connection = _open(path, has_locks=has_locks)
        except DAMAGED as error:  # or of another version
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                raise
            for file in folder.iterdir():
                file.unlink()
            self._connection = _open(path, has_locks=has_locks)
        found = self._connection.execute("SELECT id, sha256, num_bytes FROM shards").fetchall()
        self._names = {number: _name_shard(sha256) for number, sha256, _ in found}
        # Features are asked for in the order of the shards; holding all would double the table's memory.
        self._read_features = lru_cache(maxsize=4)(self._load_features)
        self._hashing = ThreadPoolExecutor(_THREADS)
        self._checks = {
            number: self._hashing.submit(_is_whole, folder / self._names[number], num_bytes)
            for number, _, num_bytes in found
        }
        self._kept: set[int] = set()

    @property
    def num_bytes(self) -> int:
        """Return how much earlier runs left on the disk, whole or not."""
        return sum(path.stat().st_size for path in self.folder.glob("*.npy"))

    @property
    def has_images(self) -> bool:
        """Return whether there is anything to find: a first run asks a hundred thousand times less."""
        return bool(self._names)

    def forget_damaged(self) -> None:
        """Wait until every shard was compared with its SHA-256, and forget those that are not whole."""
        for number, check in self._checks.items():
            features, digest = self._connection.execute(
                "SELECT features, features_sha256 FROM shards WHERE id = ?", (number,)
            ).fetchone()
            if not check.result() or hashlib.sha256(features).digest() != digest:
                with self._connection:
                    self._connection.execute("DELETE FROM images WHERE shard = ?", (number,))
                    self._connection.execute("DELETE FROM shards WHERE id = ?", (number,))
                del self._names[number]
        self._checks = {}

    def state_of(self, source: Source, paths: Iterable[str]) -> States:
        """Return a key for the state that each file is in now, zeros where that is in doubt.

        Ask before any of the files is read.
        """
        states = bytearray()
        facts, facts_of = b"", None  # of an archive, all members have the same
        for path in paths:
            status = source.stat(path)
            if (
                status is None
                or status.st_dev != self._device
                or max(status.st_mtime_ns, status.st_ctime_ns) >= self._began_ns
            ):
                states += _IN_DOUBT
                continue
            if status is not facts_of:
                facts_of = status
                facts = _FACTS.pack(
                    status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
                )
            name = path.encode("utf-8", "surrogatepass")
            states += hashlib.blake2b(facts + name, digest_size=len(_IN_DOUBT)).digest()
        return np.frombuffer(states, dtype=np.uint8).reshape(-1, len(_IN_DOUBT))

    def find_files(self, states: States) -> Known:
        """Return what is known of files that are in the same state as when they were read."""
        query = "SELECT sha256 FROM files WHERE state = ?"
        digests: list[bytes] = []
        for state in map(bytes, states):
            found = state != _IN_DOUBT and self._connection.execute(query, (state,)).fetchone()
            digests.append(found[0] if found else b"")
        return self.find_images(digests)

    def find_images(self, digests: Sequence[bytes]) -> Known:
        """Return what is known of images by the SHA-256 of their files; an empty one is never known."""
        num_images = len(digests)
        known = Known(
            np.zeros(num_images, dtype=np.bool_),
            np.zeros((num_images, 32), dtype=np.uint8),
            np.zeros(num_images, dtype=np.int32),
            np.zeros(num_images, dtype=np.int32),
            np.zeros(num_images, dtype=FEATURES),
        )
        for item, digest in enumerate(digests):
            found = digest and find_image(self._connection, digest)
            if found:
                known.is_known[item] = True
                known.sha256[item] = np.frombuffer(digest, dtype=np.uint8)
                known.shard[item], known.row[item] = found
        for shard in np.unique(known.shard[known.is_known]).tolist():
            chosen = known.is_known & (known.shard == shard)
            known.features[chosen] = self._read_features(shard)[known.row[chosen]]
        return known

    def _load_features(self, shard: int) -> Features:
        query = "SELECT features FROM shards WHERE id = ?"
        (data,) = self._connection.execute(query, (shard,)).fetchone()
        return np.frombuffer(data, dtype=FEATURES)

    def read_pixels(self, shard: npt.NDArray[np.int32], row: npt.NDArray[np.int32]) -> Pixels:
        """Return images (N, height, width, channels) by their shards and rows."""
        if len(row) and (shard == shard[0]).all() and (np.diff(row) == 1).all():
            # Nearly always: neighbours, which need no copy on their way from one file to another.
            images = np.load(self.folder / self._names[shard.item(0)], mmap_mode="r")
            return np.asarray(images[row.item(0) : row.item(-1) + 1])
        pixels: Pixels | None = None
        for number in np.unique(shard).tolist():
            chosen = shard == number
            # Mapped for as long as it is copied from: pages that stay mapped count as memory of ours.
            images = np.load(self.folder / self._names[number], mmap_mode="r")
            if pixels is None:
                pixels = np.empty((len(shard), *images.shape[1:]), dtype=np.uint8)
            pixels[chosen] = images[row[chosen]]
        assert pixels is not None, "there is an image to read"
        return pixels

    def find_shard(self, digests: Sequence[bytes]) -> FileRecord | None:
        """Return the shard that holds exactly the images of these files in this order, if there is one."""
        query = "SELECT id, sha256, num_bytes FROM shards WHERE contents = ?"
        found = self._connection.execute(query, (_contents(digests),)).fetchone()
        if found is None:
            return None
        number, sha256, num_bytes = found
        self._kept.add(number)
        return FileRecord(name=_name_shard(sha256), num_bytes=num_bytes, sha256=sha256.hex())

    def add_shard(self, written: Path, digests: Sequence[bytes], features: Features) -> FileRecord:
        """Take over a file of pixels, and record what its rows are.

        From then on a run that is stopped has not decoded these images in vain.
        """
        sha256, num_bytes = sha256_of(written), written.stat().st_size
        name = _name_shard(bytes.fromhex(sha256))
        written.replace(self.folder / name)
        with self._connection:
            data = features.tobytes()
            shard = self._connection.execute(
                "INSERT INTO shards (contents, sha256, num_bytes, features, features_sha256) "
                "VALUES (?, ?, ?, ?, ?)",
                (_contents(digests), bytes.fromhex(sha256), num_bytes, data, hashlib.sha256(data).digest()),
            ).lastrowid
            assert shard is not None
            # Sorted, so that neighbours in the tree are written together.
            self._connection.executemany(
                "INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?)",
                (
                    (digest, shard, row, _checksum(digest, shard, row))
                    for digest, row in sorted(zip(digests, range(len(digests)), strict=True))
                ),
            )
        self._names[shard] = name
        self._kept.add(shard)
        return FileRecord(name=name, num_bytes=num_bytes, sha256=sha256)

    def record_files(self, states: States, digests: npt.NDArray[np.uint8]) -> None:
        """Record which bytes (N, 32) the files hold that were in these states, and forget all other files."""
        is_certain = states.any(axis=1)
        with self._connection:
            self._connection.execute("DELETE FROM files")
            self._connection.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?)",
                zip(map(bytes, states[is_certain]), map(bytes, digests[is_certain]), strict=True),
            )

    def drop_others(self) -> None:
        """Remove the shards that this run neither wrote nor used."""
        with self._connection:
            for number in set(self._names) - self._kept:
                self._connection.execute("DELETE FROM images WHERE shard = ?", (number,))
                self._connection.execute("DELETE FROM shards WHERE id = ?", (number,))
        kept = {self._names[number] for number in self._kept}
        for path in self.folder.glob("*.npy"):
            if path.name not in kept:
                path.unlink()

    def close(self) -> None:
        """Close the database."""
        self._hashing.shutdown(cancel_futures=True)
        self._connection.close()


def _has_locks(folder: Path) -> bool:
    """Return whether SQLite can lock files there. It takes ENOLCK for others' lock, and waits in vain."""
    with TemporaryFile(dir=folder) as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def _open(database: Path, *, has_locks: bool) -> sqlite3.Connection:
    """Return a connection to a database that has our tables, after making them if there are none.

    SQLite's own check finds a broken structure and, because the tables are strict, values of another type.
    Bits that flip within a value are found by checksums where the value is used.

    Raises:
        DAMAGED: The database is not whole, or not of this version.
    """
    connection = connect(database, has_locks=has_locks)
    try:
        found = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        if not found:
            for table in _TABLES:
                connection.execute(table)
        elif found != [(table,) for table in _TABLES]:
            raise sqlite3.DatabaseError("other tables")
        if connection.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("broken structure")
    except DAMAGED:
        connection.close()
        raise
    return connection


def connect(database: Path, *, has_locks: bool = True) -> sqlite3.Connection:
    """Return a connection to a cache's database; without locks, only one may exist at a time."""
    address = f"{database.absolute().as_uri()}?nolock={0 if has_locks else 1}"
    return sqlite3.connect(address, timeout=_BUSY_SECONDS, uri=True)


def find_image(connection: sqlite3.Connection, digest: bytes) -> tuple[int, int] | None:
    """Return shard and row of an image by the SHA-256 of its file, unless the record is damaged."""
    found = connection.execute(_FIND_IMAGE, (digest,)).fetchone()
    if found is None:
        return None
    shard, row, checksum = found
    return (shard, row) if checksum == _checksum(digest, shard, row) else None


def _checksum(digest: bytes, shard: int, row: int) -> bytes:
    """Return a checksum of a row of the database: SQLite itself does not notice a flipped bit."""
    return hashlib.blake2b(digest + _PLACE.pack(shard, row), digest_size=8).digest()


def _contents(digests: Sequence[bytes]) -> bytes:
    """Return what tells which images a shard holds, in which order."""
    return hashlib.sha256(b"".join(digests)).digest()


def _name_shard(sha256: bytes) -> str:
    return f"{sha256.hex()}.npy"


def _is_whole(path: Path, num_bytes: int) -> bool:
    try:
        return path.stat().st_size == num_bytes and sha256_of(path) == path.stem
    except OSError:
        return False


def name_version(form: ImageForm, limits: DecodeLimits) -> str:
    """Return a name for all that pixels and features depend on, other than the image files."""
    root = Path(stages.__path__[0])
    facts = [
        form.model_dump_json(),
        repr(limits),
        *(library.__version__ for library in (cv2, np, PIL, simplejpeg)),
        _version_of("pillow-heif"),
        *((root / name).read_text(encoding="utf-8") for name in DECODING_CODE),
    ]
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:16]


def _version_of(library: str) -> str:
    """Return the version of an optional library, without importing it; empty where it is not installed."""
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def _remove_old_caches(folder: Path) -> None:
    """Remove the caches beside one that were not used for longest."""
    os.utime(folder)
    caches = sorted(
        (path for path in folder.parent.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime
    )
    for path in caches[:-_NUM_KEPT]:
        shutil.rmtree(path, ignore_errors=True)
        path.with_suffix(".lock").unlink(missing_ok=True)
