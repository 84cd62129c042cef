"""Reading in which some files crash or hang the decoder."""

import os
import signal
import time

from schemas.shared.image import ImageForm
from stages.images.decode import Decoded, Decoder
from stages.predict.reading import Reading

CRASH, HANG = b"crash", b"hang"


class TroubledReading(Reading):
    """Its processes decode as they should, but for files of a few words."""

    max_seconds = 1.0

    def start(self) -> None:
        super().start()
        self._decoder: Decoder = _TroubledDecoder(self._decoder)


class _TroubledDecoder(Decoder):
    def __init__(self, decoder: Decoder) -> None:
        self._sound = decoder

    def decode(self, data: bytes, form: ImageForm) -> Decoded:
        if data == CRASH:
            os.kill(os.getpid(), signal.SIGSEGV)
        elif data == HANG:
            time.sleep(60)
        return self._sound.decode(data, form)
