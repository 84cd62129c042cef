"""predict: answer for images with nothing but a checkpoint.

Run as `python -m stages.predict`; arguments.py says of what. The answering itself is stage.py.
"""

import sys

from stages.images.workers import start_early
from stages.predict.arguments import parse_arguments
from stages.shared.errors import run_stage
from stages.shared.process import limit_spinning


def main() -> None:
    """Answer for what the arguments name."""
    arguments = parse_arguments()
    # What the processes need is loaded while this one loads what it needs.
    start_early("stages.predict.reading")
    from stages.predict.inputs import Inputs
    from stages.predict.reading import read_files
    from stages.vision.checkpoint_document import read_document

    checkpoint, data = read_document(arguments.checkpoint)
    inputs = Inputs(arguments.paths, stdin=sys.stdin.buffer, separator=b"\0" if arguments.null else b"\n")
    files = read_files(inputs, checkpoint.image, workers=arguments.workers)
    limit_spinning()
    next(files)  # decoding has begun, while torch is imported, which takes seconds
    from stages.predict.stage import answer_files

    sys.exit(answer_files(files, inputs, checkpoint, data, arguments))


if __name__ == "__main__":
    run_stage(main)
