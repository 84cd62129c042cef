"""What is packed is what was appended, and its statistics are those of its pixels."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.shared.manifest import FileRecord
from stages.images.resize import Pixels
from stages.prepare_dataset.pack import ChannelSums, ShardWriter, keep_rows, sum_channels, write_array
from stages.shared.files import check_file
from tests.images.trees import flat, form


def random_images(num_images: int, *, height: int = 3, width: int = 2, channels: int = 3) -> Pixels:
    """Return images (num_images, height, width, channels)."""
    shape = (num_images, height, width, channels)
    return np.random.default_rng(num_images).integers(0, 256, shape, dtype=np.uint8)


def write_shards(folder: Path, images: Pixels, *, shard_bytes: int) -> tuple[FileRecord, ...]:
    _, height, width, channels = images.shape
    color = form(color="rgb" if channels == 3 else "grayscale", height_px=height, width_px=width)
    writer = ShardWriter(folder, color, shard_bytes=shard_bytes)
    for image in images:
        writer.append(image)
    return writer.close()


@settings(deadline=None)
@given(num_images=st.integers(1, 20), shard_bytes=st.integers(1, 400), channels=st.sampled_from([1, 3]))
def test_shards_hold_what_was_appended(num_images: int, shard_bytes: int, channels: int) -> None:
    """Put one after the other, shards of any size are the images in order, and none is too large."""
    images = random_images(num_images, channels=channels)
    with tempfile.TemporaryDirectory() as name:
        records = write_shards(Path(name), images, shard_bytes=shard_bytes)
        shards = [np.load(check_file(Path(name), record, made_by="")) for record in records]
        assert sorted(record.name for record in records) == sorted(path.name for path in Path(name).iterdir())
    np.testing.assert_array_equal(np.concatenate(shards), images)
    assert np.concatenate(shards).dtype == np.uint8
    assert all(shard.nbytes <= max(shard_bytes, images[0].nbytes) for shard in shards)
    assert len({len(shard) for shard in shards[:-1]}) <= 1


def test_images_may_be_reused(tmp_path: Path) -> None:
    """The writer keeps no reference to what it was given."""
    pixels = flat(1, 2, 3, height=1, width=1)
    writer = ShardWriter(tmp_path, form(height_px=1, width_px=1))
    writer.append(pixels)
    pixels[:] = 9
    writer.append(pixels)
    (record,) = writer.close()
    assert np.load(tmp_path / record.name)[:, 0, 0].tolist() == [[1, 2, 3], [9, 9, 9]]


def test_no_images(tmp_path: Path) -> None:
    """Nothing appended is nothing written."""
    assert ShardWriter(tmp_path, form()).close() == ()
    assert list(tmp_path.iterdir()) == []


def test_shards_map_into_memory(tmp_path: Path) -> None:
    """A shard is read without loading it."""
    images = random_images(4)
    (record,) = write_shards(tmp_path, images, shard_bytes=10**6)
    np.testing.assert_array_equal(np.load(tmp_path / record.name, mmap_mode="r"), images)


def test_arrays_are_recorded(tmp_path: Path) -> None:
    """What is written can be checked by its record, and holds no object to unpickle."""
    record = write_array(tmp_path / "labels.npy", np.arange(3))
    assert np.load(check_file(tmp_path, record, made_by=""), allow_pickle=False).tolist() == [0, 1, 2]


def sums_of(images: Sequence[Pixels] | Pixels) -> ChannelSums:
    values, squares = zip(*(sum_channels(image) for image in images), strict=True)
    return ChannelSums(np.array(values), np.array(squares))


@given(st.integers(1, 8), st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 3]))
def test_mean_and_std(num_images: int, height: int, width: int, channels: int) -> None:
    """They are those of NumPy in float64, over all pixels of all images."""
    images = random_images(num_images, height=height, width=width, channels=channels)
    mean, std = sums_of(images).mean_and_std(num_pixels=height * width)
    scaled = images.astype(np.float64) / 255
    np.testing.assert_allclose(mean, scaled.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, scaled.std(axis=(0, 1, 2)), rtol=1e-9, atol=1e-12)


def test_images_of_one_colour() -> None:
    """The deviation of a constant is exactly 0: sums are whole numbers, which nothing rounds."""
    assert sums_of([flat(7, 77, 177)] * 3).mean_and_std(num_pixels=64) == (
        (7 / 255, 77 / 255, 177 / 255),
        (0, 0, 0),
    )


def test_large_white_image() -> None:
    """The sum of squares of the largest image does not overflow."""
    value, square = sum_channels(np.full((4096, 4096, 1), 255, dtype=np.uint8))
    assert value.tolist() == [255 * 4096**2]
    assert square.tolist() == [255**2 * 4096**2]


@given(st.permutations(range(6)))
def test_order_of_images_does_not_matter(order: list[int]) -> None:
    """Statistics are the same to the last bit in any order."""
    images = random_images(6)
    assert sums_of(images[order]).mean_and_std(num_pixels=6) == sums_of(images).mean_and_std(num_pixels=6)


def test_statistics_of_some_images() -> None:
    """The statistics of one split are those of its images alone."""
    images = random_images(6)
    chosen = np.array([True, False, True, True, False, False])
    assert sums_of(images).of(chosen).mean_and_std(num_pixels=6) == sums_of(images[chosen]).mean_and_std(
        num_pixels=6
    )


@pytest.mark.parametrize("num_images", [1, 2, 5])
def test_same_bytes_every_time(num_images: int, tmp_path: Path) -> None:
    """Two writers give the same files."""
    images = random_images(num_images)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert write_shards(tmp_path / "a", images, shard_bytes=40) == write_shards(
        tmp_path / "b", images, shard_bytes=40
    )


@pytest.mark.parametrize("pattern", ["1111111", "0110101", "0000001", "1000000"])
def test_keep_rows(pattern: str, tmp_path: Path) -> None:
    """Shards hold the chosen rows, in their order, and nothing else is left in the folder."""
    writer = ShardWriter(tmp_path, form(), shard_bytes=3 * 48)
    for i in range(7):
        writer.append(np.full((4, 4, 3), i, dtype=np.uint8))
    keep = np.array([char == "1" for char in pattern])
    records = keep_rows(tmp_path, writer.close(), keep, form())
    kept = np.concatenate([np.load(check_file(tmp_path, record, made_by="")) for record in records])
    assert kept[:, 0, 0, 0].tolist() == np.flatnonzero(keep).tolist()
    assert {path.name for path in tmp_path.iterdir()} == {record.name for record in records}
