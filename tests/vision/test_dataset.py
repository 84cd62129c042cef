"""Prepared images under any DataLoader, and the checks of the files they come from."""

import os
import pickle
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler, Subset, default_collate

from schemas.shared.manifest import Manifest, SplitName
from schemas.vision import transforms as schema
from stages.shared.errors import InputError
from stages.vision.dataset import PreparedImages, build_loader, explain_lost_workers, read_manifest
from stages.vision.transforms import Compose, build_transforms
from tests.vision.devices import DEVICES
from tests.vision.prepared import read_pixels, write_prepared

Batch = tuple[Tensor, Tensor]

AUGMENTED = build_transforms(
    (
        schema.RandomCrop(name="RandomCrop", padding=2),
        schema.RandomHorizontalFlip(name="RandomHorizontalFlip", p=0.5),
        schema.ToTensor(name="ToTensor"),
    )
)


class Plain(Dataset[tuple[Tensor, int]]):
    """A data set as people write it."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.full((1, 2, 2), float(index)), index


class ListOfSamples(Plain):
    """A data set whose __getitems__ returns what torch's documentation says: a list of samples."""

    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, int]]:
        return [self[index] for index in indices]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "prepared"


def assert_same(found: list[Batch], expected: list[Batch]) -> None:
    """Compare batches bit for bit."""
    assert len(found) == len(expected)
    for (images, labels), (expected_images, expected_labels) in zip(found, expected, strict=True):
        assert torch.equal(images, expected_images)
        assert torch.equal(labels, expected_labels)


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("channels", [1, 3])
def test_split_holds_its_images_in_their_order(folder: Path, split: SplitName, channels: int) -> None:
    """The images of a split are its rows, in order, as (C, H, W) bytes with int64 labels."""
    manifest = write_prepared(folder, channels=channels)
    rows = np.flatnonzero(np.load(folder / "splits.npy") == ["train", "val", "test"].index(split))
    dataset = PreparedImages(folder, manifest, split)
    assert len(dataset) == len(rows)
    assert dataset.rows.tolist() == rows.tolist()
    assert dataset.labels.tolist() == np.load(folder / "labels.npy")[rows].tolist()
    for index, row in enumerate(rows):
        image, label = dataset[index]
        pixels = read_pixels(folder, manifest)[row]
        assert image.dtype == torch.uint8
        assert torch.equal(image, torch.from_numpy(pixels).permute(2, 0, 1))
        assert np.array_equal(dataset.pixels(index), pixels)
        assert label.dtype == torch.int64
        assert label.shape == ()
        assert label == dataset.labels[index]


def test_one_item_is_a_row_of_a_batch(folder: Path) -> None:
    """An image fetched alone equals its row in any batch, augmentation and all."""
    dataset = PreparedImages(folder, write_prepared(folder), "train", transform=AUGMENTED)
    indices = [3, 0, 17, 3]
    samples = dataset.__getitems__(indices)
    images, labels = samples.images, samples.labels
    assert images.shape == (4, 1, 6, 9)
    assert images.dtype == torch.uint8
    assert images.is_contiguous(memory_format=torch.channels_last)
    for place, index in enumerate(indices):
        image, label = dataset[index]
        assert torch.equal(image, images[place])
        assert torch.equal(label, labels[place])


def test_batch_is_finished_with_the_random_numbers_of_its_samples(folder: Path) -> None:
    """What works on numbers is applied to whole batches of bytes: by gather, and by every loader of ours."""
    erasing = schema.RandomErasing(name="RandomErasing", p=0.5, value="random")
    transform = build_transforms((schema.ToTensor(name="ToTensor"), erasing), seed=3)
    manifest = write_prepared(folder)
    dataset = PreparedImages(folder, manifest, "train", transform=transform)
    dataset.set_epoch(1)
    pixels = PreparedImages(folder, manifest, "train")
    everything = range(len(dataset))
    expected = transform(pixels.gather(everything)[0], samples=np.asarray(everything), epoch=1)
    assert torch.equal(dataset.gather(everything)[0], expected)
    for workers in (0, 1):
        loaded = [images for images, _ in load_ours(dataset, workers)]
        order = list(random_order(dataset))
        assert torch.equal(torch.cat(loaded), expected[order])


