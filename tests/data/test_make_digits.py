"""The sample data is what its script makes, and what its page says."""

import hashlib
import io
import re
import zipfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from data.make_digits import build_archive, read_sample

DATA = Path(__file__).parents[2] / "data"


def read_archive(archive: bytes) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return images (N, height, width) and labels (N,), in the order of the rows that name the files."""
    images, labels = {}, {}
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        for name in file.namelist():
            row = int(Path(name).stem)
            images[row] = cv2.imdecode(np.frombuffer(file.read(name), np.uint8), cv2.IMREAD_UNCHANGED)
            labels[row] = int(Path(name).parent.name)
    rows = sorted(images)
    return (
        np.array([images[row] for row in rows], np.uint8),
        np.array([labels[row] for row in rows], np.uint8),
    )


@pytest.fixture(scope="module")
def committed() -> bytes:
    """Return the bytes of data/digits.zip."""
    return (DATA / "digits.zip").read_bytes()


def test_committed_archive_is_what_the_script_makes(committed: bytes) -> None:
    """Writing the archive's own pixels and labels again gives the archive, byte for byte."""
    assert build_archive(*read_archive(committed)) == committed


def test_committed_archive_holds_500_digits_of_each_class(committed: bytes) -> None:
    """Ten classes of 500 images, each 28 x 28 and grayscale."""
    images, labels = read_archive(committed)
    assert images.shape == (5000, 28, 28)
    assert Counter(labels.tolist()) == dict.fromkeys(range(10), 500)


def test_page_states_the_hash_of_the_committed_archive(committed: bytes) -> None:
    """data/README.md quotes the SHA-256 of data/digits.zip, and no other."""
    stated = re.findall(r"\b[0-9a-f]{64}\b", (DATA / "README.md").read_text(encoding="utf-8"))
    assert stated == [hashlib.sha256(committed).hexdigest()]


def test_archive_keeps_pixels_and_labels() -> None:
    """Every byte value of an image, and its label, come back from the archive."""
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8)
    labels = np.array([7, 0, 7], np.uint8)
    read_images, read_labels = read_archive(build_archive(images, labels))
    np.testing.assert_array_equal(read_images, images)
    np.testing.assert_array_equal(read_labels, labels)


def test_sample_is_read_with_the_label_last(tmp_path: Path) -> None:
    """A row of the CSV is the pixels, line by line from the top, and then the label."""
    path = tmp_path / "sample.csv"
    path.write_text(",".join(["1"] * 28 + ["0"] * 27 * 28 + ["9"]) + "\n", encoding="utf-8")
    images, labels = read_sample(path)
    # One line is the least that NumPy reads, and it must not lose the images' axis.
    assert images.shape == (1, 28, 28)
    assert (images[0, 0] == 1).all()
    assert (images[0, 1:] == 0).all()
    assert labels.tolist() == [9]
