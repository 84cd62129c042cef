"""Links, pipes and other processes in the way of what is read and written."""

import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from stages.images.sources import UnreadableFile
from stages.images.sources.folder import FolderSource
from stages.shared.files import publish_file, publish_folder
from tests.faults.tally import Tally

READS = 20_000
OUTPUTS = 50
KILLS = 20
MAX_SECONDS = 60.0

WHOLE, SECRET = b"w" * 20_000, b"secret"

_PUBLISH = f"""
import sys
from pathlib import Path
from stages.shared.files import publish_file, publish_folder
mark, num = sys.argv[1].encode(), int(sys.argv[2])
for _ in range(num):
    with publish_file(Path("out.csv")) as path, path.open("wb") as file:
        for _ in range(10):
            file.write(mark * {len(WHOLE) // 10})
            file.flush()
    with publish_folder(Path("out")) as folder:
        for name in "ab":
            (folder / name).write_bytes(mark)
"""

_EXPAND = """
import io, sys
from tools.predict.requested_files import Inputs
print(*(file.name for file in Inputs(sys.argv[1:], stdin=io.BytesIO())), sep="\\n")
"""


def attack(scratch: Path, *, seed: int) -> Iterator[Tally]:
    """Yield what comes of each kind of attack."""
    for name, swap in {"link": _swap_file, "folder": _swap_folder, "pipe": _swap_pipe}.items():
        yield _read_while_swapped(_make(scratch / name), name, swap)
    yield _publish_at_once(_make(scratch / "at_once"))
    yield _publish_and_kill(_make(scratch / "killed"), random.Random(seed))
    yield _publish_among_others(_make(scratch / "planted"))
    yield _expand_patterns(_make(scratch / "patterns"))


