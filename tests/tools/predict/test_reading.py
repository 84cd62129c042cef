"""Files become pixels in worker processes, whatever is among them."""

import io
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from schemas.shared.manifest import ImageForm
from stages.shared.errors import InputError
from tests.architecture.imports import ROOT
from tests.images.hostile import hostile_files
from tests.images.samples import whole_files
from tests.images.trees import encode, form, write_compressed, write_folder, write_zip
from tests.tools.predict.troubled_decoding import CRASH, HANG, TroubledDecoding
from tools.predict.reading import ReadFile, read_files
from tools.predict.requested_files import Contents, InputFile, Inputs, Missing


def picture(number: int = 0) -> bytes:
    """Return a PNG in which nothing but its number is to be seen."""
    return encode(np.full((4, 4, 3), (number % 256, number // 256, 7), dtype=np.uint8), ".png")


def read_all(
    files: Iterator[InputFile | None], *, workers: int = 2, wanted: ImageForm | None = None
) -> list[ReadFile]:
    return list(itertools.chain.from_iterable(read_files(files, wanted or form(), workers=workers)))


def in_memory(files: Mapping[str, bytes]) -> Iterator[InputFile]:
    """Yield files of which each is in a task of its own."""
    for name, data in files.items():
        yield InputFile(name, Contents(data))


def on_disk(*paths: str) -> Iterator[InputFile | None]:
    return iter(Inputs(paths, stdin=io.BytesIO()))


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("num_files", [0, 1, 32, 33, 300])
def test_results_come_in_order(tmp_path: Path, num_files: int, workers: int) -> None:
    """However many processes there are, result i is that of file i."""
    write_folder(tmp_path, {f"{i:04}.png": picture(i) for i in range(num_files)})
    paths = [str(tmp_path / f"{i:04}.png") for i in range(num_files)]
    results = read_all(on_disk(*paths), workers=workers)
    values = [None if file.pixels is None else file.pixels[0, 0].tolist() for file in results]
    assert values == [[i % 256, i // 256, 7] for i in range(num_files)]
    assert [file.name for file in results] == paths


def test_files_that_cannot_be_decoded() -> None:
    """Each has its reason, and the others are decoded."""
    files = [
        *in_memory({"a": picture(), "b": b"", "d": b"junk"}),
        InputFile("c", Missing("is out of reach")),
        *in_memory({"e": picture()}),
    ]
    results = read_all(iter(files))
    assert [file.reason for file in results] == [
        "",
        "the file is empty",
        "is text; supported are JPEG, PNG, BMP, WebP, GIF, TIFF, JPEG 2000, HEIC, AVIF, PBM, PGM and PPM",
        "is out of reach",
        "",
    ]
    assert [file.pixels is None for file in results] == [False, True, True, True, False]


def test_damage_that_a_viewer_does_not_show() -> None:
    """A JPEG with a hole, for which OpenCV returns a picture, is refused, as ingest does."""
    whole, damaged = whole_files()["jpeg"], hostile_files()["jpeg, late end marker"].data
    first, second = read_all(in_memory({"damaged.jpg": damaged, "whole.jpg": whole}))
    assert first.pixels is None
    assert "cut off" in first.reason
    assert (second.pixels is None, second.reason) == (False, "")


def test_a_crash_or_a_hang_costs_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong is said of that file, the others get their pixels."""
    monkeypatch.setattr("tools.predict.reading.Decoding", TroubledDecoding)
    write_folder(tmp_path, {"1.png": picture(1), "2.png": CRASH, "3.png": HANG, "4.png": picture(4)})
    results = read_all(on_disk(str(tmp_path)))
    assert [file.reason for file in results] == [
        "",
        "crashes the decoder (SIGSEGV)",
        "takes more than 1 s to decode",
        "",
    ]
    values = [file.pixels[0, 0, 0] for file in results if file.pixels is not None]
    assert values == [1, 4]


def test_processes_start_without_torch() -> None:
    """What they import, and what the command does before they are at work, loads without it."""
    program = "import sys, tools.predict.__main__, tools.predict.reading; print(*sys.modules)"
    program += "; import stages.vision.checkpoint; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    assert "stages.images.decode" in loaded
    assert "torch" not in loaded


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_archives_among_files(tmp_path: Path, kind: str) -> None:
    """Processes go from one archive to the next and to files beside them, in order."""
    names = []
    for number in range(3):
        files = {f"{i:03}.png": picture(100 * number + i) for i in range(40)}
        if kind == "zip":
            write_zip(tmp_path / f"{number}.zip", files)
        else:
            (tmp_path / "x").mkdir(exist_ok=True)
            write_compressed(".tar.gz", files, tmp_path / "x").rename(tmp_path / f"{number}.tar.gz")
        (tmp_path / f"{number}.png").write_bytes(picture(100 * number + 99))
        names += [str(tmp_path / f"{number}.{kind}"), str(tmp_path / f"{number}.png")]
    results = read_all(on_disk(*names))
    values = [file.pixels[0, 0].tolist() for file in results if file.pixels is not None]
    expected = [100 * number + i for number in range(3) for i in (*range(40), 99)]
    assert values == [[value % 256, value // 256, 7] for value in expected]


def test_an_archive_that_changes_stops_the_run(tmp_path: Path) -> None:
    """Its table is no longer that of the file: nothing read from it can be trusted."""
    write_zip(tmp_path / "x.zip", {f"{i}.png": picture(i) for i in range(3)})
    files = list(on_disk(str(tmp_path / "x.zip")))
    write_zip(tmp_path / "x.zip", {f"{i}.png": picture(i) for i in range(4)})
    with pytest.raises(InputError, match=r"x.zip: was changed while it was being read; run it again$"):
        read_all(iter(files))


class EndlessFiles:
    """A list without end, which counts what is taken from it."""

    def __init__(self) -> None:
        self.num_asked = 0

    def __iter__(self) -> Iterator[InputFile]:
        contents = Contents(picture())
        while True:
            self.num_asked += 1
            yield InputFile("x", contents)


def test_files_are_asked_for_as_they_are_needed() -> None:
    """A list without end can be read: the processes are a bounded number of files ahead of the results."""
    asked = EndlessFiles()
    results = read_files(asked, form(), workers=1)
    num_read = 0
    while num_read < 100:
        num_read += len(next(results))
    assert asked.num_asked <= num_read + 6 * 32


def test_large_forms_wait_in_small_numbers() -> None:
    """Decoded images that wait take a bounded amount of memory, whatever their size."""
    asked = EndlessFiles()
    results = read_files(asked, form(height_px=1024, width_px=1024), workers=1)
    num_read = sum(len(next(results)) for _ in range(2))
    assert asked.num_asked <= num_read + 6


def test_pixels_come_while_a_list_is_being_written(tmp_path: Path) -> None:
    """Who writes one path gets its pixels before writing the next."""
    write_folder(tmp_path, {f"{i}.png": picture(i) for i in range(3)})
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as stdin:
        results = read_files(Inputs(["-"], stdin=stdin), form(), workers=2)
        for i in range(3):
            threading.Timer(0.2, os.write, (writer, f"{tmp_path}/{i}.png\n".encode())).start()
            [file] = next(results)
            assert file.pixels is not None
            assert file.pixels[0, 0, 0] == i
        os.close(writer)
        assert list(results) == []
