"""Files read, decoded and brought to the network's form, in worker processes, without torch."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from schemas.shared.image import ImageForm
from stages.images.decode import DEFAULT_LIMITS, Decoder
from stages.images.refusals import note_refusal
from stages.images.resize import Pixels, resize_image
from stages.images.source import FileReader
from stages.images.work import Bytes, NotYet, Task, Watch
from stages.images.workers import spread
from stages.predict.inputs import AskedFile

# Large enough that handing over a task costs little beside it, small enough to keep memory flat.
_FILES_PER_TASK = 32
_BYTES_PER_TASK = 4 * 2**20


class ReadFile(NamedTuple):
    """What became of one file: its pixels, or the reason why there are none."""

    name: str
    pixels: Pixels | None
    reason: str


def read_files(
    files: Iterable[AskedFile | NotYet], form: ImageForm, *, workers: int
) -> Iterator[list[ReadFile]]:
    """Read and decode files; yield what became of them, in their order, as soon as it is known.

    The first list is empty: the processes are at work from then on.

    Args:
        files: What to read.
        form: What the pixels are brought to.
        workers: How many processes.
    """
    names: deque[list[str]] = deque()  # of tasks whose results are still to come
    tasks = _cut_tasks(files, names, num_files=_files_per_task(form))
    for done in spread(Reading(form), tasks, workers=workers):
        yield [
            file
            for reasons, pixels in done
            for file in _tell_fates(names.popleft(), reasons, pixels.reshape(-1, *_shape_of(form)))
        ]


def _cut_tasks(
    files: Iterable[AskedFile | NotYet], names: deque[list[str]], *, num_files: int
) -> Iterator[Task[str] | NotYet]:
    """Yield tasks of files that have one reader; of fewer than there could be if no more are known yet."""
    some: list[AskedFile] = []

    def cut() -> Task[str]:
        names.append([file.name for file in some])
        task = Task([file.path for file in some], some[0].reader)
        some.clear()
        return task

    for file in files:
        if isinstance(file, NotYet):
            if some:
                yield cut()
            yield file
            continue
        if some and (len(some) == num_files or file.reader is not some[0].reader):
            yield cut()
        some.append(file)
    if some:
        yield cut()


def _tell_fates(names: Sequence[str], reasons: Mapping[int, str], images: Pixels) -> Iterator[ReadFile]:
    remaining = iter(images)
    for item, name in enumerate(names):
        if item in reasons:
            yield ReadFile(name, None, reasons[item])
        else:
            yield ReadFile(name, next(remaining), "")


def _files_per_task(form: ImageForm) -> int:
    return max(1, min(_FILES_PER_TASK, _BYTES_PER_TASK // int(np.prod(_shape_of(form)))))


def _shape_of(form: ImageForm) -> tuple[int, int, int]:
    return form.height_px, form.width_px, form.num_channels


class Reading:
    """What the processes do: paths of one FileReader become pixels, or reasons why there are none."""

    max_seconds = DEFAULT_LIMITS.max_seconds
    max_memory_bytes = DEFAULT_LIMITS.max_memory_bytes

    def __init__(self, form: ImageForm) -> None:
        self._form = form
        self.slot_bytes = _files_per_task(form) * int(np.prod(_shape_of(form)))

    def start(self) -> None:
        cv2.setNumThreads(1)  # the processes are ours; OpenCV's threads would only compete with them
        self._decoder = Decoder(DEFAULT_LIMITS, takes_stderr=True)

    def run(
        self,
        items: Sequence[str],
        *,
        shared: FileReader,
        failed: Mapping[int, str],
        watch: Watch,
        slot: Bytes,
    ) -> tuple[dict[int, str], int]:
        packed = slot.reshape(-1, *_shape_of(self._form))
        reasons = dict(failed)
        num_decoded = 0
        for item, path in enumerate(items):
            if item in failed:
                continue
            watch.begin(item)
            with note_refusal(reasons, item):
                data = shared.read(path, max_bytes=DEFAULT_LIMITS.max_file_bytes)
                watch.start_clock()
                decoded = self._decoder.decode(data, self._form)
                packed[num_decoded] = resize_image(decoded.pixels, self._form)
                num_decoded += 1
        return reasons, num_decoded * packed[0].nbytes
