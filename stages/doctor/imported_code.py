"""Whether an experiment in a folder of its own runs the code of that folder."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from stages.doctor.finding import Finding
from stages.shared.text import printable

_PACKAGES = ("stages", "schemas")
_PROGRAM = "import schemas, stages; print(schemas.__file__, stages.__file__, sep='\\n')"


def check_imported_code() -> Iterator[Finding]:
    """Yield the places that come before the working folder when the `python` on PATH imports.

    DVC runs experiments in copies of the repository. The stages' own command, `python -m stages.train`,
    looks for code in the places where `python -c` does.
    """
    python = shutil.which("python")
    if python is None:
        yield Finding("PATH: has no python, by which DVC starts the stages; activate .venv")
        return
    with TemporaryDirectory() as name:
        folder = Path(name).resolve()
        for package in _PACKAGES:
            (folder / package).mkdir()
            (folder / package / "__init__.py").touch()
        done = subprocess.run(
            [python, "-c", _PROGRAM], cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            yield Finding(
                f"{python}: does not find code in the working folder, so no stage runs; unset PYTHONSAFEPATH"
            )
            return
        for line in done.stdout.splitlines():
            path = Path(line)
            if not path.resolve().is_relative_to(folder):
                yield Finding(
                    f"{printable(str(path.parent))}: is imported from there in every experiment, whatever "
                    "code it has; unset PYTHONSAFEPATH and PYTHONPATH, uninstall darkroom from this Python"
                )
