"""Files read, decoded and brought to the network's form, in worker processes, without torch."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2

from schemas.shared.manifest import ImageForm
from stages.images.decode import DEFAULT_LIMITS, Undecodable, decode_image
from stages.images.headers import Damaged
from stages.images.resize import Pixels, resize_image
from stages.images.sources import UnreadableFile
from stages.images.workers import allow_seconds, leave_if_short_of_memory, run_chunks
from tools.predict.requested_files import InputFile

# Large enough that handing over a chunk costs little beside it, small enough to keep memory flat.
_FILES_PER_CHUNK = 32
_BYTES_PER_CHUNK = 4 * 2**20


class ReadFile(NamedTuple):
    """One file: its pixels, or the reason why there are none."""

    name: str
    pixels: Pixels | None
    reason: str


def read_files(
    files: Iterable[InputFile | None], form: ImageForm, *, workers: int
) -> Iterator[list[ReadFile]]:
    """Read and decode files; yield them in their order, as soon as they are there.

    The processes are at work when this returns.

    Args:
        files: What to read; None stands for "no file at the moment".
        form: What the pixels are brought to.
        workers: Number of processes.
    """
    size = max(1, min(_FILES_PER_CHUNK, _BYTES_PER_CHUNK // form.num_bytes))
    return run_chunks(Decoding(form), _cut_chunks(files, size=size), workers=workers)


def _cut_chunks(files: Iterable[InputFile | None], *, size: int) -> Iterator[list[InputFile] | None]:
    """Yield files in chunks; smaller ones where no more files are known yet."""
    chunk: list[InputFile] = []
    for file in files:
        if file is not None:
            chunk.append(file)
        if chunk and (file is None or len(chunk) == size):
            yield chunk
            chunk = []
        if file is None:
            yield None
    if chunk:
        yield chunk


@dataclass
class Decoding:
    """The work of the processes; see `stages.images.workers.Work`."""

    form: ImageForm

    max_seconds = DEFAULT_LIMITS.max_seconds
    max_memory_bytes = DEFAULT_LIMITS.max_memory_bytes
    advice = "lower --workers"

    def start(self) -> None:
        """Get ready, once in each process."""
        cv2.setNumThreads(1)  # there is a process for every core; threads would only compete with them

    def run(self, items: Iterator[InputFile]) -> list[ReadFile]:
        """Return for each file its pixels, or the reason why there are none."""
        return [self.read(item) for item in items]

    def read(self, file: InputFile) -> ReadFile:
        """Return a file's pixels, or the reason why there are none."""
        try:
            data = file.ref.read(max_bytes=DEFAULT_LIMITS.max_file_bytes)
            decoded = decode_image(data, self.form, allow_seconds=allow_seconds)
            return ReadFile(file.name, resize_image(decoded.pixels, self.form), "")
        except (UnreadableFile, Undecodable) as error:
            reason, is_damaged = str(error), isinstance(error, Damaged)
        data = b""
        if is_damaged:
            leave_if_short_of_memory()
        return ReadFile(file.name, None, reason)

    def leave_out(self, item: InputFile, reason: str) -> list[ReadFile]:
        """Return what came of one file that ended its process twice."""
        return [ReadFile(item.name, None, reason)]

    def name_of(self, item: InputFile) -> str:
        """Return what messages call a file."""
        return item.name
