"""ingest: turn `dataset.source` into data/images.

List the source, decode what was never seen before, measure, write pixel shards and the table of images.
`dvc repro` runs it when its data, code or parameters have changed. It takes no arguments: params.yaml says
all. The stage itself is stage.py.
"""

from stages.shared.errors import run_stage


def main() -> None:
    """Check params.yaml, then run the stage."""
    # Imported here, so that Ctrl-C ends in one line from the first moment on, and in this order: a wrong file
    # is refused before OpenCV is imported.
    from stages.params.read import read_params
    from stages.shared.inputs import record_inputs

    params = read_params()
    from stages.images.workers import start_early

    # The worker processes load their libraries while this one loads its own.
    start_early("stages.ingest.decoding")
    from stages.ingest.stage import ingest
    from stages.shared.process import return_freed_memory

    return_freed_memory()
    ingest(params, record_inputs("ingest", params, read_params))


if __name__ == "__main__":
    run_stage(main, description=__doc__)
