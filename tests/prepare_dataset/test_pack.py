"""What is packed is what was appended, and its statistics are those of its pixels."""

import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.shared.image import ImageForm
from stages.images.resize import Pixels
from stages.prepare_dataset.details import Details
from stages.prepare_dataset.fingerprint import MEASURED, sum_channels
from stages.prepare_dataset.pack import (
    RowsReader,
    RowsWriter,
    mean_and_std,
    overwrite_rows,
    rows_per_shard,
    write_array,
)
from stages.shared.block_hash import BLOCK_BYTES, hash_again, hash_blocks
from stages.shared.files import check_file
from tests.images.trees import flat, form
from tests.prepare_dataset.samples import details_of


def random_images(num_images: int, *, height: int = 3, width: int = 2, channels: int = 3) -> Pixels:
    """Return images (num_images, height, width, channels)."""
    shape = (num_images, height, width, channels)
    return np.random.default_rng(num_images).integers(0, 256, shape, dtype=np.uint8)


def form_of(images: Pixels) -> ImageForm:
    _, height, width, channels = images.shape
    return form(color="rgb" if channels == 3 else "grayscale", height_px=height, width_px=width)


def sums_of(images: Pixels) -> Details:
    measured = np.zeros(len(images), dtype=MEASURED)
    sums, squares = sum_channels(images)
    measured["details"]["sums"][:, : sums.shape[1]] = sums
    measured["details"]["squares"][:, : sums.shape[1]] = squares
    return details_of(measured)


@pytest.mark.parametrize("num_images", [0, 1, 7, 300])
@pytest.mark.parametrize("num_expected", [0, 7, 10**6])
@pytest.mark.parametrize("channels", [1, 3])
def test_file_is_numpys_own(num_images: int, num_expected: int, channels: int, tmp_path: Path) -> None:
    """However many rows come or were expected, the file is what NumPy saves, and is described as it is."""
    images = random_images(num_images, channels=channels)
    with RowsWriter(tmp_path / "rows.npy", form_of(images), num_rows=num_expected) as writer:
        for start in range(0, num_images, 4):
            writer.append(images[start : start + 4])
    expected = io.BytesIO()
    np.save(expected, images)
    assert (tmp_path / "rows.npy").read_bytes() == expected.getvalue()
    assert writer.digests() == hash_blocks(tmp_path / "rows.npy")


def test_rows_are_read_from_anywhere(tmp_path: Path) -> None:
    """Any run of rows, also the first and the last ones."""
    images = random_images(9)
    np.save(tmp_path / "rows.npy", images)
    with RowsReader(tmp_path / "rows.npy") as reader:
        for first, last in ((0, 9), (0, 1), (8, 9), (3, 7)):
            read = np.zeros_like(images[first:last])
            reader.read_into(read, first=first)
            np.testing.assert_array_equal(read, images[first:last])


@settings(max_examples=30)
@given(st.sampled_from([1, 100, 700]), st.sets(st.integers(0, 19), min_size=1))
def test_rows_written_over(width: int, rows: set[int]) -> None:
    """They hold the new images, and the blocks named are all that must be hashed again."""
    before, after = (np.full((20, 100, width, 3), value, dtype=np.uint8) for value in (1, 2))
    chosen = np.array(sorted(rows))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        np.save(path, before)
        digests = hash_blocks(path)
        changed = overwrite_rows(path, chosen, iter([after[chosen[:3]], after[chosen[3:]]]))
        assert hash_again(path, digests, changed) == hash_blocks(path)
        assert len(changed) <= len(rows) * (2 + 300 * width // BLOCK_BYTES)
        before[chosen] = after[chosen]
        np.testing.assert_array_equal(np.load(path), before)


def test_cut_file_is_noticed(tmp_path: Path) -> None:
    """What is cut off while it is in use is an error of the disk, never a wait without end."""
    np.save(tmp_path / "rows.npy", random_images(9))
    with (tmp_path / "rows.npy").open("r+b") as file:
        file.truncate(140)
    with RowsReader(tmp_path / "rows.npy") as reader, pytest.raises(OSError, match="before its last row"):
        reader.read_into(random_images(9), first=0)


def test_images_may_be_reused(tmp_path: Path) -> None:
    """The writer keeps no reference to what it was given."""
    pixels = flat(1, 2, 3, height=1, width=1)[None]
    with RowsWriter(tmp_path / "rows.npy", form(height_px=1, width_px=1), num_rows=2) as writer:
        writer.append(pixels)
        pixels[:] = 9
        writer.append(pixels)
    assert np.load(tmp_path / "rows.npy")[:, 0, 0].tolist() == [[1, 2, 3], [9, 9, 9]]


@given(st.integers(1, 500), st.integers(1, 12), st.integers(1, 12))
def test_shards_are_bounded(shard_bytes: int, height: int, width: int) -> None:
    """A shard has room for as many images as fit, and for one in any case."""
    num_rows = rows_per_shard(form(height_px=height, width_px=width), shard_bytes=shard_bytes)
    num_bytes = height * width * 3
    assert num_rows == 1 or num_rows * num_bytes <= shard_bytes
    assert (num_rows + 1) * num_bytes > shard_bytes


def test_arrays_are_recorded(tmp_path: Path) -> None:
    """What is written can be checked by its record, and holds no object to unpickle."""
    record = write_array(tmp_path / "labels.npy", np.arange(3))
    assert np.load(check_file(tmp_path, record, made_by=""), allow_pickle=False).tolist() == [0, 1, 2]


@given(st.integers(1, 8), st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 3]))
def test_mean_and_std(num_images: int, height: int, width: int, channels: int) -> None:
    """They are those of NumPy in float64, over all pixels of all images."""
    images = random_images(num_images, height=height, width=width, channels=channels)
    mean, std = mean_and_std(sums_of(images), form_of(images))
    scaled = images.astype(np.float64) / 255
    np.testing.assert_allclose(mean, scaled.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, scaled.std(axis=(0, 1, 2)), rtol=1e-9, atol=1e-12)


def test_images_of_one_colour() -> None:
    """The deviation of a constant is exactly 0: sums are whole numbers, which nothing rounds."""
    images = np.stack([flat(7, 77, 177)] * 3)
    assert mean_and_std(sums_of(images), form_of(images)) == ((7 / 255, 77 / 255, 177 / 255), (0, 0, 0))


@given(st.permutations(range(6)))
def test_order_of_images_does_not_matter(order: list[int]) -> None:
    """Statistics are the same to the last bit in any order."""
    images = random_images(6)
    assert mean_and_std(sums_of(images[order]), form_of(images)) == mean_and_std(
        sums_of(images), form_of(images)
    )
