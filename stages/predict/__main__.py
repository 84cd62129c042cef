"""Answer for images: a line for each file, with its most probable classes.

PATH is an image file of any name, a folder or an archive (.zip, .tar, .tar.gz, .tgz, .tar.bz2, .tar.xz,
.tar.zst), in which files with an image's suffix are taken, a quoted pattern such as 'photos/**/*.jpg', or -
for a list of paths on standard input, one a line. For an image on standard input name /dev/stdin. Network,
classes and preprocessing come from the checkpoint; params.yaml and data/ are not looked at.
"""

import argparse
import math
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from schemas.vision.calibration import Calibration
from stages.images.decode import DecodedFile, decode_files
from stages.predict.inputs import Inputs
from stages.predict.predictor import Predictor
from stages.predict.progress import PredictProgress
from stages.predict.tables import UNKNOWN, Answer, open_table, silence_stdout
from stages.shared.errors import run_stage
from stages.shared.paths import MODEL
from stages.vision.calibration import find_threshold
from stages.vision.checkpoint import read_checkpoint
from stages.vision.runtime import choose_device

SOME_FILES_FAILED = 3
READER_LEFT = 141

_EXIT_STATUS = f"""exit status:
  0    every file was answered
  1    nothing was: no usable checkpoint, device or output
  2    the command line is wrong
  {SOME_FILES_FAILED}    some files could not be read; their lines say why in the column error

  find photos -name '*.jpg' -print0 | python -m stages.predict -0 - --output answers.csv
  python -m stages.predict photos.zip --format jsonl | jq -r 'select(.probability < 0.9) | .path'
"""


def main() -> None:
    """Answer for what the arguments name."""
    arguments = parse_arguments()
    checkpoint, weights = read_checkpoint(arguments.checkpoint)
    device = choose_device(arguments.device, place="--device")
    predictor = Predictor(checkpoint, weights, device=device)
    top_k = min(arguments.top_k, len(checkpoint.classes))
    threshold = choose_threshold(checkpoint.calibration, target_accuracy=arguments.target_accuracy)
    inputs = Inputs(arguments.paths, stdin=sys.stdin.buffer, separator=b"\0" if arguments.null else b"\n")
    decoded = decode_files(inputs, checkpoint.image, workers=arguments.workers)
    shares_terminal = arguments.output is None and sys.stdout.isatty()
    num_failed = num_unknown = 0
    try:
        with (
            open_table(arguments.output, arguments.format, top_k=top_k) as write,
            PredictProgress(lambda: inputs.num_files, shares_terminal=shares_terminal) as progress,
        ):
            for some in batched(decoded, arguments.batch_size):
                answers = list(answer(predictor, some, top_k=top_k, threshold=threshold))
                num_failed += sum(bool(each.error) for each in answers)
                num_unknown += sum(each.is_unknown for each in answers)
                write(answers)
                progress.advance(len(some))
    except BrokenPipeError:
        silence_stdout()
        sys.exit(READER_LEFT)
    report(
        progress,
        num_failed=num_failed,
        num_unknown=num_unknown,
        num_passed_over=inputs.num_passed_over,
        output=arguments.output,
    )
    sys.exit(SOME_FILES_FAILED if num_failed else 0)


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.predict",
        description=__doc__,
        epilog=_EXIT_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="file, folder, archive, pattern, or -")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        default=MODEL / "best.safetensors",
        help="default: %(default)s",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there, whole or not at all")
    parser.add_argument("--format", choices=("csv", "jsonl"), help="default: by --output's suffix, else csv")
    parser.add_argument(
        "--top-k", type=_positive, metavar="K", default=3, help="classes to list; default: %(default)s"
    )
    parser.add_argument(
        "--target-accuracy",
        type=_fraction,
        metavar="SHARE",
        default=0.99,
        help="share of the answers that should be right, as measured on the validation split: those too "
        f"improbable for it become {UNKNOWN}, with the classes they may be beside it; 0: none does; "
        "default: %(default)s",
    )
    parser.add_argument("-0", "--null", action="store_true", help="paths on standard input end in null bytes")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="default: %(default)s"
    )
    parser.add_argument("--batch-size", type=_positive, metavar="N", default=256, help="default: %(default)s")
    parser.add_argument(
        "--workers",
        type=_positive,
        metavar="N",
        default=count_cores(),
        help="threads that read and decode; default: the cores there are, %(default)s",
    )
    arguments = parser.parse_args()
    if arguments.format is None:
        is_jsonl = arguments.output is not None and arguments.output.suffix.lower() in {".jsonl", ".ndjson"}
        arguments.format = "jsonl" if is_jsonl else "csv"
    return arguments


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {text}; allowed: a whole number of at least 1")
    return number


def _fraction(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"found {text}; allowed: a number from 0 to 1")
    return number


def choose_threshold(calibration: Calibration, *, target_accuracy: float) -> float:
    """Return the probability below which an answer is unknown; where nothing is sure enough, all are."""
    threshold = find_threshold(calibration, target_accuracy=target_accuracy)
    if threshold is None:
        best = calibration.thresholds[-1].accuracy
        print(
            f"predict: every label is {UNKNOWN}: the validation split shows no more than {best:.2%} of the "
            f"surest answers to be right, and --target-accuracy is {target_accuracy:g}; with 0 all are given",
            file=sys.stderr,
        )
        return math.inf
    return threshold.probability


def count_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def batched(results: Iterable[DecodedFile], batch_size: int) -> Iterator[list[DecodedFile]]:
    """Yield lists of so many results, the last one of what is left."""
    remaining = iter(results)
    while some := list(islice(remaining, batch_size)):
        yield some


def answer(
    predictor: Predictor, files: Sequence[DecodedFile], *, top_k: int, threshold: float
) -> Iterator[Answer]:
    """Yield an answer for every file, in order, those that have no pixels among them."""
    images = [file.pixels for file in files if file.pixels is not None]
    ranked = iter(predictor.rank(images, top_k=top_k) if images else ())
    for file in files:
        if file.pixels is None:
            yield Answer(file.path, error=file.reason)
        else:
            guesses = next(ranked)
            yield Answer(file.path, guesses, is_unknown=guesses[0].probability < threshold)


def report(
    progress: PredictProgress, *, num_failed: int, num_unknown: int, num_passed_over: int, output: Path | None
) -> None:
    """Say on stderr how many files were answered, and how fast."""
    where = f"; the answers are in {output}" if output else ""
    print(
        f"predict: {progress.num_done - num_failed:,} of {progress.num_done:,} files answered, "
        f"{num_unknown:,} of them {UNKNOWN}, "
        f"{progress.speed:,.0f} a second{where}",
        file=sys.stderr,
    )
    if num_failed:
        print(f"predict: files without an answer: {num_failed:,}; the column error says why", file=sys.stderr)
    if num_passed_over:
        print(f"predict: files without an image's suffix, passed over: {num_passed_over:,}", file=sys.stderr)


if __name__ == "__main__":
    run_stage(main)
