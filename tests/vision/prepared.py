"""Tiny prepared data sets, written as prepare-dataset writes them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from schemas.shared.manifest import SPLIT_NAMES, FileRecord, ImageForm, IndexRow, Manifest, SplitCounts
from stages.prepare_dataset.prepared import write_index
from stages.shared.files import describe_file, write_sealed_json

Pixels = npt.NDArray[np.uint8]

_NUM_UNUSED = 3
"""Images in the shards that the audit left out."""


def write_prepared(
    folder: Path,
    *,
    classes: Sequence[str] = ("ant", "bee", "cat"),
    num_train: int = 8,
    num_val: int = 2,
    num_test: int = 3,
    height_px: int = 6,
    width_px: int = 9,
    channels: int = 1,
    rows_per_shard: int = 1000,
    seed: int = 0,
) -> Manifest:
    """Write a prepared data set and return its manifest; the numbers of images are of each class.

    The shards are in the sibling folder `images`, in another order, among images that are not used. Images
    are in random order. A class is a bright column on dim noise, so that a network can learn it.
    """
    generator = np.random.default_rng(seed)
    num_each = (num_train, num_val, num_test)
    splits = np.repeat(np.arange(3), [number * len(classes) for number in num_each])
    labels = np.concatenate([np.repeat(np.arange(len(classes)), number) for number in num_each])
    order = generator.permutation(len(labels))
    splits, labels = splits[order].astype(np.uint8), labels[order].astype(np.int64)
    images = generator.integers(0, 90, (len(labels), height_px, width_px, channels), dtype=np.uint8)
    images[np.arange(len(labels)), :, labels % width_px] += 150

    rows = generator.permutation(len(labels) + _NUM_UNUSED)[: len(labels)]
    shuffled = np.zeros((len(labels) + _NUM_UNUSED, *images.shape[1:]), dtype=np.uint8)
    shuffled[rows] = images

    folder.mkdir(parents=True, exist_ok=True)
    pixels = images[splits == 0].reshape(-1, channels) / 255
    manifest = Manifest(
        version=3,
        classes=tuple(classes),
        image=ImageForm(
            color="rgb" if channels == 3 else "grayscale",
            height_px=height_px,
            width_px=width_px,
            resize="squish",
        ),
        num_images=len(labels),
        counts=SplitCounts(
            train=(num_train,) * len(classes), val=(num_val,) * len(classes), test=(num_test,) * len(classes)
        ),
        mean=tuple(pixels.mean(axis=0).tolist()),
        std=tuple(pixels.std(axis=0).tolist()),
        image_shards=write_shards(folder, shuffled, rows_per_shard=rows_per_shard),
        rows=write_array(folder / "rows.npy", rows),
        labels=write_array(folder / "labels.npy", labels),
        splits=write_array(folder / "splits.npy", splits),
        index=write_index(
            folder / "index.csv",
            (
                IndexRow(
                    path=f"{classes[label]}/{row:04}.png",
                    label=classes[label],
                    split=SPLIT_NAMES[split],
                    status="used",
                    reason="",
                    group="",
                    sha256="",
                    phash="",
                    height_px=str(height_px * (1 + row % 3)),
                    width_px=str(width_px * (1 + row % 3)),
                )
                for row, (label, split) in enumerate(zip(labels, splits, strict=True))
            ),
        ),
    )
    write_sealed_json(folder / "manifest.json", manifest)
    return manifest


def write_shards(folder: Path, images: Pixels, *, rows_per_shard: int) -> tuple[FileRecord, ...]:
    """Write images (N, height, width, channels) as shards of so many rows, in the sibling folder `images`.

    Their names begin with that of the data set: temporary folders of several tests have one sibling.
    """
    (folder.parent / "images").mkdir(parents=True, exist_ok=True)
    shards = []
    for number, start in enumerate(range(0, len(images), rows_per_shard)):
        path = folder.parent / "images" / f"{folder.name}-{number:05}.npy"
        np.save(path, images[start : start + rows_per_shard])
        shards.append(describe_file(path))
    return tuple(shards)


def write_array(path: Path, values: npt.NDArray[np.generic]) -> FileRecord:
    """Write one array and describe the file."""
    np.save(path, values)
    return describe_file(path)


def read_pixels(folder: Path, manifest: Manifest) -> Pixels:
    """Return all images (N, height, width, channels), read plainly."""
    shards = [np.load(folder.parent / "images" / shard.name) for shard in manifest.image_shards]
    pixels: Pixels = np.concatenate(shards)[np.load(folder / "rows.npy")]
    return pixels