def _make(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _swap_file(root: Path) -> Iterator[None]:
    (root / "new").write_bytes(WHOLE)
    (root / "link").symlink_to(root.parent / "secret/1.png")
    while True:
        for name in ("link", "new"):
            (root / "next").unlink(missing_ok=True)
            os.link(root / name, root / "next", follow_symlinks=False)
            (root / "next").replace(root / "cat/1.png")
            yield


def _swap_folder(root: Path) -> Iterator[None]:
    while True:
        (root / "cat").rename(root / "away")
        (root / "cat").symlink_to(root.parent / "secret")
        yield
        (root / "cat").unlink()
        (root / "away").rename(root / "cat")
        yield


def _swap_pipe(root: Path) -> Iterator[None]:
    (root / "new").write_bytes(WHOLE)
    while True:
        os.mkfifo(root / "next")
        (root / "next").replace(root / "cat/1.png")
        yield
        os.link(root / "new", root / "next")
        (root / "next").replace(root / "cat/1.png")
        yield


def _read_while_swapped(scratch: Path, name: str, swap: Callable[[Path], Iterator[None]]) -> Tally:
    """Read a file while a thread puts something else in its place and takes it away, as fast as it can."""
    _make(scratch / "secret")
    (scratch / "secret/1.png").write_bytes(SECRET)
    _make(scratch / "raw/cat")
    (scratch / "raw/cat/1.png").write_bytes(WHOLE)
    file = FolderSource(scratch / "raw", place="raw").locate("cat/1.png")
    is_over = threading.Event()

    def swap_on() -> None:
        for _ in swap(scratch / "raw"):
            if is_over.is_set():
                return

    swapping = threading.Thread(target=swap_on)
    swapping.start()
    tally = Tally(f"read while a {name} is swapped")
    num_read = 0
    for _ in range(READS):
        try:
            data = file.read(10**6)
            tally.count(data == WHOLE, f"read {data[:20]!r}")
            num_read += 1
        except UnreadableFile:
            tally.count(True, "")
    is_over.set()
    swapping.join()
    tally.note = f"{num_read:,} read, the others refused"
    return tally


def _publish_at_once(scratch: Path) -> Tally:
    """Let two processes publish one file and one folder, again and again, while both are read."""
    tally = Tally("two processes publish the same")
    processes = [_start(scratch, mark, OUTPUTS) for mark in "ab"]
    start = time.monotonic()
    while any(process.poll() is None for process in processes):
        if time.monotonic() - start > MAX_SECONDS:
            tally.count(False, "takes too long")
            break
        if (scratch / "out.csv").exists():
            tally.count(_is_whole(scratch / "out.csv"), "a mixed file")
    for process in processes:
        process.kill()
        _, errors = process.communicate()
        tally.count(process.returncode == 0, f"status {process.returncode}: {errors.decode()[-300:]}")
    found = {path.read_bytes() for path in (scratch / "out").iterdir()}
    tally.count(len(found) == 1, f"a mixed folder: {found}")
    tally.count({path.name for path in scratch.iterdir()} == {"out", "out.csv"}, "something is left behind")
    return tally


def _publish_and_kill(scratch: Path, generator: random.Random) -> Tally:
    """Kill a process that publishes; what is there is whole, and the next process cleans up."""
    tally = Tally("killed while it publishes")
    for _ in range(KILLS):
        process = _start(scratch, "a", 10**6)
        while not (scratch / "out").exists():
            time.sleep(0.01)
        time.sleep(generator.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        tally.count(_is_whole(scratch / "out.csv"), "half a file was published")
        _start(scratch, "b", 1).communicate()
        names = {path.name for path in scratch.iterdir()}
        tally.count(names == {"out", "out.csv"}, f"left behind: {names}")
        tally.count((scratch / "out/b").read_bytes() == b"b", "the next process published nothing")
    return tally


def _is_whole(path: Path) -> bool:
    data = path.read_bytes()
    return len(data) == len(WHOLE) and len(set(data)) == 1


def _start(scratch: Path, mark: str, number: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", _PUBLISH, mark, str(number)],
        cwd=scratch,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        stderr=subprocess.PIPE,
    )


def _publish_among_others(scratch: Path) -> Tally:
    """Publish where links, pipes and files lie that are called like everything near the output."""
    tally = Tally("publish among planted files")
    plants: dict[str, Callable[[Path], object]] = {
        "link": lambda path: path.symlink_to(scratch / "other"),
        "link to a folder": lambda path: path.symlink_to(scratch / "folder"),
        "dangling link": lambda path: path.symlink_to(scratch / "nowhere"),
        "pipe": os.mkfifo,
        "file": lambda path: path.write_bytes(b"of the user"),
    }
    names = ("{}.partial", "{}.replaced", ".{}.partial", ".darkroom-0.partial", "{}.part", "{}~")
    for number, (kind, plant) in enumerate(plants.items()):
        for mode in (0o600, 0o644, 0o400):
            here = _make(scratch / f"{number}-{mode}")
            _make(scratch / "folder" / here.name)
            (scratch / "other").write_bytes(b"other")
            planted = [here / name.format(output) for name in names for output in ("o.csv", "out")]
            for path in planted:
                if not os.path.lexists(path):
                    plant(path)
            before = {path: path.lstat() for path in planted}
            (here / "o.csv").touch(mode)
            with publish_file(here / "o.csv") as partial:
                partial.write_bytes(WHOLE)
            with publish_folder(here / "out") as folder:
                (folder / "a").write_bytes(WHOLE)
            found = stat.S_IMODE((here / "o.csv").stat().st_mode)
            tally.count(found == mode, f"{kind}: mode {found:o} instead of {mode:o}")
            tally.count((here / "o.csv").read_bytes() == WHOLE, f"{kind}: not what was published")
            tally.count((scratch / "other").read_bytes() == b"other", f"{kind}: a file of others was changed")
            tally.count(not (scratch / "nowhere").exists(), f"{kind}: a link was written through")
            tally.count({path: path.lstat() for path in planted} == before, f"{kind}: it was touched")
            expected = {*before, here / "o.csv", here / "out"}
            tally.count(set(here.iterdir()) == expected, f"{kind}: something was removed or left behind")
    return tally


def _expand_patterns(scratch: Path) -> Tally:
    """Ask for patterns over folders with links in a circle, and a pipe."""
    tally = Tally("patterns over links in a circle")
    for number in range(5):
        _make(scratch / f"top/{number}")
        (scratch / f"top/{number}/1.png").write_bytes(b"")
    os.mkfifo(scratch / "top/pipe.png")
    for number in range(4):
        (scratch / f"top/{number}/up").symlink_to(scratch / "top")
        (scratch / f"top/loop{number}").symlink_to(scratch / "top")
    expected = sorted(["top/pipe.png", *(f"top/{number}/1.png" for number in range(5))])
    patterns = ("top/**/*.png", "**/*.png", "**", "top/**/**/**/*.png", "top/*", "t*/**/*.p*", "top/**/*")
    for pattern in patterns:
        try:
            done = subprocess.run(
                [sys.executable, "-c", _EXPAND, pattern],
                cwd=scratch,
                env={**os.environ, "PYTHONPATH": str(Path.cwd())},
                capture_output=True,
                timeout=MAX_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            tally.count(False, f"{pattern}: takes more than {MAX_SECONDS:.0f} s")
            continue
        found = sorted(done.stdout.decode().split())
        tally.count(
            found == expected, f"{pattern}: {len(found)} files: {found[:9]} {done.stderr.decode()[-200:]}"
        )
    return tally
