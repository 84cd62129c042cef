"""The table of images: one row for every file of the source, one NumPy array for every column.

ingest writes it, prepare-dataset reads it. On disk it is one safetensors file: named arrays, the same bytes
for the same table, nothing unpickled.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from schemas.ingest.ingested import Ingested
from schemas.shared.manifest import FileRecord
from stages.shared.errors import InputError
from stages.shared.files import MEND, check_file, describe_file, read_sealed_json
from stages.shared.paths import MAKE_IMAGES

TABLE_NAME = "table.safetensors"

FileStatus = Literal[
    "decoded", "undecodable", "not_an_image", "outside_classes", "not_in_table", "leak", "audit"
]
"""What became of a file. prepare-dataset gives the last two, to images that it leaves out."""

STATUSES: tuple[FileStatus, ...] = get_args(FileStatus)

Texts = npt.NDArray[np.object_]
"""Array of str."""

Rows = npt.NDArray[np.int64] | npt.NDArray[np.bool_]
"""Row numbers, or a mask over all rows."""


@dataclass(frozen=True, slots=True)
class ImageTable:
    """Files of a source in columns of one length, sorted by their paths as printed.

    A million rows take 200 MB and the text of their paths. Every step of ingest and prepare-dataset takes a
    table and returns one, or returns an array with an item for each row.
    """

    path: Texts
    """Path in the source, with forward slashes."""

    label: npt.NDArray[np.int32]
    """Position in the classes; -1 for a file outside the class folders."""

    split: npt.NDArray[np.int8]
    """Position in SPLIT_NAMES of the split that the source gives the file; -1 where it gives none."""

    group: Texts
    """What the column group of a table of labels says; empty where it says nothing."""

    status: npt.NDArray[np.uint8]
    """Position in STATUSES."""

    reason: Texts
    """Why the file was not decoded, or is left out; empty for an image that is used."""

    row: npt.NDArray[np.int64]
    """Row of the image in the pixel shards; -1 for a file that was not decoded.

    The columns below are measured while decoding, and zero for such a file.
    """

    sha256: npt.NDArray[np.uint8]
    """(N, 32), of the file's bytes. Not of its pixels: those depend on the decoder's version and on
    dataset.color, and the split, which hashes this, must not."""

    phash: npt.NDArray[np.uint64]
    """Which of the 64 lowest frequencies are above the median; near duplicates differ in few bits."""

    is_flat: npt.NDArray[np.bool_]
    """Whether there is too little contrast for the perceptual hash to mean anything."""

    std: npt.NDArray[np.float32]
    """Standard deviation at 32 x 32 px, in grey levels."""

    brightness: npt.NDArray[np.float32]
    """Mean grey level, from 0 to 255."""

    dark_end: npt.NDArray[np.uint8]
    """Grey level that 1 % of the pixels do not exceed."""

    bright_end: npt.NDArray[np.uint8]
    """Grey level that 99 % of the pixels do not exceed."""

    entropy: npt.NDArray[np.float32]
    """Of the grey levels, in bits, from 0 to 8."""

    sharpness: npt.NDArray[np.float32]
    """How steep the steepest edges are, from 0 to 1: the part of one's height between two pixels."""

    height_px: npt.NDArray[np.uint32]
    """Of the image in its file, upright."""

    width_px: npt.NDArray[np.uint32]

    bits: npt.NDArray[np.uint8]
    """Of a channel in the file, as far as decoding gives them: of more than 8, depth16 chose grey levels."""

    frequencies: npt.NDArray[np.int8]
    """(N, 64), those of the perceptual hash without brightness and contrast: a vector of length 127."""

    sums: npt.NDArray[np.int64]
    """(N, 3), of the values of each channel after resizing. Integers, so that no order of adding matters."""

    squares: npt.NDArray[np.int64]
    """(N, 3), of the squares of those values."""

    def __len__(self) -> int:
        return len(self.path)

    def take(self, rows: Rows) -> "ImageTable":
        """Return some of the rows, in the order of `rows`."""
        return ImageTable(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def with_columns(self, **columns: npt.NDArray[Any]) -> "ImageTable":
        """Return the table with some columns replaced."""
        return replace(self, **columns)

    def has_status(self, status: FileStatus) -> npt.NDArray[np.bool_]:
        """Return a mask (N,) of the rows of one status."""
        return np.asarray(self.status == STATUSES.index(status))

    def leave_out(self, reasons: Mapping[int, str], status: Literal["leak", "audit"]) -> "ImageTable":
        """Return the table with some images left out, by row, each for a reason."""
        if not reasons:
            return self
        statuses, texts = self.status.copy(), self.reason.copy()
        statuses[list(reasons)] = STATUSES.index(status)
        texts[list(reasons)] = list(reasons.values())
        return self.with_columns(status=statuses, reason=texts)


_COLUMNS: dict[str, tuple[str, tuple[int, ...]]] = {
    "label": ("<i4", ()),
    "split": ("<i1", ()),
    "status": ("<u1", ()),
    "row": ("<i8", ()),
    "sha256": ("<u1", (32,)),
    "phash": ("<u8", ()),
    "is_flat": ("?", ()),
    "std": ("<f4", ()),
    "brightness": ("<f4", ()),
    "dark_end": ("<u1", ()),
    "bright_end": ("<u1", ()),
    "entropy": ("<f4", ()),
    "sharpness": ("<f4", ()),
    "height_px": ("<u4", ()),
    "width_px": ("<u4", ()),
    "bits": ("<u1", ()),
    "frequencies": ("<i1", (64,)),
    "sums": ("<i8", (3,)),
    "squares": ("<i8", (3,)),
}
_TEXTS = ("path", "group", "reason")


def make_table(num_rows: int, **columns: npt.NDArray[Any]) -> ImageTable:
    """Return a table with some columns given; the others are empty, zero or, for codes and rows, -1."""
    arrays: dict[str, npt.NDArray[Any]] = {name: np.full(num_rows, "", dtype=object) for name in _TEXTS}
    for name, (dtype, shape) in _COLUMNS.items():
        arrays[name] = np.zeros((num_rows, *shape), dtype=dtype)
        if name in ("label", "split", "row"):
            arrays[name].fill(-1)
    arrays |= columns
    assert all(len(array) == num_rows for array in arrays.values()), "columns have one length"
    return ImageTable(**arrays)


def write_table(folder: Path, table: ImageTable) -> FileRecord:
    """Write a table as one safetensors file and describe the file.

    A column of text becomes two arrays: its UTF-8 bytes, one text after the other, and where each ends. Bytes
    of file names that are not UTF-8 are lone surrogates in Python and stay so.
    """
    arrays = {name: np.ascontiguousarray(getattr(table, name)) for name in _COLUMNS}
    for name in _TEXTS:
        encoded = [text.encode("utf-8", "surrogatepass") for text in getattr(table, name)]
        arrays[f"{name}.ends"] = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)))
        arrays[f"{name}.bytes"] = np.frombuffer(b"".join(encoded), dtype=np.uint8)
    save_file(arrays, folder / TABLE_NAME)
    # safetensors makes a file that nobody else may read; all others have what the umask leaves.
    (folder / TABLE_NAME).chmod(folder.stat().st_mode & 0o666)
    return describe_file(folder / TABLE_NAME)


