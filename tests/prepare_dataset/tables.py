"""Small tables of images, parameters to change one thing in, and a folder data/images as ingest writes it."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from schemas.audit.finding import ClassKind, ImageKind
from schemas.ingest.ingested import Ingested
from schemas.prepare_dataset.audit import Audit
from schemas.prepare_dataset.split import Split
from schemas.shared.manifest import SPLIT_NAMES, FileRecord, ImageForm
from stages.images.image_table import STATUSES, FileStatus, ImageTable, Texts, make_table, write_table
from stages.prepare_dataset.duplicates import join_pairs
from stages.prepare_dataset.groups import Groups
from stages.shared.files import describe_file, write_sealed_json

Pairs = Iterable[tuple[int, int]]


def split_params(**changed: object) -> Split:
    """Return parameters of a split in which only copies of one file stay together, with these changes."""
    return Split.model_validate(
        {
            "val_fraction": 0.2,
            "test_fraction": 0.2,
            "seed": 0,
            "group": None,
            "near_duplicate_bits": None,
            "near_duplicates_turned": False,
            "leaks": "warn",
            "folds": 1,
            "fold": 0,
            **changed,
        }
    )


def audit_params(**changed: object) -> Audit:
    """Return parameters of an audit that warns of everything, with these changes."""
    return Audit.model_validate(
        {
            **dict.fromkeys((*get_args(ImageKind), *get_args(ClassKind)), "warn"),
            "blank_std": 3.0,
            "max_deviations": 5.0,
            "min_side_px": 8,
            "max_side_px": 1000,
            "max_aspect_ratio": 4.0,
            "min_class_images": 2,
            "max_imbalance": 2.0,
            **changed,
        }
    )


def texts(values: Sequence[str]) -> Texts:
    """Return a column of text."""
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def classes_of(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the classes of paths `[<split>/]<class>/<file>`, sorted."""
    return tuple(sorted({path.split("/")[-2] for path in paths}))


def table_of(paths: Sequence[str], *, classes: Sequence[str] = (), **columns: Any) -> ImageTable:
    """Return images at `[<split>/]<class>/<file>` that all differ and are unremarkable, but for `columns`.

    An image is a function of its path alone, so that it is the same in every table.
    """
    classes = classes or classes_of(paths)
    digests = np.array(
        [list(hashlib.sha256(path.encode("utf-8", "surrogatepass")).digest()) for path in paths]
    )
    digests = digests.astype(np.uint8).reshape(-1, 32)
    tops = [path.split("/")[0] if path.count("/") > 1 else "" for path in paths]
    measured: dict[str, Any] = {
        "path": texts(paths),
        "label": np.array([classes.index(path.split("/")[-2]) for path in paths], dtype=np.int32),
        "split": np.array(
            [SPLIT_NAMES.index(top) if top in SPLIT_NAMES else -1 for top in tops], dtype=np.int8
        ),
        "row": np.arange(len(paths)),
        "sha256": digests,
        "phash": np.ascontiguousarray(digests[:, :8]).view("<u8").ravel(),
        "frequencies": np.tile((digests.astype(np.int64) - 128) // 5, 2).astype(np.int8),
        "std": np.full(len(paths), 50, dtype=np.float32),
        "brightness": np.full(len(paths), 110, dtype=np.float32),
        "dark_end": np.full(len(paths), 10, dtype=np.uint8),
        "bright_end": np.full(len(paths), 240, dtype=np.uint8),
        "entropy": np.full(len(paths), 7, dtype=np.float32),
        "sharpness": np.full(len(paths), 0.6, dtype=np.float32),
        "height_px": np.full(len(paths), 100, dtype=np.uint32),
        "width_px": np.full(len(paths), 90, dtype=np.uint32),
        "bits": np.full(len(paths), 8, dtype=np.uint8),
    }
    return make_table(len(paths), **measured | columns)


def groups_of(table: ImageTable, together: Pairs = (), *, copies: Pairs = (), near: Pairs = ()) -> Groups:
    """Return groups of a table by the pairs of rows that are joined."""
    joined, same, alike = (
        np.array(list(pairs), dtype=np.int64).reshape(-1, 2) for pairs in (together, copies, near)
    )
    names = np.full(len(table), None, dtype=object)
    return Groups(join_pairs(len(table), joined, same, alike), names, same, alike)


def concatenate(*tables: ImageTable) -> ImageTable:
    """Return the rows of several tables, sorted by path as ingest does, with new rows of pixels."""
    columns = {
        name: np.concatenate([getattr(table, name) for table in tables]) for name in ImageTable.__slots__
    }
    table = ImageTable(**columns).take(np.argsort(columns["path"].astype(str), kind="stable"))
    has_pixels = table.has_status("decoded")
    return table.with_columns(row=np.where(has_pixels, np.cumsum(has_pixels) - 1, -1))


def other_files(paths: Sequence[str], status: FileStatus, *, reason: str, label: int = -1) -> ImageTable:
    """Return files of a source that have no pixels."""
    return make_table(
        len(paths),
        path=texts(paths),
        label=np.full(len(paths), label, dtype=np.int32),
        status=np.full(len(paths), STATUSES.index(status), dtype=np.uint8),
        reason=texts([reason] * len(paths)),
    )


def write_images(
    folder: Path,
    table: ImageTable,
    *,
    classes: Sequence[str],
    wrapper: str = "",
    channels: int = 3,
    rows_per_shard: int = 10,
) -> npt.NDArray[np.uint8]:
    """Write data/images for a table, with random pixels of 4 x 3, and return these (N, 4, 3, channels)."""
    folder.mkdir(parents=True, exist_ok=True)
    has_pixels = table.has_status("decoded")
    num_images = int(has_pixels.sum())
    pixels = np.random.default_rng(0).integers(0, 256, (num_images, 4, 3, channels), dtype=np.uint8)
    sums = np.zeros((len(table), 3), dtype=np.int64)
    squares = np.zeros((len(table), 3), dtype=np.int64)
    sums[has_pixels, :channels] = pixels.sum(axis=(1, 2))
    squares[has_pixels, :channels] = (pixels.astype(np.int64) ** 2).sum(axis=(1, 2))
    shards: list[FileRecord] = []
    for start in range(0, num_images, rows_per_shard):
        path = folder / f"images-{len(shards):05}.npy"
        np.save(path, pixels[start : start + rows_per_shard])
        shards.append(describe_file(path))
    ingested = Ingested(
        version=1,
        image=ImageForm(
            color="rgb" if channels == 3 else "grayscale", height_px=4, width_px=3, resize="squish"
        ),
        classes=tuple(classes),
        given_splits=tuple(SPLIT_NAMES[code] for code in np.unique(table.split).tolist() if code >= 0),
        wrapper=wrapper,
        num_images=num_images,
        num_hidden=0,
        num_system_files=0,
        shards=tuple(shards),
        table=write_table(folder, table.with_columns(sums=sums, squares=squares)),
    )
    write_sealed_json(folder / "manifest.json", ingested)
    return pixels
