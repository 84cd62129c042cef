"""Where the stages hand files to each other, as dvc.yaml says too, and where they keep their own."""

from pathlib import Path

IMAGES = Path("data/images")
PREPARED = Path("data/prepared")
AUDIT = Path("data/audit")
MODEL = Path("data/model")
DVCLIVE = Path("data/dvclive")
REPORT = Path("data/report")
METRICS = Path("data/metrics")

MAKE_IMAGES = "dvc repro ingest"
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
