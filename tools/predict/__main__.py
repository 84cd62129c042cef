"""predict, top to bottom: files are read in worker processes, classified here, and written to a table.

Run as `python -m tools.predict`; arguments.py says with which arguments.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from stages.images.workers import start_early
from stages.shared.errors import run_stage
from stages.shared.process import limit_spinning
from stages.shared.progress import Progress
from tools.predict.arguments import SOME_FILES_FAILED, parse_arguments

if TYPE_CHECKING:
    from schemas.vision.checkpoint import Calibration, Checkpoint
    from tools.predict.predictor import Rule
    from tools.predict.reading import ReadFile
    from tools.predict.requested_files import Inputs

READER_LEFT = 141
"""Exit status where nobody reads the predictions any more, as of a process that SIGPIPE ends."""


def main() -> None:
    """Classify what the arguments name."""
    arguments = parse_arguments()
    # The worker processes load their libraries while this one loads its own.
    start_early("tools.predict.reading")
    from stages.vision.checkpoint import read_document
    from tools.predict.reading import read_files
    from tools.predict.requested_files import Inputs

    checkpoint, data = read_document(arguments.checkpoint)
    inputs = Inputs(arguments.paths, stdin=sys.stdin.buffer, separator=b"\0" if arguments.null else b"\n")
    limit_spinning()
    # Decoding begins here, while torch is imported, which takes seconds.
    files = read_files(inputs, checkpoint.image, workers=arguments.workers)
    sys.exit(predict_files(files, inputs, checkpoint, data, arguments))


def predict_files(
    files: "Iterable[list[ReadFile]]",
    inputs: "Inputs",
    checkpoint: "Checkpoint",
    data: bytes,
    arguments: argparse.Namespace,
) -> int:
    """Classify files as they are read, and return the exit status.

    Args:
        files: Some at a time, those that are there.
        inputs: What they come from, which counts them.
        checkpoint: What the network is.
        data: The checkpoint's file, for the weights.
        arguments: The command line.
    """
    from stages.vision.checkpoint import parse_weights
    from stages.vision.runtime import choose_device, explain_device_errors
    from tools.predict.prediction_table import check_classes, open_table, silence_stdout
    from tools.predict.predictor import Predictor, predict_batch
    from tools.predict.score import Score

    check_classes(checkpoint.classes, arguments.format)
    weights = parse_weights(data, checkpoint, path=arguments.checkpoint)
    device = choose_device(arguments.device, place="--device")
    batch_size = arguments.batch_size or choose_batch_size(checkpoint)
    top_k = min(arguments.top_k, len(checkpoint.classes))
    rule = choose_rule(checkpoint.calibration, arguments)
    score = Score(checkpoint.classes) if arguments.score else None
    shares_terminal = arguments.output is None and sys.stdout.isatty()
    num_failed = num_accepted = 0
    try:
        with (
            explain_device_errors("predict", lambda: f"set --batch-size to less than {batch_size}"),
            open_table(
                arguments.output,
                arguments.format,
                top_k=top_k,
                with_sets=arguments.coverage is not None,
                with_labels=arguments.score,
            ) as write,
            Progress(
                "predict",
                lambda: inputs.num_files,
                unit="files",
                file=sys.stderr,
                is_quiet=shares_terminal,
            ) as progress,
        ):
            predictor = Predictor(checkpoint, weights, device=device)
            for batch in cut_batches(files, batch_size):
                predictions = list(predict_batch(predictor, batch, top_k=top_k, rule=rule))
                if score:
                    predictions = score.add(predictions)
                num_failed += sum(bool(prediction.error) for prediction in predictions)
                num_accepted += sum(bool(prediction.accepted) for prediction in predictions)
                write(predictions)
                progress.advance(len(batch))
    except BrokenPipeError:
        silence_stdout()
        return READER_LEFT
    print_summary(
        progress,
        num_failed=num_failed,
        num_accepted=None if rule.threshold is None else num_accepted,
        inputs=inputs,
        output=arguments.output,
    )
    if score:
        print(f"predict: {score.describe()}", file=sys.stderr)
    return SOME_FILES_FAILED if num_failed else 0


def choose_batch_size(checkpoint: "Checkpoint") -> int:
    """Return how many images are classified at a time: no more pixels than 256 images of 256 px have."""
    from schemas.vision.transforms import image_after

    forms = (checkpoint.image, image_after(checkpoint.image, checkpoint.preprocessing))
    return max(1, min(256, 2**24 // max(form.height_px * form.width_px for form in forms)))


def cut_batches(files: "Iterable[list[ReadFile]]", batch_size: int) -> "Iterator[list[ReadFile]]":
    """Yield what is there in batches of at most so many; nothing waits for a batch to be full."""
    for some in files:
        for start in range(0, len(some), batch_size):
            yield some[start : start + batch_size]


def choose_rule(calibration: "Calibration", arguments: argparse.Namespace) -> "Rule":
    """Return which predictions are accepted and which classes are in sets; say what cannot be promised."""
    from stages.vision.guarantees import (
        explain_no_sets,
        explain_no_threshold,
        find_set_threshold,
        find_threshold,
    )
    from tools.predict.predictor import Rule

    threshold, why_not, set_threshold = None, "", None
    if arguments.target_accuracy > 0:
        target = {"target_accuracy": arguments.target_accuracy, "confidence": arguments.confidence}
        threshold = find_threshold(calibration, **target)
        if threshold is None:
            why_not = explain_no_threshold(calibration, **target)
            print(f"predict: `accepted` is empty: {why_not}", file=sys.stderr)
        else:
            why_not = f"probability below {threshold:.4g}, too low for {arguments.target_accuracy:g} accuracy"
    if arguments.coverage is not None:
        set_threshold = find_set_threshold(calibration, coverage=arguments.coverage)
        if set_threshold is None:
            why_no_sets = explain_no_sets(calibration, coverage=arguments.coverage)
            print(f"predict: `prediction_set` is empty: {why_no_sets}", file=sys.stderr)
    return Rule(threshold, why_not, set_threshold)


def print_summary(
    progress: Progress, *, num_failed: int, num_accepted: int | None, inputs: "Inputs", output: Path | None
) -> None:
    """Say on stderr how many files were classified, and how fast, and what was not there."""
    where = f"; see {output}" if output else ""
    accepted = "" if num_accepted is None else f"{num_accepted:,} of them accepted, "
    print(
        f"predict: {progress.num_done - num_failed:,} of {progress.num_done:,} files classified, "
        f"{accepted}{progress.speed:,.0f} a second{where}",
        file=sys.stderr,
    )
    if num_failed:
        print(f"predict: files that cannot be read: {num_failed:,}; `error` says why", file=sys.stderr)
    for missing in inputs.missing:
        print(f"predict: {missing}", file=sys.stderr)
    if others := inputs.num_missing - len(inputs.missing):
        print(f"predict: and {others:,} more of these", file=sys.stderr)
    if inputs.num_skipped:
        print(f"predict: files that are no images, skipped: {inputs.num_skipped:,}", file=sys.stderr)


if __name__ == "__main__":
    run_stage(main)
