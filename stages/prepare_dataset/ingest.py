"""What is known of every image: by its unchanged file, by its bytes, or by decoding it."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from schemas.shared.image import ImageForm
from stages.images.decode import DecodeLimits
from stages.images.source import Source
from stages.images.work import Bytes, Task
from stages.images.workers import spread
from stages.prepare_dataset.details import Details
from stages.prepare_dataset.fingerprint import DETAILS, FINGERPRINT, MEASURED, Fingerprints, Measured
from stages.prepare_dataset.found_images import FoundImages
from stages.prepare_dataset.known import PLACE, Known, Places, find_known
from stages.prepare_dataset.pack import shape_of
from stages.prepare_dataset.reading import NEW, NONE, Reading, TaskResult, most_per_task
from stages.prepare_dataset.seen import SeenFiles
from stages.prepare_dataset.store import PixelStore

_TASKS_PER_WORKER = 4
"""At least, where few images are read, so that all processes have some of them."""

_ROWS_PER_BLOCK = 4096

Rows = npt.NDArray[np.int64]


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
    images: FoundImages,
    source: Source,
    store: PixelStore,
    *,
    form: ImageForm,
    limits: DecodeLimits,
    workers: int,
) -> Ingested:
    """Learn of every image, and put the pixels of those that are not there yet into the store.

    Args:
        images: What to read.
        source: Where from.
        store: Where pixels are kept.
        form: What the pixels are brought to.
        limits: What is not decoded.
        workers: How many processes, at most.
    """
    seen = SeenFiles(store.seen)
    states = seen.look_at(source, images.paths)
    known = store.read_known()
    known_rows = np.full(len(images), NONE)
    same, digests = seen.find(states)
    known_rows[same] = find_known(known, digests)
    del same, digests  # as large as what is kept of the images
    with store.details.open("wb") as details:
        record = _Record(len(images), known, store, details, shape_of(form))
        for start in range(0, len(images), _ROWS_PER_BLOCK):
            rows = start + np.flatnonzero(known_rows[start : start + _ROWS_PER_BLOCK] >= 0)
            record.take_over(rows, known_rows[rows])
        unread = np.flatnonzero(known_rows < 0)
        del known_rows
        num_per_task = min(most_per_task(form), -(-len(unread) // (_TASKS_PER_WORKER * workers)))
        if len(unread):
            tasks = _cut_tasks(images, unread, source, num_per_task=num_per_task)
            num_tasks = -(-len(unread) // num_per_task)
            done = spread(Reading(form, limits, store.known), tasks, workers=min(workers, num_tasks))
            start = 0
            for result, pixels in chain.from_iterable(done):
                record.add(unread[start : start + len(result.known)], result, pixels)
                start += len(result.known)
        del unread
    store.finish_pack()
    places, fingerprints = record.places, record.fingerprints
    states[places["pack"] < 0] = 0
    seen.write(states, fingerprints["sha256"])
    return Ingested(
        places,
        fingerprints,
        Details(store.details, np.arange(len(images))),
        record.reasons,
        record.num_decoded,
    )


def _cut_tasks(images: FoundImages, rows: Rows, source: Source, *, num_per_task: int) -> Iterator[Task[str]]:
    """Yield the paths of some images at a time."""
    for start in range(0, len(rows), num_per_task):
        yield Task(list(images.paths.take(rows[start : start + num_per_task])), source)


class _Record:
    """What is known of the images so far."""

    def __init__(
        self, num_images: int, known: Known, store: PixelStore, details: BinaryIO, shape: tuple[int, int, int]
    ) -> None:
        self.places = np.empty(num_images, dtype=PLACE)
        self.fingerprints = np.zeros(num_images, dtype=FINGERPRINT)
        self.reasons: dict[int, str] = {}
        self.num_decoded = 0
        self._known = known
        self._store = store
        self._details = details
        self._shape = shape

    def take_over(self, rows: Rows, known_rows: Rows) -> None:
        """Note images whose files need not be read, by their rows in the table of known images."""
        known = self._known[known_rows]
        self.places[rows] = known["place"]
        self._note(rows, known["measured"])

    def add(self, rows: Rows, result: TaskResult, pixels: Bytes) -> None:
        """Note what became of the images of a task."""
        measured = np.zeros(len(rows), dtype=MEASURED)
        new, old = result.known == NEW, result.known >= 0
        self.places["pack"][rows[result.known == NONE]] = -1
        known = self._known[result.known[old]]
        self.places[rows[old]], measured[old] = known["place"], known["measured"]
        measured[new] = np.frombuffer(result.measured, dtype=MEASURED)
        self.places[rows[new]] = self._store.append(measured[new], pixels.reshape(-1, *self._shape))
        self._note(rows, measured)
        self.reasons |= {rows.item(item): reason for item, reason in result.reasons.items()}
        self.num_decoded += int(new.sum())

    def _note(self, rows: Rows, measured: Measured) -> None:
        self.fingerprints[rows] = measured["fingerprint"]
        details = measured["details"]
        for some in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1):
            if len(some):
                self._details.seek(rows.item(some[0]) * DETAILS.itemsize)
                self._details.write(details[some].tobytes())
