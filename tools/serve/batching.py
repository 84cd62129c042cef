"""From uploads to predictions: decoded in processes of their own, classified many at a time.

    event loop --uploads--> lanes --decoded--> one thread with the model --predictions--> event loop

A lane is a thread with one process that decodes, under the limits of `stages.images`. A picture that crashes
its process, hangs it or fills its memory is tried again alone, as everywhere in darkroom, and holds up its
own lane only. The model's thread takes all that is decoded at the moment, and waits a little for what is
still being decoded.
"""

import asyncio
import ctypes
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np

from schemas.shared.manifest import ImageForm
from stages.export.rule import Rule
from stages.images.workers import run_chunks
from stages.shared.errors import InputError, printable
from tools.predict.model import Model
from tools.predict.prediction import Prediction, predict_batch
from tools.predict.reading import Decoding, ReadFile
from tools.predict.requested_files import Contents, InputFile

_UPLOADS_PER_CHUNK = 8
"""Handed to a process at a time where many wait: handing over costs as much as decoding a small picture."""

_UPLOADS_PER_LANE = 16
"""In a process's hands: it has the next ones while it returns the last ones."""

_RESTART_SECONDS = 1.0

_LONG_SECONDS = 0.05
"""CPU time that only a large picture takes to decode: a photograph of 5 megapixels or so."""


class Busy(Exception):
    """There are as many pictures waiting as there may be."""


class Unavailable(Exception):
    """The machine, not the picture, kept it from being classified."""


@dataclass(frozen=True)
class Service:
    """What is served, and how much of it at a time."""

    model: Model
    image: ImageForm
    """The form that pictures are brought to."""

    classes: Sequence[str]
    rule: Rule
    """Which predictions are accepted."""

    workers: int
    """Processes that decode."""

    batch_size: int
    """Pictures that the network is given at a time, at most."""

    max_wait_seconds: float
    """How long a decoded picture waits for others that are being decoded."""

    max_waiting: int
    """Pictures that may be inside at a time."""


@dataclass(slots=True, eq=False)
class _Upload:
    """One picture on its way."""

    data: bytes
    future: "asyncio.Future[Any]"
    wants_pixels: bool = False
    """Whether the picture itself is wanted, a ReadFile, and no Prediction."""


class _Decoded(NamedTuple):
    upload: _Upload
    file: ReadFile


class PictureDecoding(Decoding):
    """Gives memory back after a large picture; a process would stay as large as the largest one made it."""

    def read(self, file: InputFile) -> ReadFile:
        start = time.process_time()
        result = super().read(file)
        if time.process_time() - start > _LONG_SECONDS:  # small ones are faster in the memory of those before
            trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # the GNU allocator's
            if trim is not None:
                trim(0)
        return result


_Outcome = tuple[_Upload, Prediction | ReadFile | Exception]


