"""Files read, decoded and brought to the network's form, in worker processes, without torch."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2

from schemas.shared.manifest import ImageForm
from stages.images.decode import DEFAULT_LIMITS, Undecodable, decode_image
from stages.images.resize import Pixels, resize_image
from stages.images.sources import FileRef, UnreadableFile
from stages.images.workers import allow_seconds, run_chunks
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
    names: deque[list[str]] = deque()  # of chunks whose results are still to come
    size = max(1, min(_FILES_PER_CHUNK, _BYTES_PER_CHUNK // form.num_bytes))
    results = run_chunks(Decoding(form), _cut_chunks(files, names, size=size), workers=workers)
    return (
        [ReadFile(name, *read) for name, read in zip(names.popleft(), result, strict=True)]
        for result in results
    )


def _cut_chunks(
    files: Iterable[InputFile | None], names: deque[list[str]], *, size: int
) -> Iterator[list[FileRef] | None]:
    """Yield files in chunks; smaller ones where no more files are known yet."""
    chunk: list[InputFile] = []

    def cut() -> list[FileRef]:
        names.append([file.name for file in chunk])
        refs = [file.ref for file in chunk]
        chunk.clear()
        return refs

    for file in files:
        if file is not None:
            chunk.append(file)
        if chunk and (file is None or len(chunk) == size):
            yield cut()
        if file is None:
            yield None
    if chunk:
        yield cut()


@dataclass
class Decoding:
    """The work of the processes; see `stages.images.workers.Work`."""

    form: ImageForm

    max_seconds = DEFAULT_LIMITS.max_seconds
    max_memory_bytes = DEFAULT_LIMITS.max_memory_bytes

    def start(self) -> None:
        """Get ready, once in each process."""
        cv2.setNumThreads(1)  # there is a process for every core; threads would only compete with them

    def run(self, items: Sequence[FileRef], failed: Mapping[int, str]) -> list[tuple[Pixels | None, str]]:
        """Return for each file its pixels, or the reason why there are none."""
        return [
            (None, failed[number]) if number in failed else self.read(items[number])
            for number in range(len(items))
        ]

    def read(self, file: FileRef) -> tuple[Pixels | None, str]:
        """Return a file's pixels, or the reason why there are none."""
        try:
            data = file.read(max_bytes=DEFAULT_LIMITS.max_file_bytes)
            decoded = decode_image(data, self.form, allow_seconds=allow_seconds)
            return resize_image(decoded.pixels, self.form), ""
        except (UnreadableFile, Undecodable) as error:
            return None, str(error)
        except MemoryError:
            return None, "takes more memory to decode than an image of max_pixels does"
