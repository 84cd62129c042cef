"""Machines that stop, signal, starve and fill up while ingest decodes: no sound image is lost.

A run ends with the same images and reasons as on an idle machine, or it stops with a line.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import psutil
from PIL import Image

from stages.images.image_table import read_ingested
from tests.faults.tally import Tally
from tests.train.project import write_params

_ROOT = Path(__file__).parents[2]
_MAX_CPU_SECONDS = 3.0
_STOP_SECONDS = 3.5
_SECONDS_TO_END = 120.0

_STRAY = ("TERM", "SEGV", "KILL", "PROF", "HUP", "INT")
_ADDRESS_MB = (600, 650, 700, 800, 900, 1100, 1500, 2000)
_FILL = "mount -t tmpfs -o size={size} tmpfs {folder} && head -c {fill} /dev/zero > {folder}/filler; "


def attack(scratch: Path, *, seed: int) -> Iterator[Tally]:
    """Yield what came of stops, stray signals, memory limits, and full or odd temporary folders."""
    generator = random.Random(seed)
    project = _Project(scratch)
    yield project.stop(generator)
    yield project.send_signals(generator)
    yield project.limit_memory()
    yield project.move_temporary_files()


class _Project:
    """A folder with sound and damaged images, and what an undisturbed run makes of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        write_params(
            folder,
            dataset__source="raw",
            dataset__max_decode_seconds=_MAX_CPU_SECONDS,
            dataset__undecodable="exclude",
        )
        for name in ("a", "b"):
            _write_images(folder / "raw" / name)
        status, printed = self._finish(self._start())
        assert status == 0, printed
        self._expected = self._read_table()
        assert sum(bool(reason) for reason in self._expected.values()) == 4, self._expected

    def stop(self, generator: random.Random) -> Tally:
        """Stop all processes or one worker, as Ctrl-Z and a frozen container do, and let them go on."""
        tally = Tally("processes stopped while they decode")
        for number in range(3):
            process, workers, delay = self._start_and_wait(generator)
            everyone = [process, *process.children(recursive=True)]
            for victim in everyone if number % 2 else workers[:1]:
                victim.suspend()
            time.sleep(_STOP_SECONDS)
            for victim in everyone:
                victim.resume()
            self._count(tally, process, f"stopped after {delay:.1f} s", may_refuse=False)
        return tally

    def send_signals(self, generator: random.Random) -> Tally:
        """Send a worker a signal that is not meant for it."""
        tally = Tally("stray signals to workers")
        num_hit = 0
        for name in _STRAY:
            process, workers, delay = self._start_and_wait(generator)
            if workers:
                num_hit += 1
                workers[generator.randrange(len(workers))].send_signal(signal.Signals[f"SIG{name}"])
            self._count(tally, process, f"SIG{name} after {delay:.1f} s", may_refuse=False)
        tally.note = f"{num_hit} hit a worker"
        return tally

    def limit_memory(self) -> Tally:
        """Give every process less address space."""
        tally = Tally("memory limits")
        for limit_mb in _ADDRESS_MB if sys.platform == "linux" else ():
            process = self._start(["sh", "-c", f'ulimit -v {limit_mb * 1000}; exec "$@"', "sh"])
            self._count(tally, process, f"ulimit -v {limit_mb} MB", may_refuse=True)
        return tally

    def move_temporary_files(self) -> Tally:
        """Have temporary files in a folder of a long name, and in small and full file systems."""
        tally = Tally("temporary folders")
        long = self._folder / ("long" * 25)
        long.mkdir()
        self._count(tally, self._start(TMPDIR=str(long)), "a TMPDIR of 100 characters", may_refuse=False)
        if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
            tally.note = "this machine makes no small file system"
            return tally
        small = self._folder / "small"
        small.mkdir()
        full_tmp = _FILL.format(size="4k", folder=small, fill=4096)
        full_shm = _FILL.format(size="4k", folder="/dev/shm", fill=4096)
        for name, script in {
            "/dev/shm of 64 kB": _FILL.format(size="64k", folder="/dev/shm", fill=0),
            "a full /dev/shm": full_shm,
            "a full TMPDIR": full_tmp,
            "both full": full_tmp + full_shm,
        }.items():
            command = ["unshare", "-m", "sh", "-c", f'{script} exec "$@"', "sh"]
            self._count(tally, self._start(command, TMPDIR=str(small)), name, may_refuse=True)
        return tally

    def _start(self, prefix: Sequence[str] = (), **variables: str) -> psutil.Popen:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
        return psutil.Popen(
            [*prefix, sys.executable, "-m", "stages.ingest"],
            cwd=self._folder,
            env=environment | {"PYTHONPATH": str(_ROOT)} | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def _start_and_wait(self, generator: random.Random) -> tuple[psutil.Popen, list[psutil.Process], float]:
        """Start a run; return it, its workers, and for how long they have been at work."""
        process = self._start()
        while process.is_running() and not _find_workers(process):
            time.sleep(0.02)
        delay = generator.uniform(0.2, 1.5)
        time.sleep(delay)
        return process, _find_workers(process), delay

    def _finish(self, process: psutil.Popen) -> tuple[int, str]:
        """Return exit status and output; a run that does not end is killed, and has none."""
        try:
            printed, _ = process.communicate(timeout=_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return -1, f"does not end; {process.communicate()[0]}"
        return process.returncode, printed

    def _count(self, tally: Tally, process: psutil.Popen, case: str, *, may_refuse: bool) -> None:
        status, printed = self._finish(process)
        if status == 0:
            found = self._read_table()
            different = sorted(path for path, reason in found.items() if self._expected[path] != reason)
            tally.count(found == self._expected, f"{case}: {different}")
            return
        lines = [line for line in printed.splitlines() if "decoding: " not in line]
        is_right = may_refuse and status == 1 and len(lines) == 1
        tally.count(is_right, f"{case}: status {status}, {printed[-500:]}")

    def _read_table(self) -> Mapping[str, str]:
        """Return the reason of each file, empty for those that were decoded."""
        _, table = read_ingested(self._folder / "data/images")
        return dict(zip(table.path.tolist(), table.reason.tolist(), strict=True))


def _find_workers(process: psutil.Popen) -> list[psutil.Process]:
    """Return the processes that decode: children of the fork server, and not its resource tracker."""
    return [worker for child in process.children() for worker in child.children()]


def _write_images(folder: Path) -> None:
    """Write small and large sound images of all kinds, and two damaged ones."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(40):
        cv2.imwrite(str(folder / f"{number:02}.png"), generator.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    noise = generator.integers(0, 255, (20, 20, 3), dtype=np.uint8)
    image = Image.fromarray(cv2.resize(noise, (5000, 5000), interpolation=cv2.INTER_CUBIC))
    image.save(folder / "large.png", compress_level=1)
    image.save(folder / "large.bmp")
    image.save(folder / "large.jpg")
    image.crop((0, 0, 4000, 4000)).save(folder / "large.tif", compression="tiff_lzw")
    image.crop((0, 0, 1500, 1500)).save(folder / "large.jp2")
    image.crop((0, 0, 3000, 3000)).save(folder / "large.webp", method=0)
    (folder / "cut.jpg").write_bytes((folder / "large.jpg").read_bytes()[:5000])
    whole = bytearray((folder / "00.png").read_bytes())
    whole[500] ^= 1
    (folder / "flipped.png").write_bytes(whole)
