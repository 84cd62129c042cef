"""The body of a request, read within limits, and the pictures in it."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request

from stages.shared.errors import shorten

logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # what is wrong with a form is its client's

_PASS_OVER_SECONDS = 2.0
_EXAMPLE = "as by: curl -F images=@photo.jpg"


class Refused(Exception):
    """A request that gets no predictions: the status, and why in one line."""

    def __init__(self, status: int, reason: str, *, retry_seconds: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry_seconds = retry_seconds


class Picture(NamedTuple):
    """An uploaded file."""

    name: str
    """What the client calls it, escaped and short."""

    data: bytes


@dataclass
class Intake:
    """Limits on what is uploaded, and how much of it is in memory at the moment."""

    max_bytes: int
    """Of one request."""

    max_pictures: int
    """In one request."""

    max_held_bytes: int
    """Of all requests at a time."""

    max_seconds: float
    """What a client may take to send a request."""

    held_bytes: int = field(default=0, init=False)

    @asynccontextmanager
    async def receive(self, request: Request) -> AsyncIterator[list[Picture]]:
        """Yield the pictures of a request: the files of its form, whatever their fields are called.

        Raises:
            Refused: The request is too large or too slow, is no form, or holds no picture.
        """
        num_bytes = 0
        try:
            try:
                form = self._start(request)
                async with asyncio.timeout(self.max_seconds):
                    async for piece in request.stream():
                        num_bytes += len(piece)
                        self.held_bytes += len(piece)
                        if num_bytes > self.max_bytes:
                            self._refuse_size()
                        if self.held_bytes > self.max_held_bytes:
                            raise Refused(503, "too much is being uploaded; try again later", retry_seconds=1)
                        form.add(piece)
            except TimeoutError:
                raise Refused(408, f"the request took more than {self.max_seconds:g} s to arrive") from None
            except ClientDisconnect:
                raise Refused(400, "the client left before the request was complete") from None
            except Refused:
                await self._pass_over(request)
                raise
            yield form.finish()
        finally:
            self.held_bytes -= num_bytes

    def _start(self, request: Request) -> "_Form":
        """Return the form that a request announces.

        Raises:
            Refused: It announces none, or too large a one.
        """
        kind, options = parse_options_header(request.headers.get("content-type"))
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise Refused(415, f"the request is no form with files (multipart/form-data), {_EXAMPLE}")
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.max_bytes:
            self._refuse_size()
        return _Form(options[b"boundary"], max_pictures=self.max_pictures)

    async def _pass_over(self, request: Request) -> None:
        """Drop what is still being sent: a client that is cut off while it sends sees no status."""
        num_bytes = 0
        with suppress(TimeoutError, ClientDisconnect, RuntimeError):  # RuntimeError: all has come
            async with asyncio.timeout(_PASS_OVER_SECONDS):
                async for piece in request.stream():
                    num_bytes += len(piece)
                    if num_bytes > self.max_bytes:
                        return

    def _refuse_size(self) -> NoReturn:
        raise Refused(
            413, f"the request has more than {self.max_bytes:,} bytes; send fewer or smaller pictures"
        )


class _Form:
    """The files of a form, taken out of it while it comes in."""

    def __init__(self, boundary: bytes, *, max_pictures: int) -> None:
        self._max_pictures = max_pictures
        self._pictures: list[Picture] = []
        self._is_empty = True
        self._is_whole = False
        self._name: bytes | None = None
        self._header, self._value, self._pieces = b"", b"", list[bytes]()
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._add_header,
                    "on_header_value": self._add_value,
                    "on_header_end": self._end_header,
                    "on_part_data": self._add_data,
                    "on_part_end": self._end,
                    "on_end": self._finish,
                },
            )
        except FormParserError as error:
            raise Refused(400, f"the form cannot be read: {shorten(str(error))}") from None

    def add(self, data: bytes) -> None:
        """Take what has come in.

        Raises:
            Refused: It is no form, or has too many files.
        """
        if not data:
            return
        self._is_empty = False
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise Refused(400, f"the form cannot be read: {shorten(str(error))}") from None

    def finish(self) -> list[Picture]:
        """Return the files once all has come in.

        Raises:
            Refused: There is none, or the last one is cut off.
        """
        if self._is_empty:
            raise Refused(422, f"the request is empty; send a picture, {_EXAMPLE}")
        if not self._is_whole:
            raise Refused(400, "the form is cut off")
        if not self._pictures:
            raise Refused(422, f"the form holds no file; send a picture, {_EXAMPLE}")
        return self._pictures

    def _begin(self) -> None:
        self._name = None
        self._header, self._value, self._pieces = b"", b"", []

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._name = parse_options_header(self._value)[1].get(b"filename")
        self._header, self._value = b"", b""

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._name is not None:  # a field that is no file is passed over
            self._pieces.append(data[start:end])

    def _end(self) -> None:
        if self._name is None:
            return
        if len(self._pictures) == self._max_pictures:
            raise Refused(413, f"the form has more than {self._max_pictures} files; send fewer at a time")
        name = shorten(self._name.decode("utf-8", "replace"), limit=120)
        self._pictures.append(Picture(name, b"".join(self._pieces)))

    def _finish(self) -> None:
        self._is_whole = True
