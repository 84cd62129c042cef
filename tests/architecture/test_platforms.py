"""Where darkroom runs: Linux and macOS. On Windows it says so in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.imports import ROOT, find_modules

COMMANDS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
    for folder in ("schemas", "stages", "tools")
    for path in find_modules(folder)
    if '\nif __name__ == "__main__":' in path.read_text(encoding="utf-8")
)

WINDOWS = """
import runpy, signal, sys, sysconfig

sysconfig.get_config_vars()  # kept: later it would look for a file named for Windows

class NotOnWindows:
    def find_spec(self, name, path=None, target=None):
        if name in ("fcntl", "grp", "posix_ipc", "pwd", "resource", "termios"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules.pop(name, None)
sys.meta_path.insert(0, NotOnWindows())
for name in ("SIGHUP", "SIGPROF", "pthread_sigmask", "setitimer"):
    delattr(signal, name)
sys.platform = "win32"
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""
"""What a command finds missing on Windows before it does anything."""


@pytest.mark.parametrize("command", COMMANDS)
def test_windows_is_refused_in_one_line(command: str) -> None:
    """Whichever `python -m` comes first, whatever it is asked: no traceback, and what to do instead."""
    done = subprocess.run(
        [sys.executable, "-c", WINDOWS, command, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("darkroom runs on Linux and macOS; on Windows, install WSL")


def test_make_on_windows_is_refused_in_one_line(tmp_path: Path) -> None:
    """Windows sets OS for every make there is."""
    # Below another make, as in `make test`, it would print which folders it enters.
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", "-f", ROOT / "Makefile"],
        cwd=tmp_path,
        env=outer | {"OS": "Windows_NT"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "on Windows, install WSL" in done.stderr
