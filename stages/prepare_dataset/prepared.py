"""What prepare-dataset hands over: labels, splits, rows of pixels, the index and the manifest."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from schemas.ingest.ingested import Ingested
from schemas.shared.manifest import (
    SPLIT_NAMES,
    FileRecord,
    ImageForm,
    IndexRow,
    Manifest,
    SplitCounts,
    Status,
)
from stages.images.image_table import STATUSES, ImageTable
from stages.prepare_dataset.groups import Groups
from stages.prepare_dataset.leaks import RELATIONS, Mates
from stages.prepare_dataset.split import UNUSED
from stages.shared.errors import path_for_csv
from stages.shared.files import describe_file, write_sealed_json

BYTES_PER_FILE = 500
"""About what each file of the source takes in index.csv and the arrays."""

_ROWS_PER_BLOCK = 4096


def write_prepared(
    folder: Path,
    table: ImageTable,
    groups: Groups,
    splits: npt.NDArray[np.int8],
    *,
    ingested: Ingested,
    kept: npt.NDArray[np.int64],
    leaked: Mates | None,
) -> Manifest:
    """Write everything, the manifest last, and return it.

    Args:
        folder: Where to.
        table: All files, as the audit left them.
        groups: Which images stay together.
        splits: (N,), the split of each file that is used.
        ingested: The source, with all its classes.
        kept: Labels of the classes that stay, sorted.
        leaked: Images of val and test with a mate in training; None if nobody is to be told.
    """
    is_used = splits != UNUSED
    labels = np.searchsorted(kept, table.label[is_used]).astype(np.int64)
    counts = {
        name: tuple(np.bincount(labels[splits[is_used] == code], minlength=len(kept)).tolist())
        for code, name in enumerate(SPLIT_NAMES)
    }
    mean, std = mean_and_std(table, splits == SPLIT_NAMES.index("train"), ingested.image)
    manifest = Manifest(
        version=3,
        classes=tuple(ingested.classes[label] for label in kept),
        image=ingested.image,
        num_images=len(labels),
        counts=SplitCounts(**counts),
        mean=mean,
        std=std,
        image_shards=ingested.shards,
        rows=_write_array(folder / "rows.npy", table.row[is_used]),
        labels=_write_array(folder / "labels.npy", labels),
        splits=_write_array(folder / "splits.npy", splits[is_used].astype(np.uint8)),
        index=write_index(
            folder / "index.csv", list_rows(table, groups, splits, classes=ingested.classes, leaked=leaked)
        ),
    )
    write_sealed_json(folder / "manifest.json", manifest)
    return manifest


def write_index(path: Path, rows: Iterable[IndexRow]) -> FileRecord:
    """Write one line for every row, below a header of the names of its columns."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(IndexRow._fields)
        writer.writerows(rows)
    return describe_file(path)


def list_rows(
    table: ImageTable,
    groups: Groups,
    splits: npt.NDArray[np.int8],
    *,
    classes: Sequence[str],
    leaked: Mates | None,
) -> Iterator[IndexRow]:
    """Yield the line of each file of the table, in its order."""
    statuses: list[Status] = ["used" if name == "decoded" else name for name in STATUSES]
    label_names, split_names = (*classes, ""), (*SPLIT_NAMES, "")  # the last is at -1
    is_together = groups.sizes > 1
    relation = np.full(len(table), -1, dtype=np.int8)
    if leaked is not None:
        relation[leaked.rows] = leaked.relations
    relation_names = (*RELATIONS, "")
    for start in range(0, len(table), _ROWS_PER_BLOCK):
        block = slice(start, start + _ROWS_PER_BLOCK)
        hashes = table.sha256[block].tobytes().hex()
        columns = zip(
            table.path[block],
            table.label[block].tolist(),
            splits[block].tolist(),
            table.status[block].tolist(),
            table.reason[block],
            groups.first[block].tolist(),
            is_together[block].tolist(),
            table.row[block].tolist(),
            table.phash[block].tolist(),
            table.height_px[block].tolist(),
            table.width_px[block].tolist(),
            relation[block].tolist(),
            strict=True,
        )
        for number, columns_of_row in enumerate(columns):
            path, label, split, status, reason, first, together, row, phash, *rest = columns_of_row
            height_px, width_px, shared = rest
            is_decoded = row >= 0
            yield IndexRow(
                path=path_for_csv(path),
                label=label_names[label],
                split=split_names[split],
                status=statuses[status],
                reason=reason,
                group=path_for_csv(table.path[first]) if together else "",
                sha256=hashes[64 * number : 64 * number + 64] if is_decoded else "",
                phash=f"{phash:016x}" if is_decoded else "",
                height_px=str(height_px) if is_decoded else "",
                width_px=str(width_px) if is_decoded else "",
                leak=relation_names[shared],
            )


def mean_and_std(
    table: ImageTable, chosen: npt.NDArray[np.bool_], form: ImageForm
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel over some images, pixels scaled to [0, 1].

    Args:
        table: All files, with the sums over each image.
        chosen: (N,), which of them count.
        form: Of the images.
    """
    count = int(chosen.sum()) * form.height_px * form.width_px
    means, stds = [], []
    for channel in range(form.num_channels):
        # Whole numbers of Python, which do not overflow: the squares of a sum take more than 64 bits.
        total = int(table.sums[chosen, channel].sum())
        total_of_squares = int(table.squares[chosen, channel].sum())
        scaled_variance = count * total_of_squares - total**2  # (255 * count)^2 times the variance, exact
        means.append(total / (255 * count))
        stds.append(scaled_variance**0.5 / (255 * count))
    return tuple(means), tuple(stds)


def _write_array(path: Path, values: npt.NDArray[np.generic]) -> FileRecord:
    np.save(path, values)
    return describe_file(path)
