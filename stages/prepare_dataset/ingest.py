"""Every image read, decoded unless an earlier run did, and measured; spread over processes."""

import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
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
from stages.images.workers import Bytes, Task, Watch, spread
from stages.prepare_dataset.details import Details
from stages.prepare_dataset.fingerprint import (
    FINGERPRINT,
    MEASURED,
    SIDE_PX,
    Fingerprints,
    Measured,
    measure_images,
    shrink,
)
from stages.prepare_dataset.found_images import FoundImage
from stages.prepare_dataset.pack import shape_of
from stages.prepare_dataset.store import PLACE, PixelStore, Places

# Large enough that handing over a task costs little beside it, small enough to keep memory flat.
_IMAGES_PER_TASK = 256
_BYTES_PER_TASK = 4 * 2**20

_NONE = -1
"""In `TaskResult.known`: there are no pixels."""
_NEW = -2
"""In `TaskResult.known`: the pixels are the next ones of the task."""


@dataclass(frozen=True)
class Ingested:
    """What is known of every image of the source, in their order."""

    places: Places
    """Array (num_images,) of PLACE; the pack is -1 for an image that has no pixels."""

    fingerprints: Fingerprints
    """Array (num_images,); meaningless for an image that has no pixels."""

    details: Details

    reasons: dict[int, str]
    """Why each image without pixels has none."""

    num_decoded: int
    """Images that no earlier run had decoded."""

    @property
    def decoded(self) -> npt.NDArray[np.bool_]:
        """Return which of the images have pixels."""
        return np.asarray(self.places["pack"] >= 0)

    def of(self, chosen: npt.NDArray[np.bool_]) -> "Ingested":
        """Return what is known of some of the images."""
        if chosen.all():
            return self  # a copy would be as large as all of it
        return Ingested(
            self.places[chosen], self.fingerprints[chosen], self.details.of(chosen), {}, self.num_decoded
        )

    def measured(self, rows: npt.NDArray[np.int64]) -> Measured:
        """Return all that is known of some images."""
        measured = np.empty(len(rows), dtype=MEASURED)
        measured["fingerprint"] = self.fingerprints[rows]
        measured["details"] = self.details.at(rows)
        return measured


def ingest_images(
    images: Sequence[FoundImage],
    source: Source,
    store: PixelStore,
    *,
    form: ImageForm,
    limits: DecodeLimits,
    workers: int,
) -> Ingested:
    """Read every image, and put the pixels of those that are not there yet into the store.

    Args:
        images: What to read.
        source: Where from.
        store: Where pixels are kept.
        form: What the pixels are brought to.
        limits: What is not decoded.
        workers: How many processes.
    """
    places = np.empty(len(images), dtype=PLACE)
    fingerprints = np.zeros(len(images), dtype=FINGERPRINT)
    reasons: dict[int, str] = {}
    known = store.read_known()
    work = _Ingestion(form, limits, store.known)
    start = num_decoded = 0
    with store.details.open("wb") as details:
        done = spread(work, _cut_tasks(images, source, form), workers=workers)
        for result, pixels in chain.from_iterable(done):
            measured = np.zeros(len(result.known), dtype=MEASURED)
            new, old = result.known == _NEW, result.known >= 0
            rows = slice(start, start + len(measured))
            places[rows]["pack"][result.known == _NONE] = -1
            places[rows][old] = known["place"][result.known[old]]
            measured[old] = known["measured"][result.known[old]]
            measured[new] = np.frombuffer(result.measured, dtype=MEASURED)
            places[rows][new] = store.append(measured[new], pixels.reshape(-1, *shape_of(form)))
            fingerprints[rows] = measured["fingerprint"]
            details.write(measured["details"].tobytes())
            reasons |= {start + item: reason for item, reason in result.reasons.items()}
            start = rows.stop
            num_decoded += int(new.sum())
    store.finish_pack()
    return Ingested(
        places, fingerprints, Details(store.details, np.arange(len(images))), reasons, num_decoded
    )


def _cut_tasks(images: Sequence[FoundImage], source: Source, form: ImageForm) -> Iterator[Task[str]]:
    """Yield the paths of some images at a time."""
    paths = (image.path for image in images)
    while some := list(islice(paths, _images_per_task(form))):
        yield Task(some, source)


def _images_per_task(form: ImageForm) -> int:
    return max(1, min(_IMAGES_PER_TASK, _BYTES_PER_TASK // int(np.prod(shape_of(form)))))


class TaskResult(NamedTuple):
    """What became of the images of a task."""

    known: npt.NDArray[np.int64]
    """For each: its row in the table of known images, _NEW or _NONE."""

    measured: bytes
    """MEASURED of those that are new."""

    reasons: dict[int, str]
    """Why those without pixels have none."""


class _Ingestion:
    """What the processes do."""

    def __init__(self, form: ImageForm, limits: DecodeLimits, known: Path) -> None:
        self._form = form
        self._limits = limits
        self._known = known
        self.slot_bytes = _images_per_task(form) * int(np.prod(shape_of(form)))
        self.max_seconds = limits.max_seconds
        self.max_memory_bytes = limits.max_memory_bytes

    def start(self) -> None:
        cv2.setNumThreads(1)  # the processes are ours; OpenCV's threads would only compete with them
        self._decoder = Decoder(self._limits, takes_stderr=True)
        self._table = np.load(self._known, mmap_mode="r")
        keys = np.ascontiguousarray(self._table["key"])
        self._keys = memoryview(keys.data)  # gives Python's own numbers, faster than an array
        self._small = np.empty((_images_per_task(self._form), SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
        if self._form.num_channels == 1:
            self._small = self._small[..., 0]

    def run(
        self,
        items: Sequence[str],
        *,
        shared: Source,
        failed: Mapping[int, str],
        watch: Watch,
        slot: Bytes,
    ) -> tuple[TaskResult, int]:
        known = np.full(len(items), _NONE, dtype=np.int64)
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
                known[item] = _NEW
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
