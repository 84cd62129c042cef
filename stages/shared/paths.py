"""Where the stages hand files to each other; the same paths stand in dvc.yaml."""

from pathlib import Path

PREPARED = Path("data/prepared")
AUDIT = Path("data/audit")
MODEL = Path("data/model")
DVCLIVE = Path("data/dvclive")
REPORT = Path("data/report")
METRICS = Path("data/metrics")
