"""Dependencies that parameters name and that are missing.

Without them DVC starts no stage, and says no more than `[Errno 2] No such file or directory`.
"""

from collections.abc import Iterator
from pathlib import Path

from stages.shared.errors import printable
from tools.doctor.obstacle import Obstacle
from tools.dvc_lock import parse_yaml

_ADVICE = {
    ("dataset", "source"): "put class folders there, or set dataset.source to where yours are",
    ("network", "weights_file"): "put the file there, or set network.weights_file: data/weights/none",
}


def check_missing_inputs() -> Iterator[Obstacle]:
    """Yield the parameters that name a file or folder which does not exist."""
    try:
        values = parse_yaml(Path("params.yaml").read_text(encoding="utf-8"))
    except ValueError:
        return  # `python -m schemas` says what is wrong with it
    for (section, key), default in _ADVICE.items():
        content = values.get(section) if isinstance(values, dict) else None
        found = content.get(key) if isinstance(content, dict) else None
        if isinstance(found, str) and not Path(found).exists():
            tracked = Path(f"{found.rstrip('/')}.dvc").exists()
            advice = "bring it back with: dvc checkout, or dvc pull" if tracked else default
            yield Obstacle(
                f"{section}.{key}: {printable(found)}: there is no such file or folder, and DVC starts "
                f"nothing without it; {advice}"
            )
