"""Where the stages hand files to each other, as dvc.yaml says too, and where they keep their own."""

import os
from pathlib import Path

PREPARED = Path("data/prepared")
AUDIT = Path("data/audit")
MODEL = Path("data/model")
DVCLIVE = Path("data/dvclive")
REPORT = Path("data/report")
METRICS = Path("data/metrics")

MAKE_PREPARED = "dvc repro prepare-dataset"
MAKE_MODEL = "dvc repro train"


def list_tested(checkpoint: str) -> tuple[Path, ...]:
    """Return the files that a test report is made of: those that say all of the others by their hashes."""
    return (
        PREPARED / "manifest.json",
        AUDIT / "findings.csv",
        MODEL / f"{checkpoint}.safetensors",
        MODEL / "history.json",
    )


def find_dvc_folder() -> Path | None:
    """Return the .dvc folder of the repository; None outside one.

    DVC runs experiments in copies of the repository. DVC_ROOT names the repository itself in all of them.
    """
    root = os.environ.get("DVC_ROOT")
    folders = [Path(root)] if root else [Path.cwd(), *Path.cwd().parents]
    return next((folder / ".dvc" for folder in folders if (folder / ".dvc").is_dir()), None)


def find_scratch() -> Path | None:
    """Return the folder for what outlives a run but is no output; None outside a DVC repository.

    DVC removes a stage's outputs before it runs the stage, and the copies it runs experiments in after that.
    """
    found = find_dvc_folder()
    return found / "tmp" / "darkroom" if found else None
