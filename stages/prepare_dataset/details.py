"""What is only asked for now and then of every image, in a file."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stages.prepare_dataset.fingerprint import DETAILS

_ROWS_PER_BLOCK = 4096


class Details:
    """Rows of DETAILS in a file, of all images or of some."""

    def __init__(self, path: Path, rows: npt.NDArray[np.int64]) -> None:
        self._path = path
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def of(self, chosen: npt.NDArray[np.bool_]) -> "Details":
        """Return those of some images, where an array (num_images,) is true."""
        return Details(self._path, self._rows[chosen])

    def at(self, rows: npt.NDArray[np.int64] | slice) -> npt.NDArray[np.void]:
        """Return an array of DETAILS for some of the images."""
        wanted = self._rows[rows]
        if not len(wanted):
            return np.empty(0, dtype=DETAILS)
        # Mapped anew each time: pages that stay mapped count as memory of ours.
        return np.asarray(np.memmap(self._path, dtype=DETAILS, mode="r")[wanted])

    def blocks(self) -> Iterator[npt.NDArray[np.void]]:
        """Yield all, so many at a time that they take little memory."""
        for start in range(0, len(self), _ROWS_PER_BLOCK):
            yield self.at(slice(start, start + _ROWS_PER_BLOCK))
