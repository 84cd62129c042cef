"""export: write the model in the formats of export.formats, each proven to predict as the checkpoint does.

`dvc repro` runs it when its data, code or parameters have changed. It takes no arguments: params.yaml says
all. The stage itself is stage.py.
"""

from stages.shared.errors import run_stage


def main() -> None:
    """Check params.yaml, then run the stage."""
    # Imported here, so that Ctrl-C ends in one line from the first moment on.
    from stages.shared.process import import_without_gc

    with import_without_gc():
        from stages.params.read import read_params
        from stages.shared.inputs import record_inputs
        from stages.shared.process import limit_spinning

        params = read_params()
        limit_spinning()
        from stages.export.stage import export

    export(params, record_inputs("export", params, read_params))


if __name__ == "__main__":
    run_stage(main, description=__doc__)