def test_getitems_is_a_list_of_samples(folder: Path) -> None:
    """What DataLoader calls returns as many pairs as it asked for, which torch's own collation takes."""
    dataset = PreparedImages(folder, write_prepared(folder), "train", transform=AUGMENTED)
    indices = [5, 1, 2]
    samples = dataset.__getitems__(indices)
    assert len(samples) == 3
    assert_same(list(samples), [dataset[index] for index in indices])
    assert_same([samples[1]], [dataset[1]])
    collated: list[Batch] = [default_collate(samples)]  # type: ignore[arg-type]
    assert_same(collated, [(samples.images, samples.labels)])


def test_indices_behave_as_those_of_a_list(folder: Path) -> None:
    """-1 is the last image, len is out of range, and plain iteration ends."""
    dataset = PreparedImages(folder, write_prepared(folder), "val", transform=AUGMENTED)
    assert_same([dataset[-1]], [dataset[len(dataset) - 1]])
    for index in (len(dataset), -len(dataset) - 1):
        with pytest.raises(IndexError):
            dataset[index]
    assert len(list(dataset)) == len(dataset)  # type: ignore[call-overload]


def test_shards_make_no_difference(tmp_path: Path) -> None:
    """Rows spread over several shards are the rows of one shard, in any order."""
    whole = PreparedImages(tmp_path / "a", write_prepared(tmp_path / "a"), "train")
    manifest = write_prepared(tmp_path / "b", rows_per_shard=7)
    parts = PreparedImages(tmp_path / "b", manifest, "train")
    assert len(manifest.image_shards) == 6
    for indices in ([0], list(range(len(whole))), list(reversed(range(len(whole)))), [20, 3, 3, 11]):
        assert_same([parts.gather(indices)], [whole.gather(indices)])


@pytest.mark.parametrize("rows_per_shard", [1000, 500])
def test_data_set_travels_without_its_pixels(folder: Path, rows_per_shard: int) -> None:
    """Pickling for a worker process carries paths, not pixels, and what arrives is the same data set."""
    manifest = write_prepared(folder, num_train=200, height_px=20, width_px=20, rows_per_shard=rows_per_shard)
    dataset = PreparedImages(folder, manifest, "train", transform=AUGMENTED)
    dataset.set_epoch(2)
    pickled = pickle.dumps(dataset)
    assert len(pickled) < 600 * 20 * 20 / 10
    copy = pickle.loads(pickled)
    assert_same([copy.gather([1, 599])], [dataset.gather([1, 599])])


def test_epoch_changes_augmentation_only(folder: Path) -> None:
    """Another epoch changes pixels, not labels; the same epoch brings the same pixels back."""
    dataset = PreparedImages(folder, write_prepared(folder), "train", transform=AUGMENTED)
    everything = range(len(dataset))
    first = dataset.gather(everything)
    dataset.set_epoch(1)
    images, labels = dataset.gather(everything)
    assert not torch.equal(images, first[0])
    assert torch.equal(labels, first[1])
    dataset.set_epoch(0)
    assert_same([dataset.gather(everything)], [first])


def load_plainly(dataset: Dataset[Batch], workers: int) -> list[Batch]:
    """Return the batches of the DataLoader that people write."""
    order = torch.Generator().manual_seed(0)
    loader = DataLoader(dataset, batch_size=5, shuffle=True, num_workers=workers, generator=order)
    return [(images, labels) for images, labels in loader]


def random_order(dataset: Dataset[Batch]) -> Sampler[int]:
    """Return the indices of all images in a random order, the same whenever it is asked for."""
    return torch.utils.data.RandomSampler(
        dataset,  # type: ignore[arg-type]
        generator=torch.Generator().manual_seed(0),
    )


def load_ours(dataset: Dataset[Batch], workers: int) -> list[Batch]:
    """Return the batches of our own loader."""
    order = BatchSampler(random_order(dataset), 5, drop_last=False)
    return list(build_loader(dataset, batches=order, num_workers=workers, prefetch_factor=3))


@pytest.mark.parametrize("load", [load_plainly, load_ours])
def test_workers_make_no_difference(folder: Path, load: Callable[[Dataset[Batch], int], list[Batch]]) -> None:
    """Batches are the same with 0, 1 and 2 workers, in every epoch, under any DataLoader."""
    dataset = PreparedImages(folder, write_prepared(folder), "train", transform=AUGMENTED)
    for epoch in (0, 3):
        dataset.set_epoch(epoch)
        alone = load(dataset, 0)
        assert [len(labels) for _, labels in alone] == [5, 5, 5, 5, 4]
        for workers in (1, 2):
            assert_same(load(dataset, workers), alone)


