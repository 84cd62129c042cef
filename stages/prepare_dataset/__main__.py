"""prepare-dataset: turn data/images into data/prepared and data/audit.

Find what belongs together, audit, split, write.
`dvc repro` runs it when its data, code or parameters have changed. It takes no arguments: params.yaml says
all. The stage itself is stage.py.
"""

from stages.shared.errors import run_stage


def main() -> None:
    """Check params.yaml, then run the stage."""
    # Imported here, so that Ctrl-C ends in one line from the first moment on, and in this order: a wrong file
    # is refused before NumPy and OpenCV are imported.
    from stages.params.read import read_params
    from stages.shared.inputs import record_inputs

    params = read_params()
    from stages.prepare_dataset.stage import prepare
    from stages.shared.process import return_freed_memory

    return_freed_memory()
    prepare(params, record_inputs("prepare-dataset", params, read_params))


if __name__ == "__main__":
    run_stage(main, description=__doc__)