class Batcher:
    """Takes pictures in the event loop, and returns predictions there.

    An image's bits do not depend on which others it is classified with: see `tools.predict.model.Model`.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._uploads: queue.SimpleQueue[_Upload | None] = queue.SimpleQueue()
        self._decoded: queue.SimpleQueue[list[_Decoded] | None] = queue.SimpleQueue()
        self._lanes: list[threading.Thread] = []
        self._model_thread = threading.Thread(target=self._classify, name="model", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self.num_waiting = 0
        """Pictures inside."""

        self.is_ready = False
        """Whether a picture went through every lane, and none was lost since."""

        self.batch_sizes: deque[int] = deque(maxlen=1000)
        """Of the latest batches that nobody has read, for metrics."""

    async def start(self) -> None:
        """Start the processes; return when each has decoded a picture and the model has classified them.

        Raises:
            Unavailable: The machine does not let them.
        """
        self._loop = asyncio.get_running_loop()
        self._model_thread.start()
        picture = cv2.imencode(".png", np.zeros((8, 8), dtype=np.uint8))[1].tobytes()
        firsts = [_Upload(picture, self._loop.create_future()) for _ in range(self._service.workers)]
        for first in firsts:
            lane = threading.Thread(target=self._decode, args=(first,), name="decode", daemon=True)
            self._lanes.append(lane)
            lane.start()
        await asyncio.gather(*(first.future for first in firsts))
        self.is_ready = True

    async def stop(self) -> None:
        """Finish what was taken, then end threads and processes."""
        for _ in self._lanes:
            self._uploads.put(None)
        for lane in self._lanes:
            await asyncio.to_thread(lane.join)
        self._decoded.put(None)
        await asyncio.to_thread(self._model_thread.join)

    async def predict(self, pictures: Sequence[bytes]) -> list[Prediction]:
        """Return a prediction for each picture, the bytes of an image file, with all classes.

        Raises:
            Busy: There is no room for them; try again a little later.
            Unavailable: They could not be classified, through no fault of their own.
        """
        if self.num_waiting + len(pictures) > self._service.max_waiting:
            raise Busy
        # All are awaited, so that no error is left behind unseen.
        outcomes = await asyncio.gather(*map(self._submit, pictures), return_exceptions=True)
        predictions = []
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
            predictions.append(outcome)
        return predictions

    async def decode(self, picture: bytes) -> ReadFile:
        """Return a picture's pixels, in the model's form, or why there are none.

        Raises:
            Busy: There is no room for it.
            Unavailable: It could not be decoded, through no fault of its own.
        """
        if self.num_waiting >= self._service.max_waiting:
            raise Busy
        file: ReadFile = await self._submit(picture, wants_pixels=True)
        return file

    def _submit(self, picture: bytes, *, wants_pixels: bool = False) -> "asyncio.Future[Any]":
        assert self._loop is not None, "start comes first"
        upload = _Upload(picture, self._loop.create_future(), wants_pixels)
        self.num_waiting += 1
        upload.future.add_done_callback(self._leave)
        self._uploads.put(upload)
        return upload.future

    def _leave(self, _: object) -> None:
        self.num_waiting -= 1

    def _deliver(self, outcomes: Sequence[_Outcome]) -> None:
        """Hand outcomes over; runs in the event loop. Who is gone gets none."""
        for upload, outcome in outcomes:
            if upload.future.done():
                continue
            if isinstance(outcome, Exception):
                upload.future.set_exception(outcome)
            else:
                upload.future.set_result(outcome)

    def _return(self, outcomes: Sequence[_Outcome]) -> None:
        assert self._loop is not None
        if outcomes:
            self._loop.call_soon_threadsafe(self._deliver, outcomes)

    def _decode(self, first: _Upload) -> None:
        """Decode uploads until there will be no more; one such thread for each process.

        Args:
            first: What starts the process, before anyone waits for it.
        """
        in_hand = deque([first])
        decoding = PictureDecoding(self._service.image)
        while True:
            try:
                for files in run_chunks(decoding, self._feed(in_hand), workers=1):
                    decoded = [_Decoded(in_hand.popleft(), file) for file in files]
                    self._return([each for each in decoded if each.upload.wants_pixels])
                    if classified := [each for each in decoded if not each.upload.wants_pixels]:
                        self._decoded.put(classified)
                    self.is_ready = True
                return
            except Exception as error:  # also a bug of ours: those who wait must hear, and the others go on
                self.is_ready = False
                reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
                print(f"serve: {printable(reason)}", file=sys.stderr, flush=True)
                self._return([(upload, Unavailable(reason)) for upload in in_hand])
                in_hand.clear()
                time.sleep(_RESTART_SECONDS)

    def _feed(self, in_hand: deque[_Upload]) -> Iterator[list[InputFile] | None]:
        """Yield uploads in chunks, None while there is nothing to take, until there will be no more.

        Args:
            in_hand: What was yielded and has not come back; it begins with what is to be yielded first.
        """
        if in_hand:
            yield [InputFile("", Contents(upload.data)) for upload in in_hand]
        while True:
            if len(in_hand) >= _UPLOADS_PER_LANE:
                yield None
                continue
            chunk: list[_Upload] = []
            # With nothing in hand, nothing is lost by waiting here.
            wanted = 1
            while len(chunk) < wanted:
                try:
                    upload = self._uploads.get(block=not in_hand and not chunk)
                except queue.Empty:
                    break
                if upload is None:
                    if chunk:
                        self._uploads.put(None)
                        break
                    return
                if not upload.future.cancelled():
                    chunk.append(upload)
                    wanted = min(_UPLOADS_PER_CHUNK, 1 + self._uploads.qsize() // self._service.workers)
            in_hand.extend(chunk)
            yield [InputFile("", Contents(upload.data)) for upload in chunk] or None

    def _classify(self) -> None:
        """Classify what was decoded until there will be no more; the model's only thread."""
        service = self._service
        while (batch := self._decoded.get()) is not None:
            until = time.monotonic() + service.max_wait_seconds
            while len(batch) < service.batch_size:
                is_more_coming = self.num_waiting > len(batch)
                wait = until - time.monotonic() if is_more_coming else 0
                try:
                    more = self._decoded.get(block=wait > 0, timeout=max(wait, 0))
                except queue.Empty:
                    break
                if more is None:
                    self._decoded.put(None)
                    break
                batch += more
            self.batch_sizes.append(len(batch))
            self._return(self._predict(batch))

    def _predict(self, batch: Sequence[_Decoded]) -> list[_Outcome]:
        service = self._service
        files = [decoded.file for decoded in batch]
        try:
            predictions, _ = predict_batch(
                service.model, files, service.classes, top_k=len(service.classes), rule=service.rule
            )
        except Exception as error:  # one batch fails; those who wait for it must hear, and others go on
            print(f"serve: the model failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            return [(decoded.upload, Unavailable("the model failed")) for decoded in batch]
        return [(decoded.upload, prediction) for decoded, prediction in zip(batch, predictions, strict=True)]