def test_plain_loader_and_ours_give_the_same(folder: Path) -> None:
    """Torch's own collation of our samples gives the bytes of the batches that ours takes whole."""
    manifest = write_prepared(folder)
    dataset = PreparedImages(folder, manifest, "train", transform=AUGMENTED)
    plain = [(images / 255, labels) for images, labels in DataLoader(dataset, batch_size=7)]
    assert_same(list(build_loader(dataset, batch_size=7)), plain)


def test_subset_of_prepared_images_loads(folder: Path) -> None:
    """Torch's Subset passes our batches of bytes on, under a plain loader and under ours."""
    dataset = PreparedImages(folder, write_prepared(folder), "train", transform=AUGMENTED)
    subset = Subset(dataset, [9, 2, 4])
    expected = [(some.images, some.labels) for some in map(dataset.__getitems__, ([9, 2], [4]))]
    assert_same(list(build_loader(subset, batch_size=2)), expected)
    assert_same([(images, labels) for images, labels in DataLoader(subset, batch_size=2)], expected)


def test_only_batches_for_a_gpu_are_pinned(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pinning costs a copy: the processor's own batches are left alone, also where there is a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    dataset = PreparedImages(folder, write_prepared(folder), "val")
    assert not build_loader(dataset, batch_size=2).loader.pin_memory
    assert not build_loader(dataset, batch_size=2, device=torch.device("cpu")).loader.pin_memory
    assert build_loader(dataset, batch_size=2, device=torch.device("cuda")).loader.pin_memory


@pytest.mark.parametrize("dataset", [Plain(), ListOfSamples(), Subset(Plain(), range(5))])
def test_loader_takes_any_data_set(dataset: Dataset[Batch]) -> None:
    """A data set that is not ours, with or without __getitems__, is collated as torch does."""
    batches = [(images, labels) for images, labels in build_loader(dataset, batch_size=2)]
    assert [labels.tolist() for _, labels in batches] == [[0, 1], [2, 3], [4]]
    assert [images.shape for images, _ in batches] == [(2, 1, 2, 2), (2, 1, 2, 2), (1, 1, 2, 2)]


def test_split_of_one_image_of_a_class_loads(folder: Path) -> None:
    """The smallest split there can be is one batch, however large the batch size."""
    manifest = write_prepared(folder, classes=("a", "b"), num_val=1)
    dataset = PreparedImages(folder, manifest, "val", transform=AUGMENTED)
    [(images, labels)] = build_loader(dataset, batch_size=100)
    assert images.shape == (2, 1, 6, 9)
    assert sorted(labels.tolist()) == [0, 1]
    (image, label) = dataset[1]
    assert_same(list(build_loader(Subset(dataset, [1]), batch_size=100)), [(image[None], label[None])])


@pytest.mark.parametrize("transform", [None, AUGMENTED])
def test_images_can_be_written_into(folder: Path, transform: Compose | None) -> None:
    """A batch, and a single image, is a copy: changing it in place changes none that is read later."""
    manifest = write_prepared(folder, height_px=80, width_px=90)
    dataset = PreparedImages(folder, manifest, "train", transform=transform)
    before = dataset.gather(range(4))[0].clone()
    for index in range(4):
        dataset[index][0].zero_()
        dataset.gather([index])[0].zero_()
    dataset.__getitems__(range(4)).images.zero_()
    assert torch.equal(dataset.gather(range(4))[0], before)


@pytest.mark.parametrize("device", DEVICES)
def test_bytes_are_finished_on_the_device(folder: Path, device: str) -> None:
    """Batches on it hold what they hold on the CPU, erased and normalized there."""
    entries = (
        schema.ToTensor(name="ToTensor"),
        schema.Normalize(name="Normalize", mean=(0.4,), std=(0.2,)),
        schema.RandomErasing(name="RandomErasing", p=0.7, value="random"),
        schema.RandomErasing(name="RandomErasing", p=0.3, value=2.0),
    )
    manifest = write_prepared(folder)
    dataset = PreparedImages(folder, manifest, "train", transform=build_transforms(entries))
    for images, _ in build_loader(dataset, batch_size=100, device=torch.device(device)):
        assert images.device.type == device
        assert images.is_contiguous(memory_format=torch.channels_last)
        expected, _ = dataset.gather(range(len(dataset)))
        torch.testing.assert_close(images.cpu(), expected, rtol=0, atol=1e-5)


class Deadly(Plain):
    """A data set that kills whoever reads its fourth image, as a kernel out of memory does."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


def load_with_worker(dataset: Any) -> None:
    """Read a data set to its end in another process."""
    with explain_lost_workers():
        list(build_loader(dataset, batch_size=1, num_workers=1, prefetch_factor=1))


def test_a_killed_worker_is_explained() -> None:
    """One line names the parameter and what to do."""
    with pytest.raises(InputError, match=r"^params\.yaml: loader\.num_workers: a worker process was killed"):
        load_with_worker(Deadly())


def test_too_little_shared_memory_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that finds no room ends the run: nobody waits for the batch that it could not send."""

    def fail(storage: torch.UntypedStorage, *_: object) -> None:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left (28)")

    monkeypatch.setattr(torch.UntypedStorage, "_share_fd_cpu_", fail)
    with pytest.raises(InputError, match=r"no room in shared memory.*docker run --shm-size=2g\)$"):
        load_with_worker(Plain())


def test_other_errors_in_the_block_stay() -> None:
    """What is not about workers goes on as it was."""
    with pytest.raises(RuntimeError, match=r"^a bug$"), explain_lost_workers():
        raise RuntimeError("a bug")


def test_manifest_is_read_back(folder: Path) -> None:
    """An undamaged folder is accepted, and its manifest is what was written."""
    manifest = write_prepared(folder, rows_per_shard=10)
    assert read_manifest(folder) == manifest


SHARDS = ["../images/prepared-00000.npy", "../images/prepared-00001.npy"]
FILES = ["manifest.json", "rows.npy", "labels.npy", "splits.npy", "index.csv", *SHARDS]


def made_by(name: str) -> str:
    return "dvc repro ingest" if name in SHARDS else "dvc repro prepare-dataset"


def write_two_shards(folder: Path) -> Manifest:
    """Write a data set of two shards."""
    manifest = write_prepared(folder, rows_per_shard=30)
    written = [*folder.iterdir(), *(folder.parent / "images").iterdir()]
    assert sorted(path.name for path in written) == sorted(Path(name).name for name in FILES)
    return manifest


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_named(folder: Path, name: str) -> None:
    """A file that is gone is named, with the command that makes it."""
    write_two_shards(folder)
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"{Path(name).name}: there is no such file; .*{made_by(name)}"):
        read_manifest(folder)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
