"""A disk that is really full: a small file system that fills up while a stage runs."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.faults.broken_disk import NUM_EVENTS, STAGES
from tests.faults.paused import environment_to_pause, wait_for_pause
from tests.faults.tally import Tally
from tests.pipeline.project import Project

ROOM_KIB = (0, 4, 16, 64, 256)
"""What is left: other writes fail."""

_DISK_MIB = 96
_SECONDS_TO_END = 600.0


class NoSmallDisk(Exception):
    """This machine lets nobody, or not this user, make a file system; the message says why."""


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Have a file system of its own in a folder, which it makes.

    Raises:
        NoSmallDisk: It cannot be made; that takes Linux and root.
    """
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MIB}m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise NoSmallDisk(str(error)) from None
    if done.returncode:
        raise NoSmallDisk(done.stderr.strip())
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def fill_disks(project: Project, disk: Path, *, count: int, seed: int) -> Tally:
    """Run stages that pause at a file event until the disk is full; whatever comes, all outputs stay whole.

    Args:
        project: In which all stages ran; it is copied, with its cache and all.
        disk: A small file system, empty.
        count: How many runs.
        seed: Of the events, and of how much room is left.
    """
    generator = random.Random(seed)
    tally = Tally("full disks")
    copy = Project(disk / "project")
    shutil.copytree(project.root, copy.root, symlinks=True)
    (disk / "tmp").mkdir()
    expected = copy.hashes()
    num_ended = num_filled = 0
    for number in range(count):
        stage = STAGES[number % len(STAGES)]
        event, room_kib = generator.randint(1, NUM_EVENTS[stage]), generator.choice(ROOM_KIB)
        if number % 2:  # as after an upgrade: everything is decoded again, and there is no saved state
            shutil.rmtree(copy.root / ".dvc/tmp/darkroom", ignore_errors=True)
        was_filled, status, printed = _run_on_full_disk(
            copy, stage, event=event, room_kib=room_kib, temporary=disk / "tmp"
        )
        found = copy.hashes()
        wrong = sorted(name for name, sha256 in expected.items() if found.get(name) != sha256)
        left_over = sorted(found.keys() - expected.keys())
        lines = printed.strip().splitlines()
        is_right = not wrong and (status == 0 or (status == 1 and 1 <= len(lines) <= 2))
        tally.count(
            is_right,
            f"{stage}, at file {event}, {room_kib} KiB left: status {status}, {wrong}, {printed[-500:]}",
        )
        num_filled += was_filled
        num_ended += status != 0
        for path in wrong + left_over:
            (copy.root / path).unlink(missing_ok=True)
        if wrong:
            shutil.copytree(project.root / "data", copy.root / "data", dirs_exist_ok=True)
    tally.note = f"{num_filled} filled, {num_ended} ended the stage"
    return tally


def _run_on_full_disk(
    project: Project, stage: str, *, event: int, room_kib: int, temporary: Path
) -> tuple[bool, int, str]:
    """Return whether the disk was filled before the stage ended, its status and its standard error."""
    filler = temporary / "filler"
    process = psutil.Popen(
        [sys.executable, "-m", f"stages.{stage}"],
        cwd=project.root,
        env=environment_to_pause(event) | {"TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    paused = wait_for_pause(process)
    if paused is not None:
        fill_up(filler, room_kib=room_kib)
        paused.resume()
    _, printed = process.communicate(timeout=_SECONDS_TO_END)
    filler.unlink(missing_ok=True)
    return paused is not None, process.returncode, printed


def fill_up(path: Path, *, room_kib: int) -> None:
    """Write a file that leaves so much room on its disk and no more."""
    block = bytes(65536)
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(block)
    os.truncate(path, path.stat().st_size - 1024 * room_kib)
