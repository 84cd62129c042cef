"""Where the stages hand files to each other, as dvc.yaml has it, and the commands that make them anew."""

from pathlib import Path

PREPARED = Path("data/prepared")
AUDIT = Path("data/audit")
MODEL = Path("data/model")
DVCLIVE = Path("data/dvclive")
REPORT = Path("data/report")
METRICS = Path("data/metrics")

MAKE_PREPARED = "dvc repro prepare-dataset"
MAKE_MODEL = "dvc repro train"
