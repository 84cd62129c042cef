"""prepare-dataset: turn `dataset.source` into data/prepared.

List, decode once, check, find what belongs together, audit, split, pack, measure. Run by `dvc repro`, or
as `python -m stages.prepare_dataset`. The stage itself is stage.py.
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

    # What the processes need is loaded while this one loads what it needs.
    start_early("stages.prepare_dataset.reading")
    from stages.prepare_dataset.stage import prepare
    from stages.shared.process import return_freed_memory

    return_freed_memory()

    prepare(params, record_inputs("prepare-dataset", params, read_params))


if __name__ == "__main__":
    run_stage(main)
