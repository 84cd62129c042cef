"""What each process does with the images it is given: read, decode unless an earlier run did, measure."""

import hashlib
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from schemas.shared.image import ImageForm
from stages.images.decode import DecodeLimits, Decoder
from stages.images.refusals import note_refusal
from stages.images.resize import resize_image
from stages.images.source import Source
from stages.images.work import Bytes, Watch
from stages.prepare_dataset.fingerprint import SIDE_PX, measure_images, shrink
from stages.prepare_dataset.pack import shape_of

# Large enough that handing over a task costs little beside it, small enough to keep memory flat.
_IMAGES_PER_TASK = 256
_BYTES_PER_TASK = 4 * 2**20

NONE = -1
"""In `TaskResult.known`: there are no pixels."""

NEW = -2
"""In `TaskResult.known`: the pixels are the next ones of the task."""


def most_per_task(form: ImageForm) -> int:
    """Return how many images a task has at most."""
    return max(1, min(_IMAGES_PER_TASK, _BYTES_PER_TASK // int(np.prod(shape_of(form)))))


class TaskResult(NamedTuple):
    """What became of the images of a task."""

    known: npt.NDArray[np.int64]
    """For each: its row in the table of known images, NEW or NONE."""

    measured: bytes
    """MEASURED of those that are new."""

    reasons: dict[int, str]
    """Why those without pixels have none."""


class Reading:
    """What the processes do."""

    def __init__(self, form: ImageForm, limits: DecodeLimits, known: Path) -> None:
        self._form = form
        self._limits = limits
        self._known = known
        self.slot_bytes = most_per_task(form) * int(np.prod(shape_of(form)))
        self.max_seconds = limits.max_seconds
        self.max_memory_bytes = limits.max_memory_bytes

    def start(self) -> None:
        cv2.setNumThreads(1)  # the processes are ours; OpenCV's threads would only compete with them
        self._decoder = Decoder(self._limits, takes_stderr=True)
        self._table = np.load(self._known, mmap_mode="r")
        keys = np.ascontiguousarray(self._table["key"])
        self._keys = memoryview(keys.data)  # gives Python's own numbers, faster than an array
        self._small = np.empty((most_per_task(self._form), SIDE_PX, SIDE_PX), dtype=np.uint8)

    def run(
        self,
        items: Sequence[str],
        *,
        shared: Source,
        failed: Mapping[int, str],
        watch: Watch,
        slot: Bytes,
    ) -> tuple[TaskResult, int]:
        known = np.full(len(items), NONE, dtype=np.int64)
        packed = slot.reshape(-1, *shape_of(self._form))
        digests: list[bytes] = []
        sides_px: list[tuple[int, int]] = []
        reasons = dict(failed)
        for item, path in enumerate(items):
            if item in failed:
                continue
            watch.begin(item)
            with note_refusal(reasons, item):
                data = shared.read(path, max_bytes=self._limits.max_file_bytes)
                digest = hashlib.sha256(data).digest()
                if (row := self._find(digest)) is not None:
                    known[item] = row
                    continue
                watch.start_clock()
                decoded = self._decoder.decode(data, self._form)
                self._small[len(digests)] = shrink(decoded.pixels)
                packed[len(digests)] = resize_image(decoded.pixels, self._form)
                known[item] = NEW
                digests.append(digest)
                sides_px.append((decoded.height_px, decoded.width_px))
        num_new = len(digests)
        measured = b""
        if num_new:
            measured = measure_images(digests, self._small[:num_new], sides_px, packed[:num_new]).tobytes()
        return TaskResult(known, measured, reasons), num_new * packed[0].nbytes

    def _find(self, digest: bytes) -> int | None:
        """Return the row of a file in the table of known images."""
        key = int.from_bytes(digest[:8], "big")
        row = bisect_left(self._keys, key)
        while row < len(self._keys) and self._keys[row] == key:
            if self._table["measured"]["fingerprint"]["sha256"][row].tobytes() == digest:
                return row
            row += 1
        return None
