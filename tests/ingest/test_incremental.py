"""A run decodes only what no earlier run had, and its outputs are those of a run from nothing."""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.architecture.imports import ROOT
from tests.images.trees import class_folders, picture, write_folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a project of 2 x 40 images, in a DVC repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    Path(".dvc").mkdir()
    write_folder(Path("raw"), class_folders(num_images=40))
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(text.replace("source: data/digits.zip", "source: raw"), encoding="utf-8")
    return tmp_path


def start() -> subprocess.Popen[str]:
    """Start the stage as DVC does."""
    return subprocess.Popen(
        [sys.executable, "-m", "stages.ingest"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ingest() -> str:
    """Run the stage after DVC removed its outputs, and return what it says."""
    shutil.rmtree("data", ignore_errors=True)
    out, err = start().communicate()
    assert err == ""
    return out


def hashes() -> dict[str, str]:
    """Return the SHA-256 of every output."""
    files = sorted(path for path in Path("data").rglob("*") if path.is_file())
    return {path.as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def ingest_from_nothing() -> dict[str, str]:
    """Return the outputs of a run that knows of no other."""
    shutil.rmtree(".dvc/tmp", ignore_errors=True)
    ingest()
    return hashes()


def test_nothing_changed(project: Path) -> None:
    """The second run decodes nothing, and gives the same."""
    expected = ingest_from_nothing()
    assert "80 images from raw, 0 of them decoded now" in ingest()
    assert hashes() == expected


def test_some_changed(project: Path) -> None:
    """Added, changed, removed and renamed images: only new bytes are decoded, and the outputs are exact."""
    ingest()
    write_folder(Path("raw"), {"cat/new.png": picture(900), "dog/3.png": picture(901)})
    Path("raw/cat/5.png").unlink()
    Path("raw/dog/7.png").rename("raw/dog/renamed.png")
    Path("raw/dog/8.png").rename("raw/cat/moved.png")
    assert "80 images from raw, 2 of them decoded now" in ingest()
    changed = hashes()
    assert ingest_from_nothing() == changed


def test_random_edits(project: Path) -> None:
    """Whatever is done to the files between runs, the outputs are those of a run from nothing."""
    generator = random.Random(0)
    ingest()
    for number in range(2):
        for step in range(12):
            edit_one(generator, picture(100 * number + step))
        ingest()
        incremental = hashes()
        Path(".dvc/tmp").rename(".dvc/aside")
        assert ingest_from_nothing() == incremental
        shutil.rmtree(".dvc/tmp")
        Path(".dvc/aside").rename(".dvc/tmp")


def edit_one(generator: random.Random, data: bytes) -> None:
    """Change, add, remove, copy, rename or exchange a file, often so that size and time of writing stay."""
    path, other = generator.sample(sorted(Path("raw").rglob("*.png")), 2)
    status = path.stat()
    kind = generator.choice(["write", "same size", "add", "remove", "copy", "rename", "exchange", "damage"])
    if kind == "write":
        path.write_bytes(data)
    elif kind == "same size":
        path.write_bytes(data[: status.st_size].ljust(status.st_size, b"\0"))
    elif kind == "add":
        path.with_name(f"new-{generator.random()}.png").write_bytes(data)
    elif kind == "remove":
        path.unlink()
    elif kind == "copy":
        shutil.copy2(path, other)
    elif kind == "rename":
        path.rename(path.with_name(f"renamed-{generator.random()}.png"))
    elif kind == "exchange":
        path.rename("raw/aside")
        other.rename(path)
        Path("raw/aside").rename(other)
    else:
        path.write_bytes(path.read_bytes()[: status.st_size // 2])
    if path.exists():
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_another_form_is_decoded_again(project: Path) -> None:
    """Pixels of another height are others; going back finds the first ones still there."""
    expected = ingest_from_nothing()
    text = Path("params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(text.replace("height_px: 28", "height_px: 20"), encoding="utf-8")
    assert "80 of them decoded now" in ingest()
    Path("params.yaml").write_text(text, encoding="utf-8")
    assert "0 of them decoded now" in ingest()
    assert hashes() == expected


def test_damaged_cache(project: Path) -> None:
    """A flipped byte in what is kept is noticed: the images are decoded again."""
    expected = ingest_from_nothing()
    for path in Path(".dvc/tmp/darkroom/decoded").glob("*/*.npy"):
        data = bytearray(path.read_bytes())
        data[-5] ^= 16
        path.unlink()
        path.write_bytes(data)
    assert "80 of them decoded now" in ingest()
    assert hashes() == expected


@pytest.mark.parametrize("number", range(3))
def test_killed_at_any_moment(project: Path, number: int) -> None:
    """Whenever a run is killed, whole outputs or none are there, and the next run gives them all."""
    expected = ingest_from_nothing()
    generator = random.Random(number)
    shutil.rmtree(".dvc/tmp")
    for _ in range(3):
        shutil.rmtree("data", ignore_errors=True)
        stage = start()
        time.sleep(generator.uniform(0.05, 0.9))
        os.killpg(stage.pid, signal.SIGKILL)
        stage.communicate()
        published = {name: digest for name, digest in hashes().items() if ".partial/" not in name}
        assert published.items() <= expected.items()
    ingest()
    assert hashes() == expected
