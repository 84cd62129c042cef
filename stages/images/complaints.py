"""What decoders complain of on standard error, image by image.

OpenCV returns a picture for a JPEG with a hole in it. That there is one, libjpeg says only there.
"""

import os
import re
import sys
import tempfile

from stages.images.formats.header import Undecodable, cut_off, damaged
from stages.shared.text import printable

_STDERR = 2
_MOST_BYTES = 4096
_MOST_LEFT_OVER = 8
"""The eighth part of a file may be left over before the end marker: cameras and web sites pad there."""

_LEFT_OVER = re.compile(r"(\d+) extraneous bytes before marker 0x([0-9a-f]{2})")
_LOG_PREFIX = re.compile(r"^\[ *(WARN|ERROR|FATAL):.*?\] global \S+ (?:\w+ )?")
_SERIOUS = ("Corrupt JPEG data", "Premature end", "Inconsistent progression")


class CapturedStderr:
    """Standard error of this whole process, kept in a file without a name.

    What Python itself writes there (`sys.stderr`) still goes where it went; what libraries write does not.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it is open as long as the process runs
        self._descriptor = self._file.fileno()
        sys.stderr = os.fdopen(os.dup(_STDERR), "w", buffering=1, errors="backslashreplace")
        os.dup2(self._descriptor, _STDERR)  # the two share their position

    def take(self) -> str:
        """Return what was written since the last time; nearly always nothing."""
        if not os.lseek(self._descriptor, 0, os.SEEK_CUR):
            return ""
        text = os.pread(self._descriptor, _MOST_BYTES, 0)
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        return text.decode("utf-8", errors="replace")


def refuse_damage(complaints: str, *, num_bytes: int) -> None:
    """Refuse an image whose decoder found it damaged; pass over what is merely odd.

    Odd are unknown tags, colour profiles that contradict themselves, rubbish before a segment of a JPEG's
    header, and rubbish before its end marker, if it is little.

    Args:
        complaints: What CapturedStderr holds, a line for each.
        num_bytes: Length of the image file.

    Raises:
        Undecodable: It is cut off or damaged.
    """
    for line in complaints.splitlines():
        level, text = _split(line)
        if (left_over := _LEFT_OVER.search(text)) is not None:
            _refuse_left_over(int(left_over[1]), int(left_over[2], 16), num_bytes=num_bytes)
        elif "bad ICC marker" in text:
            continue
        elif "premature end of data segment" in text or "Premature end of JPEG file" in text:
            raise cut_off("a part of its pixels is missing")
        elif level in ("ERROR", "FATAL") or text.startswith("libpng error") or _is_serious(text):
            raise damaged(printable(text))


def _split(line: str) -> tuple[str, str]:
    """Return the level and the text of a line; without a level, libjpeg and libpng write."""
    prefix = _LOG_PREFIX.match(line)
    return (prefix[1], line[prefix.end() :]) if prefix else ("", line.strip())


def _is_serious(text: str) -> bool:
    return any(sign in text for sign in _SERIOUS)


def _refuse_left_over(num_left_over: int, marker: int, *, num_bytes: int) -> None:
    """Refuse bytes that decoding did not use, where they show that it had lost its way."""
    if 0xD0 <= marker <= 0xD7:
        raise damaged("a restart marker stands where pixels should")
    if marker == 0xD9 and num_left_over * _MOST_LEFT_OVER > num_bytes:
        raise damaged(f"{num_left_over:,} of its {num_bytes:,} bytes are left over when the picture is full")


def explain_failure(complaints: str, *, kind: str) -> Undecodable:
    """Return the refusal of an image that its decoder gave up.

    Args:
        complaints: What CapturedStderr holds, or what an exception says.
        kind: The image's format.
    """
    for line in complaints.splitlines():
        _, text = _split(line)
        if text:
            return damaged(f"OpenCV cannot decode this {kind}: {printable(text.strip())}")
    return damaged(f"OpenCV cannot decode this {kind}")
