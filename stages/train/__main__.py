"""train: fit the network to the prepared images and keep the best and the last epoch.

Run by `dvc repro`, or as `python -m stages.train`. The stage itself is stage.py.
"""

from stages.params.read import read_params
from stages.shared.errors import run_stage
from stages.shared.inputs import take_inputs


def main() -> None:
    """Check params.yaml, then run the stage."""
    params = read_params()
    # Torch takes seconds to import; a wrong file is refused before that.
    from stages.train.stage import train

    train(params, take_inputs("train", params, read_params))


if __name__ == "__main__":
    run_stage(main)
