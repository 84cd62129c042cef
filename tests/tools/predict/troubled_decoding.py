"""Decoding in which some files crash or hang the decoder."""

import os
import signal

from tools.predict.reading import Decoding, ReadFile
from tools.predict.requested_files import InputFile

CRASH, HANG = b"crash", b"hang"


class TroubledDecoding(Decoding):
    """Decodes as it should, but for files of a few words."""

    max_seconds = 1.0

    def read(self, file: InputFile) -> ReadFile:
        data = file.ref.read(max_bytes=10**6)
        if data == CRASH:
            os.kill(os.getpid(), signal.SIGSEGV)
        while data == HANG:
            pass
        return super().read(file)
