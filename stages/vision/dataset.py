"""Prepared images as a torch Dataset, batches of them on a device, and their columns of index.csv."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate, get_worker_info

from schemas.shared.manifest import SPLIT_NAMES, IndexRow, Manifest, SplitName
from stages.shared.errors import InputError, printable
from stages.shared.files import check_file, read_sealed_json
from stages.shared.packed_images import PackedImages
from stages.shared.paths import IMAGES, MAKE_IMAGES, MAKE_PREPARED
from stages.shared.process import use_short_socket_paths
from stages.shared.stopping import follow_parent
from stages.vision.runtime import send
from stages.vision.transforms import Compose

INDEX_ADVICE = f"re-create it with: {MAKE_PREPARED}"


def read_manifest(folder: Path) -> Manifest:
    """Read data/prepared's manifest and compare every file it names with its SHA-256, the pixels too.

    Raises:
        InputError: Something is missing or damaged.
    """
    manifest = read_sealed_json(folder / "manifest.json", Manifest, made_by=MAKE_PREPARED)
    for record in manifest.files:
        check_file(folder, record, made_by=MAKE_PREPARED)
    for record in manifest.image_shards:
        check_file(_shard_folder(folder), record, made_by=MAKE_IMAGES)
    return manifest


def _shard_folder(folder: Path) -> Path:
    """Return data/images for data/prepared, in whatever project."""
    return folder.parent / IMAGES.name


class Samples:
    """Images and their labels, each sort in one tensor, to be read as a list of pairs (image, label).

    A list of samples is what DataLoader expects of `__getitems__`; `build_loader` takes the tensors as they
    are, and hands the indices int64 (N,) to the data set's method `finish`, where there is one.
    """

    def __init__(self, images: Tensor, labels: Tensor, indices: npt.NDArray[np.int64] | None = None) -> None:
        self.images = images
        self.labels = labels
        self.indices = indices

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], self.labels[index]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(self.images, self.labels, strict=True)


@runtime_checkable
class Finishes(Protocol):
    """A data set whose batches are finished on the device of the network."""

    def finish(self, images: Tensor, indices: npt.NDArray[np.int64]) -> Tensor:
        """Return the images (N, C, H, W) as the network takes them, on the device they are on."""
        ...


class PreparedImages(Dataset[tuple[Tensor, Tensor]]):
    """The images of one split, with the transforms applied.

    `dataset[i]` is one image (C, H, W) and its label, a scalar; any DataLoader gets whole batches of them,
    uint8 after the transforms of pictures. `finish` does the rest, on the device of the network; what comes
    from `build_loader` and from `dataset.gather([i, j, ...])` is finished. Labels are int64 positions in the
    manifest's classes. With a limit there are so many images at most, spread evenly over the split.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        split: SplitName,
        *,
        transform: Compose | None = None,
        limit: int | None = None,
    ) -> None:
        codes = np.load(folder / manifest.splits.name)
        self._rows = np.flatnonzero(codes == SPLIT_NAMES.index(split))
        if limit is not None and limit < len(self._rows):
            # Rows stand in the order of their paths, class after class.
            self._rows = self._rows[np.arange(limit) * len(self._rows) // limit]
        self._labels = torch.from_numpy(np.load(folder / manifest.labels.name)[self._rows])
        self._shard_rows: npt.NDArray[np.int64] = np.load(folder / manifest.rows.name)[self._rows]
        self._images = PackedImages(_shard_folder(folder), manifest.image_shards)
        self._index = folder / manifest.index.name
        self._transform = transform or Compose([])
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that random transforms draw for; call it before iterating over a DataLoader."""
        self._epoch = epoch

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """Row of every image in labels.npy and index.csv (among the used lines), int64 (len,)."""
        return self._rows

    @property
    def labels(self) -> Tensor:
        """Label of every image, int64 (len,)."""
        return self._labels

    @cached_property
    def groups(self) -> npt.NDArray[np.int64]:
        """Number of the group of every image, int64 (len,), from 0 without gaps; read when first asked for.

        Raises:
            InputError: index.csv is not that of these images.
        """
        return number_groups(read_index_columns(self._index, rows=self._rows, names=["group"])["group"])

    def pixels(self, index: int) -> npt.NDArray[np.uint8]:
        """Return one image as it was packed: uint8 (height, width, channels), RGB, no transforms."""
        (pixels,) = self._images[self._shard_rows[[index]]]
        return np.asarray(pixels)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        return self.__getitems__([index % len(self)])[0]

    def __getitems__(self, indices: Sequence[int]) -> Samples:
        """Return the samples at these indices; DataLoader calls it once a batch."""
        samples = np.asarray(indices, dtype=np.int64)
        rows = self._shard_rows[samples]
        images = self._transform.change_pictures(
            lambda block: np.asarray(self._images[rows[block]]),
            num_images=len(rows),
            samples=samples,
            epoch=self._epoch,
        )
        return Samples(images, self._labels[samples], samples)

    def finish(self, images: Tensor, indices: npt.NDArray[np.int64]) -> Tensor:
        """Return the images (N, C, H, W) after the transforms of numbers, on the device they are on."""
        return self._transform.change_numbers(images, samples=indices, epoch=self._epoch)

    def gather(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the batch for these indices after all transforms: images (N, C, H, W), labels (N,)."""
        samples = self.__getitems__(indices)
        return self.finish(samples.images, np.asarray(indices, dtype=np.int64)), samples.labels


def read_index_columns(
    path: Path, *, rows: npt.NDArray[np.int64], names: Sequence[str]
) -> dict[str, list[str]]:
    """Return columns of index.csv for some of the packed images, read line by line.

    The manifest's SHA-256 has proved that the file is unchanged.

    Args:
        path: The index.csv that prepare-dataset wrote.
        rows: Ascending packed rows (N,).
        names: The columns.

    Returns:
        A list of N texts for each name.

    Raises:
        InputError: The file is not such an index.
    """
    columns: dict[str, list[str]] = {name: [] for name in names}
    is_wanted = np.zeros(int(rows[-1]) + 1 if len(rows) else 0, dtype=bool)
    is_wanted[rows] = True
    wanted = iter(is_wanted.tolist())
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = csv.reader(file)
            header = next(lines, [])
            check_header(path, header, IndexRow._fields)
            at_status = header.index("status")
            places = [(columns[name], header.index(name)) for name in columns]
            for line in lines:
                # Packed rows are the used files, in the order of the lines.
                if line[at_status] == "used" and next(wanted, False):
                    for column, at in places:
                        column.append(line[at])
    except (OSError, UnicodeDecodeError, csv.Error, IndexError) as error:
        raise InputError(f"{path}: cannot be read: {printable(str(error))}; {INDEX_ADVICE}") from None
    if any(len(column) != len(rows) for column in columns.values()):
        raise InputError(f"{path}: holds too few images; {INDEX_ADVICE}")
    return columns


def check_header(path: Path, found: Sequence[str], expected: Sequence[str]) -> None:
    """Check the names of a table's columns.

    Raises:
        InputError: They are others.
    """
    if list(found) != list(expected):
        raise InputError(f"{path}: has no header line of {', '.join(expected)}; {INDEX_ADVICE}")


def number_groups(names: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return int64 (N,), from 0 without gaps: one number per group; an image without a group is its own."""
    numbers: dict[str, int] = {}
    groups = np.empty(len(names), dtype=np.int64)
    num_groups = 0
    for image, name in enumerate(names):
        group = numbers.setdefault(name, num_groups) if name else num_groups
        groups[image] = group
        num_groups += group == num_groups
    return groups


class Batches:
    """Batches (images, labels) of a data set: images on the device and as the network takes them."""

    def __init__(
        self, loader: DataLoader[tuple[Tensor, Tensor]], *, device: torch.device | None = None
    ) -> None:
        """Take a loader of what `_collate` returns; without a device, images stay where they are."""
        self.loader = loader
        self._device = device

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        dataset = self.loader.dataset
        for images, labels, *rest in self.loader:
            if self._device is not None:
                images = send(images, self._device, memory_format=torch.channels_last)
            if rest and isinstance(dataset, Finishes):
                images = dataset.finish(images, rest[0].numpy())
            yield images, labels


def build_loader(
    dataset: Dataset[tuple[Tensor, Tensor]],
    *,
    batch_size: int | None = None,
    batches: Iterable[list[int]] | None = None,
    device: torch.device | None = None,
    num_workers: int = 0,
    prefetch_factor: int | None = None,
) -> Batches:
    """Return the batches (images, labels) of a data set: those of these indices, or all in its own order.

    Images are on the device, where one is named. Batches for a GPU are put into memory that it copies from
    while others compute; pictures are sent as bytes.
    """
    if num_workers:
        use_short_socket_paths()  # batches arrive through a socket; with none, training waits for ever
    loader = DataLoader(
        dataset,
        batch_size=batch_size if batches is None else 1,
        batch_sampler=batches,
        num_workers=num_workers,
        prefetch_factor=prefetch_factor if num_workers else None,
        collate_fn=_collate,
        worker_init_fn=_start_worker,
        pin_memory=device is not None and device.type == "cuda",
    )
    return Batches(loader, device=device)


@contextmanager
def explain_lost_workers() -> Iterator[None]:
    """Say in one line what to do when a process of a DataLoader ends before its work, anywhere in the block.

    Raises:
        InputError: One was killed, or found no room in shared memory. torch raises the first in the middle of
            whatever this process does just then.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if "shared memory" in text:
            reason = "a worker process found no room in shared memory, /dev/shm"
        elif "DataLoader worker" in text and ("killed by signal" in text or "exited unexpectedly" in text):
            reason = "a worker process was killed, which happens when memory runs out"
        else:
            raise
        raise InputError(
            f"params.yaml: loader.num_workers: {reason}; set it to 0, or lower loader.prefetch_factor or "
            "loader.batch_size; in a container give more memory (docker run --shm-size=2g)"
        ) from None


def _start_worker(number: int) -> None:
    follow_parent()


def _collate(samples: Any) -> Any:
    if isinstance(samples, Samples):
        indices = () if samples.indices is None else (torch.from_numpy(samples.indices),)
        batch = (samples.images, samples.labels, *indices)
    else:
        batch = default_collate(samples)
    if get_worker_info() is not None:
        # As sending it would do later, in a thread in which an error would only be printed, and the batch
        # be waited for without end.
        for tensor in batch:
            tensor.share_memory_()
    return batch
