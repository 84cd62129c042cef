"""predict, top to bottom: files are read in worker processes, classified here, and written to a table.

Run as `python -m tools.predict`; arguments.py says with which arguments.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from stages.images.workers import start_early
from stages.shared.errors import run_stage
from stages.shared.progress import Progress
from tools.predict.arguments import SOME_FILES_FAILED, parse_arguments

if TYPE_CHECKING:
    from schemas.vision.checkpoint import Calibration
    from stages.export.rule import Rule
    from tools.predict.model import ModelFile
    from tools.predict.reading import ReadFile
    from tools.predict.requested_files import Inputs
    from tools.predict.score import Score

READER_LEFT = 141
"""Exit status where nobody reads the predictions any more, as of a process that SIGPIPE ends."""


def main() -> None:
    """Classify what the arguments name."""
    arguments = parse_arguments()
    # The worker processes load their libraries while this one loads its own.
    start_early("tools.predict.reading")
    from tools.predict.model import open_model
    from tools.predict.reading import read_files
    from tools.predict.requested_files import Inputs

    model_file = open_model(arguments.checkpoint)
    inputs = Inputs(arguments.paths, stdin=sys.stdin.buffer, separator=b"\0" if arguments.null else b"\n")
    # Decoding begins here, while the model is loaded: torch alone takes seconds to import.
    files = read_files(inputs, model_file.image, workers=arguments.workers)
    sys.exit(predict_files(files, inputs, model_file, arguments))


def predict_files(
    files: "Iterable[list[ReadFile]]",
    inputs: "Inputs",
    model_file: "ModelFile",
    arguments: argparse.Namespace,
) -> int:
    """Classify files as they are read, and return the exit status.

    Args:
        files: Some at a time, those that are there.
        inputs: What they come from, which counts them.
        model_file: What classifies them.
        arguments: The command line.
    """
    from tools.predict.embeddings_file import open_embeddings
    from tools.predict.prediction import predict_batch
    from tools.predict.prediction_table import check_classes, open_table, silence_stdout

    check_classes(model_file.classes, arguments.format)
    model = model_file.load(device=arguments.device, place="--device")
    if arguments.embeddings:
        model.check_embeddings("--embeddings")
    top_k = min(arguments.top_k, len(model_file.classes))
    rule = announce_rule(model_file.calibration, arguments)
    score = build_score(model_file.classes) if arguments.score else None
    shares_terminal = arguments.output is None and sys.stdout.isatty()
    num_failed = num_accepted = 0
    try:
        with (
            open_table(
                arguments.output,
                arguments.format,
                top_k=top_k,
                with_sets=arguments.coverage is not None,
                with_labels=arguments.score,
            ) as write,
            open_embeddings(arguments.embeddings, table=arguments.output)
            if arguments.embeddings
            else nullcontext() as append,
            Progress(
                "predict",
                lambda: inputs.num_files,
                unit="files",
                file=sys.stderr,
                is_quiet=shares_terminal,
            ) as progress,
        ):
            for batch in cut_batches(files, arguments.batch_size or model_file.batch_size):
                predictions, embeddings = predict_batch(
                    model,
                    batch,
                    model_file.classes,
                    top_k=top_k,
                    rule=rule,
                    with_embeddings=append is not None,
                )
                if append and embeddings is not None:
                    append([each.path for each in predictions if not each.error], embeddings)
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


def cut_batches(files: "Iterable[list[ReadFile]]", batch_size: int) -> "Iterator[list[ReadFile]]":
    """Yield what is there in batches of at most so many; nothing waits for a batch to be full."""
    for some in files:
        for start in range(0, len(some), batch_size):
            yield some[start : start + batch_size]


def build_score(classes: "Sequence[str]") -> "Score":
    """Return what counts correct predictions."""
    from tools.predict.score import Score  # which imports SciPy: most runs need neither

    return Score(classes)


def announce_rule(calibration: "Calibration", arguments: argparse.Namespace) -> "Rule":
    """Return which predictions are accepted and which classes are in sets; say what cannot be promised."""
    from stages.export.rule import choose_rule

    rule = choose_rule(
        calibration,
        target_accuracy=arguments.target_accuracy,
        confidence=arguments.confidence,
        coverage=arguments.coverage,
    )
    if rule.threshold is None and rule.why_not:
        print(f"predict: `accepted` is empty: {rule.why_not}", file=sys.stderr)
    if rule.why_no_sets:
        print(f"predict: `prediction_set` is empty: {rule.why_no_sets}", file=sys.stderr)
    return rule


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
