"""What decoders write on standard error is heard, image by image, and what Python writes is not swallowed."""

import subprocess
import sys

import pytest

from stages.images.complaints import explain_failure, refuse_damage
from stages.images.decode import DEFAULT_LIMITS
from stages.images.formats.header import Undecodable
from stages.params.read import read_params
from tests.images.decode_child import decode_apart
from tests.images.hostile import hostile_files
from tests.images.samples import whole_files

HARMLESS = [
    "libpng warning: iCCP: known incorrect sRGB profile",
    "Warning: unknown JFIF revision number 9.09",
    "Corrupt JPEG data: 64 extraneous bytes before marker 0xd9",
    "[ WARN:0@0.1] global grfmt_tiff.cpp:123 TIFF_Warning TIFFReadDirectory: Unknown field with tag 40000",
    "[ERROR:0@0.1] global grfmt_tiff.cpp:117 TIFF_Error TIFFAdvanceDirectory: Error fetching directory count",
]
SERIOUS = {
    "Corrupt JPEG data: 65 extraneous bytes before marker 0xd9": "^is damaged: 65 bytes of its pixels",
    "Corrupt JPEG data: 1 extraneous bytes before marker 0xd0": "^is damaged: 1 bytes",
    "Corrupt JPEG data: premature end of data segment": "^is cut off: a part of its pixels is missing$",
    "Corrupt JPEG data: bad Huffman code": "^is damaged: Corrupt JPEG data: bad Huffman code$",
    "libpng error: bad adaptive filter value": "^is damaged: libpng error: bad adaptive filter value$",
    "[ERROR:0@0.2] global a.cpp:117 TIFF_Error LZWDecode: Not enough data": "^is damaged: LZWDecode: Not",
    "[ WARN:0@0.2] global a.cpp:123 TIFF_Warning JPEGLib: Corrupt JPEG data: bad": "^is damaged: JPEGLib",
}


@pytest.mark.parametrize("line", HARMLESS)
def test_harmless(line: str) -> None:
    """What is merely odd refuses nothing; 64 null bytes stand behind the pixels here."""
    refuse_damage(f"{line}\n", pixels=b"x" + bytes(64))


@pytest.mark.parametrize("line", SERIOUS)
def test_serious(line: str) -> None:
    """Damage is refused in words for people, also behind a harmless line."""
    with pytest.raises(Undecodable, match=SERIOUS[line]):
        refuse_damage(f"{HARMLESS[0]}\n{line}\n", pixels=b"x" + bytes(64))


def test_failure_is_explained() -> None:
    """A picture that was given up has its decoder's reason, without OpenCV's decoration."""
    line = "[ERROR:0@0.1] global a.cpp:299 errorLogCallback OpenJPEG2000: Stream too short\n\n"
    assert (
        str(explain_failure(line, kind="JPEG 2000"))
        == "is damaged: OpenCV cannot decode this JPEG 2000: OpenJPEG2000: Stream too short"
    )
    assert str(explain_failure("", kind="WebP")) == "is damaged: OpenCV cannot decode this WebP"


def test_each_image_has_its_own_complaints() -> None:
    """A damaged image does not make the next one look damaged, however many there are."""
    whole, damaged = whole_files()["jpeg"], hostile_files()["jpeg, late end marker"].data
    reasons = [outcome.reason for outcome in decode_apart([whole, damaged] * 50)]
    assert reasons[::2] == [""] * 50
    assert len(set(reasons[1::2])) == 1
    assert reasons[1]


def test_python_still_speaks() -> None:
    """Tracebacks and warnings of the worker itself still reach standard error."""
    program = (
        "import os, sys; from stages.images.complaints import CapturedStderr; captured = CapturedStderr(); "
        "os.write(2, b'from a library'); print(repr(captured.take())); print(repr(captured.take())); "
        "sys.stderr.write('from Python')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "'from a library'\n''\n"
    assert done.stderr == "from Python"


def test_limits_without_params_are_those_of_params_yaml() -> None:
    """predict, which has no params.yaml, refuses what prepare refuses."""
    dataset = read_params().dataset
    assert (dataset.max_pixels, dataset.max_file_bytes) == (
        DEFAULT_LIMITS.max_pixels,
        DEFAULT_LIMITS.max_file_bytes,
    )
