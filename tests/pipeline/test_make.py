"""What make does to the environment."""

import shutil
import subprocess
from pathlib import Path

from tests.architecture.imports import ROOT


def test_env_never_empties_an_environment_behind_a_link(tmp_path: Path) -> None:
    """A .venv that is a link to another project's, and not current, is refused; nothing there is touched."""
    shared, clone = tmp_path / "shared", tmp_path / "clone"
    shared.mkdir()
    clone.mkdir()
    (shared / "installed").write_text("by another lock")
    (shared / "package.py").write_text("")
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(ROOT / name, clone)
    (clone / ".venv").symlink_to(shared)

    answer = subprocess.run(
        ["make", "env"], cwd=clone, capture_output=True, text=True, timeout=60, check=False
    )

    assert answer.returncode != 0
    assert ".venv is a link" in answer.stderr
    assert sorted(path.name for path in shared.iterdir()) == ["installed", "package.py"]