def read_table(path: Path) -> ImageTable:
    """Read a table.

    Raises:
        InputError: The file holds other columns than those of a table.
    """
    try:
        arrays = load_file(path)
        columns = {name: arrays[name] for name in _COLUMNS} | {name: _texts(arrays, name) for name in _TEXTS}
    except (SafetensorError, KeyError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: is no table of images ({error}); re-create it with: {MAKE_IMAGES}"
        ) from None
    lengths = {len(column) for column in columns.values()}
    for name, (dtype, shape) in _COLUMNS.items():
        if len(lengths) != 1 or columns[name].dtype != dtype or columns[name].shape[1:] != shape:
            raise InputError(
                f"{path}: column {name} has another form than {dtype} {shape}; "
                f"re-create it with: {MAKE_IMAGES}"
            )
    return ImageTable(**columns)


def _texts(arrays: dict[str, npt.NDArray[Any]], name: str) -> Texts:
    ends = arrays[f"{name}.ends"].tolist()
    data = arrays[f"{name}.bytes"].tobytes()
    texts = np.empty(len(ends), dtype=object)
    start = 0
    for row, end in enumerate(ends):
        texts[row] = data[start:end].decode("utf-8", "surrogatepass")
        start = end
    return texts


def read_ingested(folder: Path) -> tuple[Ingested, ImageTable]:
    """Read data/images without its pixels, after comparing manifest and table with their SHA-256.

    Raises:
        InputError: One of the two is missing or damaged, or a shard is missing or of another size.
    """
    ingested = read_sealed_json(folder / "manifest.json", Ingested, made_by=MAKE_IMAGES)
    for shard in ingested.shards:
        path = folder / shard.name
        if not path.is_file() or path.stat().st_size != shard.num_bytes:
            raise InputError(f"{path}: is missing or cut short; {MEND}; {MAKE_IMAGES}")
    return ingested, read_table(check_file(folder, ingested.table, made_by=MAKE_IMAGES))
