"""Classify images: a line for each file, with its most probable classes.

PATH is an image file of any name, a folder or an archive (.zip, .tar, .tar.gz, .tgz, .tar.bz2, .tar.xz,
.tar.zst), in which the images are taken, a quoted pattern such as 'photos/**/*.jpg', or -
for a list of paths on standard input, one a line. For an image on standard input name /dev/stdin. Network,
classes and preprocessing come from the model file; params.yaml and data/ are not looked at.
"""

import argparse
import math
import os
from pathlib import Path

from stages.shared.paths import MODEL

SOME_FILES_FAILED = 3
"""Exit status."""

_STDOUT = ("-", "/dev/stdout")

_EPILOG = """not read, as by ingest with the params.yaml that comes with darkroom:
  more than {limits.max_file_bytes:,} bytes (max_file_bytes), or
  {limits.max_pixels:,} pixels (max_pixels), and what takes more than {limits.max_seconds:g} s
  of CPU time, or in proportion more above 10 megapixels

exit status:
  0    every file was classified
  1    nothing was classified: no usable model, device or output
  2    the command line is wrong
  {some_failed}    some or all files could not be read; each one's `error` says why

  find photos -name '*.jpg' -print0 | python -m tools.predict -0 - --output predictions.csv
  python -m tools.predict photos.zip --format jsonl | jq -r 'select(.probability < 0.9) | .path'
"""


class _Parser(argparse.ArgumentParser):
    """Imports the decoders, for their limits, only if asked for help: they take a third of a second."""

    def format_help(self) -> str:
        from stages.images.decode import DEFAULT_LIMITS

        self.epilog = _EPILOG.format(limits=DEFAULT_LIMITS, some_failed=SOME_FILES_FAILED)
        return super().format_help()


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = _Parser(
        prog="python -m tools.predict",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="file, folder, archive, pattern, or -")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        default=MODEL / "best.safetensors",
        help="a checkpoint, or an exported model (.onnx), which needs no torch; default: %(default)s",
    )
    parser.add_argument(
        "--output",
        type=_output,
        metavar="FILE",
        help="write there, whole or not at all, over a file or a link of that name; -, the default: standard "
        "output",
    )
    parser.add_argument(
        "--embeddings",
        type=_embeddings,
        metavar="FILE.npy",
        help="write there, as --output does, what the network's last layer is given: float32 (files, "
        "features), a row for each file that can be read; their paths go to FILE.paths.csv",
    )
    parser.add_argument("--format", choices=("csv", "jsonl"), help="default: by --output's suffix, else csv")
    parser.add_argument(
        "--top-k", type=_positive, metavar="K", default=3, help="classes to list; default: %(default)s"
    )
    parser.add_argument(
        "--target-accuracy",
        type=_fraction,
        metavar="SHARE",
        default=0.99,
        help="accuracy of the predictions with `accepted` true, which the validation split must promise; "
        "`reason` says why others are not; 0: no promise, `accepted` is empty; default: %(default)s",
    )
    parser.add_argument(
        "--confidence",
        type=_confidence,
        metavar="SHARE",
        default=0.9,
        help="how sure the validation split must be of --target-accuracy; default: %(default)s",
    )
    parser.add_argument(
        "--coverage",
        type=_confidence,
        metavar="SHARE",
        help="add the column `prediction_set`: classes of which one is the true one so often, such as 0.95",
    )
    parser.add_argument(
        "--score",
        action="store_true",
        help="take the folder named after a class as a file's true class: add the column `label`, and print "
        "the accuracy",
    )
    parser.add_argument("-0", "--null", action="store_true", help="paths on standard input end in null bytes")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="default: %(default)s"
    )
    parser.add_argument(
        "--batch-size", type=_positive, metavar="N", help="default: 256, and fewer above 256 x 256 px"
    )
    parser.add_argument(
        "--workers",
        type=_positive,
        metavar="N",
        default=count_cores(),
        help="processes that read and decode; default: the number of cores, %(default)s",
    )
    arguments = parser.parse_args()
    if arguments.format is None:
        is_jsonl = arguments.output is not None and arguments.output.suffix.lower() in {".jsonl", ".ndjson"}
        arguments.format = "jsonl" if is_jsonl else "csv"
    return arguments


def _output(text: str) -> Path | None:
    return None if text in _STDOUT else Path(text)


def _embeddings(text: str) -> Path:
    if not text.endswith(".npy"):
        raise argparse.ArgumentTypeError(f"found {text}; allowed: a name that ends in .npy")
    return Path(text)


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {text}; allowed: a whole number of at least 1")
    return number


def _fraction(text: str) -> float:
    if not 0 <= (number := _number(text)) <= 1:
        raise argparse.ArgumentTypeError(f"found {text}; allowed: a number from 0 to 1")
    return number


def _confidence(text: str) -> float:
    if not 0 < (number := _number(text)) < 1:
        raise argparse.ArgumentTypeError(f"found {text}; allowed: a number between 0 and 1")
    return number


def _number(text: str) -> float:
    """Return the number, or NaN, which no range holds."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def count_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
