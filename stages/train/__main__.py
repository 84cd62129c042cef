"""train: fit the network to the prepared images and keep the best and the last epoch.

`dvc repro` runs it when its data, code or parameters have changed. It takes no arguments: params.yaml says
all. The stage itself is stage.py.
"""

from stages.shared.errors import run_stage


def main() -> None:
    """Check params.yaml, then run the stage."""
    # Imported here, so that Ctrl-C ends in one line from the start, and in this order: a wrong file is
    # refused before torch is imported, which takes seconds.
    from stages.shared.process import import_without_gc, keep_freed_memory

    keep_freed_memory()
    with import_without_gc():
        from stages.params.read import read_params
        from stages.shared.inputs import record_inputs
        from stages.shared.process import limit_spinning

        params = read_params()
        if params.cluster.address is not None:
            from stages.train.nodes import train_on_nodes as train
        elif params.cluster.processes > 1:
            from stages.train.cluster import train_here as train
        else:
            limit_spinning()
            from stages.train.stage import train

    train(params, record_inputs("train", params, read_params))


if __name__ == "__main__":
    run_stage(main, description=__doc__)
