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
_END_MARKER = "d9"
_LEFT_OVER = re.compile(r"(\d+) extraneous bytes before marker 0x([0-9a-f]{2})")
_LOG_PREFIX = re.compile(r"^\[ *(WARN|ERROR|FATAL):.*?\] global \S+ (?:\w+ )?")
_OTHER_PAGES = "TIFFAdvanceDirectory"
"""What libtiff says of pages that are not looked at."""

_SERIOUS = ("Corrupt JPEG data", "Premature end", "Inconsistent progression")


class CapturedStderr:
    """Standard error of this whole process, kept in a file without a name.

    What Python itself writes there (`sys.stderr`) still goes where it went; what libraries write does not.
    The file is in memory where the system has such: on a full disk, complaints would be lost.
    """

    def __init__(self) -> None:
        if hasattr(os, "memfd_create"):
            self._file = os.fdopen(os.memfd_create("stderr"), "w+b")
        else:
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


def refuse_damage(complaints: str, *, pixels: bytes = b"") -> None:
    """Refuse an image whose decoder found it damaged; pass over what is merely odd.

    Odd are later pages that are missing, unknown tags, colour profiles that contradict themselves, and null
    bytes behind the pixels.

    Args:
        complaints: What CapturedStderr holds, a line for each.
        pixels: Of a JPEG what stands before the end marker; what its decoder left over is the end of it.

    Raises:
        Undecodable: It is cut off or damaged.
    """
    for line in complaints.splitlines():
        level, text = _split(line)
        if text.startswith(_OTHER_PAGES):
            continue
        if (left_over := _LEFT_OVER.search(text)) is not None:
            num_bytes = int(left_over[1])
            if left_over[2] != _END_MARKER or pixels[-num_bytes:] != bytes(num_bytes):
                raise damaged(f"{num_bytes:,} bytes of its pixels are left over")
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