@pytest.mark.parametrize("name", FILES[1:])
def test_damaged_file_is_named(folder: Path, name: str, damage: str) -> None:
    """A file with one other bit, or cut short, is named as damaged."""
    write_two_shards(folder)
    path = folder / name
    data = path.read_bytes()
    middle = len(data) // 2
    flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    path.write_bytes({"flip": flipped, "cut": data[:-1], "empty": b""}[damage])
    with pytest.raises(InputError, match=f"{Path(name).name}: is damaged .*{made_by(name)}"):
        read_manifest(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00", '{"version": 2}'])
def test_damaged_manifest_is_refused(folder: Path, text: str) -> None:
    """A manifest that is no manifest is refused in words, not with a traceback."""
    write_two_shards(folder)
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"manifest\.json: .*dvc repro prepare-dataset"):
        read_manifest(folder)


@pytest.mark.parametrize("limit", [1, 5, 9, 1000])
def test_limit_takes_images_from_all_over_the_split(tmp_path: Path, limit: int) -> None:
    """With a limit there are so many images at most, evenly spread, the same ones every time."""
    manifest = write_prepared(tmp_path)
    whole = PreparedImages(tmp_path, manifest, "train").rows
    limited = PreparedImages(tmp_path, manifest, "train", limit=limit)
    assert len(limited) == len(limited.labels) == min(limit, 24)
    assert set(limited.rows) <= set(whole)
    gaps = np.diff(np.searchsorted(whole, limited.rows))
    assert gaps.size == 0 or gaps.max() - gaps.min() <= 1
