"""Archives of any number of small images, and the memory that preparing them takes."""

import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np

from benchmarks.prepare.contestants import ROOT, STAGES


def write_small_images(path: Path, number: int) -> None:
    """Write an archive of JPEG files of 28 x 28, no two alike, in ten classes."""
    generator = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(number):
            coarse = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            pixels = cv2.resize(coarse, (28, 28), interpolation=cv2.INTER_CUBIC)
            _, data = cv2.imencode(".jpg", pixels)
            archive.writestr(f"class-{i % 10}/{i:07}.jpg", data.tobytes())


def watch_memory(project: Path) -> tuple[int, int, int]:
    """Run both stages, and return the most memory in bytes that one, any worker and all together held.

    All together: the sum of what each has of its own and its share of what several have (PSS).
    """
    shutil.rmtree(project / "data", ignore_errors=True)
    stage, worker, together = (
        max(peaks) for peaks in zip(*(_watch(project, name) for name in STAGES), strict=True)
    )
    return stage, worker, together


def _watch(project: Path, name: str) -> tuple[int, int, int]:
    stage = subprocess.Popen(
        [sys.executable, "-m", f"stages.{name}"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    peaks: dict[int, int] = {}
    most_together = 0
    while stage.poll() is None:
        members = _members(stage.pid)
        for pid in members:
            peaks[pid] = max(peaks.get(pid, 0), _read_bytes(pid, "status", "VmHWM:"))
        together = sum(_read_bytes(pid, "smaps_rollup", "Pss:") for pid in members)
        most_together = max(most_together, together)
        time.sleep(0.02)
    assert stage.returncode == 0
    return peaks.pop(stage.pid), max(peaks.values(), default=0), most_together


def _members(session: int) -> list[int]:
    """Return the processes of a session."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    members = []
    for pid in pids:
        try:
            if os.getsid(pid) == session:
                members.append(pid)
        except ProcessLookupError:
            continue
    return members


def _read_bytes(pid: int, file: str, field: str) -> int:
    """Return what the system says of a process; 0 of one that has just ended."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), 0)
