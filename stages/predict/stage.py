"""The answering, top to bottom: what was read goes through the network, and its answers into a table."""

import argparse
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from schemas.vision.calibration import Calibration
from schemas.vision.checkpoint import Checkpoint
from stages.predict.arguments import SOME_FILES_FAILED
from stages.predict.inputs import Inputs
from stages.predict.predictor import Predictor
from stages.predict.progress import PredictProgress
from stages.predict.reading import ReadFile
from stages.predict.tables import UNKNOWN, Answer, open_table, silence_stdout
from stages.vision.calibration import find_threshold
from stages.vision.checkpoint import take_weights
from stages.vision.runtime import choose_device

READER_LEFT = 141
"""Exit status where nobody reads the answers any more, as of a process that SIGPIPE ends."""


def answer_files(
    files: Iterable[list[ReadFile]],
    inputs: Inputs,
    checkpoint: Checkpoint,
    data: bytes,
    arguments: argparse.Namespace,
) -> int:
    """Answer for files as they are read, and return the exit status.

    Args:
        files: Some at a time, those that are there.
        inputs: What they come from, which counts them.
        checkpoint: What the network is.
        data: The checkpoint's file, for the weights.
        arguments: The command line.
    """
    weights = take_weights(data, checkpoint, path=arguments.checkpoint)
    device = choose_device(arguments.device, place="--device")
    predictor = Predictor(checkpoint, weights, device=device)
    top_k = min(arguments.top_k, len(checkpoint.classes))
    threshold = choose_threshold(checkpoint.calibration, target_accuracy=arguments.target_accuracy)
    shares_terminal = arguments.output is None and sys.stdout.isatty()
    num_failed = num_unknown = 0
    try:
        with (
            open_table(arguments.output, arguments.format, top_k=top_k) as write,
            PredictProgress(lambda: inputs.num_files, shares_terminal=shares_terminal) as progress,
        ):
            for some in cut_batches(files, arguments.batch_size):
                answers = list(answer(predictor, some, top_k=top_k, threshold=threshold))
                num_failed += sum(bool(each.error) for each in answers)
                num_unknown += sum(each.is_unknown for each in answers)
                write(answers)
                progress.advance(len(some))
    except BrokenPipeError:
        silence_stdout()
        return READER_LEFT
    report(
        progress,
        num_failed=num_failed,
        num_unknown=num_unknown,
        num_passed_over=inputs.num_passed_over,
        output=arguments.output,
    )
    return SOME_FILES_FAILED if num_failed else 0


def cut_batches(files: Iterable[list[ReadFile]], batch_size: int) -> Iterator[list[ReadFile]]:
    """Yield what is there in batches of at most so many; nothing waits for a batch to be full."""
    for some in files:
        for start in range(0, len(some), batch_size):
            yield some[start : start + batch_size]


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


def answer(
    predictor: Predictor, files: Sequence[ReadFile], *, top_k: int, threshold: float
) -> Iterator[Answer]:
    """Yield an answer for every file, in order, those that have no pixels among them."""
    images = [file.pixels for file in files if file.pixels is not None]
    ranked = iter(predictor.rank(images, top_k=top_k) if images else ())
    for file in files:
        if file.pixels is None:
            yield Answer(file.name, error=file.reason)
        else:
            guesses = next(ranked)
            yield Answer(file.name, guesses, is_unknown=guesses[0].probability < threshold)


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
        print(
            f"predict: files without an answer: {num_failed:,}; each one's `error` says why", file=sys.stderr
        )
    if num_passed_over:
        print(f"predict: files without an image's suffix, passed over: {num_passed_over:,}", file=sys.stderr)
