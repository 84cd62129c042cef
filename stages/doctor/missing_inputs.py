"""Whether what parameters name as a dependency is there.

Without it DVC starts no stage, and says no more than `[Errno 2] No such file or directory`.
"""

from collections.abc import Iterator
from pathlib import Path

from stages.doctor.finding import Finding
from stages.params.yaml12 import read_document
from stages.shared.errors import InputError
from stages.shared.text import printable

_ADVICE = {
    ("dataset", "source"): "put class folders there, or set dataset.source to where yours are",
    ("network", "weights_file"): "put the file there, or set network.weights_file: data/weights/none",
}


def check_missing_inputs() -> Iterator[Finding]:
    """Yield the parameters that name a file or folder which is not there."""
    try:
        data = read_document("params.yaml").data
    except InputError:
        return  # as `python -m schemas` says in full
    for (section, key), default in _ADVICE.items():
        values = data.get(section) if isinstance(data, dict) else None
        found = values.get(key) if isinstance(values, dict) else None
        if isinstance(found, str) and not Path(found).exists():
            advice = default
            if Path(f"{found.rstrip('/')}.dvc").exists():
                advice = "bring it back with: dvc checkout, or dvc pull"
            yield Finding(
                f"{section}.{key}: {printable(found)}: there is no such file or folder, and DVC starts "
                f"nothing without it; {advice}"
            )
