"""The whole stage: from a folder or archive to data/images, or one clear line and nothing changed."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from schemas.ingest.ingest_metrics import IngestMetrics
from schemas.ingest.ingested import Ingested
from schemas.params import Params
from stages.images.decode import decode_image
from stages.images.image_table import STATUSES, ImageTable, read_ingested
from stages.images.resize import Pixels, resize_image
from stages.ingest import __main__ as command
from stages.ingest import stage
from stages.params.read import read_params
from stages.shared.errors import InputError, run_stage
from stages.shared.files import check_file
from stages.shared.paths import IMAGES
from tests.images.trees import (
    class_folders,
    encode,
    flat,
    picture,
    write_compressed,
    write_folder,
    write_tar,
    write_zip,
)

ROOT = Path(__file__).parents[2]
COMMITTED = read_params(ROOT / "params.yaml")


@pytest.fixture(autouse=True)
def empty_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Ingested, ImageTable]]:
    """Return a function that runs the stage on a source and returns what it wrote."""

    def run_main(source: str = "raw", **dataset: object) -> tuple[Ingested, ImageTable]:
        params = params_with(source=source, **dataset)
        monkeypatch.setattr("stages.params.read.read_params", lambda: params)
        command.main()
        return read_ingested(IMAGES)

    return run_main


Run = Callable[..., tuple[Ingested, ImageTable]]


def test_what_dvc_ignores_is_not_read(tmp_path: Path, run: Run) -> None:
    """No change in it would run the stage again, so it is neither an image nor counted."""
    write_folder(tmp_path / "raw", class_folders(num_images=3))
    Path(".dvcignore").write_text("Thumbs.db\n/raw/**/2.png\n")
    ingested, table = run()
    Path("raw", "Thumbs.db").touch()
    assert run()[0] == ingested
    assert not any(path.endswith("2.png") for path in table.path)


def params_with(**dataset: object) -> Params:
    """Return the committed parameters for small colour images, with these changes."""
    small = {
        **COMMITTED.dataset.model_dump(),
        "color": "rgb",
        "height_px": 4,
        "width_px": 3,
        "resize": "squish",
        "undecodable": "exclude",
        "workers": 2,
    }
    changed = COMMITTED.dataset.model_validate({**small, **dataset})
    return COMMITTED.model_copy(update={"dataset": changed})


def hashes() -> dict[str, str]:
    """Return the SHA-256 of every file below data/."""
    files = sorted(path for path in Path("data").rglob("*") if path.is_file())
    return {path.as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def read_metrics() -> IngestMetrics:
    return IngestMetrics.model_validate_json(Path("data/counts/ingest.json").read_bytes())


def packed(ingested: Ingested) -> Pixels:
    """Return all packed pixels."""
    return np.concatenate([np.load(check_file(IMAGES, shard, made_by="")) for shard in ingested.shards])


# What is written.


def test_every_row_is_its_file(run: Run) -> None:
    """Row i of the table, and the row of the shards that it names, speak of one file."""
    files = class_folders(("b", "a", "c d"), num_images=6) | {"a/x.png": b"broken", "a/x.txt": b""}
    write_folder(Path("raw"), files)
    ingested, table = run()
    pixels = packed(ingested)
    assert table.path.tolist() == sorted(files)
    assert len(pixels) == ingested.num_images == 18
    assert table.row[table.row >= 0].tolist() == list(range(18))
    for i, path in enumerate(table.path):
        if table.row[i] < 0:
            continue
        decoded = decode_image(files[path], ingested.image)
        np.testing.assert_array_equal(pixels[table.row[i]], resize_image(decoded.pixels, ingested.image))
        assert ingested.classes[table.label[i]] == path.split("/")[0]
        assert bytes(table.sha256[i]) == hashlib.sha256(files[path]).digest()
        assert (table.height_px[i], table.width_px[i]) == (6, 5)


def test_every_file_is_accounted_for(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """In the table with a status and a reason, in the metrics, and in the lines that are printed."""
    extra = {"cat/x.txt": b"", "cat/y.png": b"junk", "top.png": b"", "b.png": b"", ".hidden": b""}
    write_folder(Path("raw"), {**class_folders(), **extra, "__MACOSX/1.png": b"", "dog/Thumbs.db": b""})
    _, table = run()
    found = {
        path: (STATUSES[status], reason)
        for path, status, reason in zip(table.path, table.status, table.reason, strict=True)
    }
    assert found["cat/x.txt"] == ("not_an_image", ".txt is no image suffix")
    assert found["top.png"] == ("outside_classes", "is outside the class folders")
    assert found["cat/y.png"][0] == "undecodable"
    assert found["cat/0.png"] == ("decoded", "")
    assert len(found) == 14
    metrics = read_metrics()
    assert (metrics.num_images, metrics.num_undecodable) == (10, 1)
    assert (metrics.num_not_an_image, metrics.num_outside_classes, metrics.num_not_in_table) == (1, 2, 0)
    assert (metrics.num_hidden, metrics.num_system_files) == (1, 2)
    printed = capsys.readouterr().out
    assert "ingest: 10 images from raw, 10 of them decoded now" in printed
    assert "left out raw/cat/y.png: " in printed
    assert "left out 1 that cannot be decoded, 1 that are not images, 2 that are outside the class" in printed
    assert "skipped 1 hidden files and 2 that operating systems leave behind" in printed


def test_hostile_names(run: Run) -> None:
    """Newlines, quotes, commas, bytes that are not UTF-8 and names of 255 bytes come through."""
    names = ["new\nline", 'quote"', "comma,", "caf\udce9", "é" * 125, " space ", "=1+1", "🐈\u200d⬛"]
    files = class_folders(("c,a\nt", "d\udce9g"), num_images=3)
    files |= {f"c,a\nt/{name}.png": picture(i) for i, name in enumerate(names)}
    write_folder(Path("raw"), files)
    ingested, table = run()
    assert ingested.classes == ("c,a\\nt", "d\\udce9g")
    assert set(table.path) == set(files)
    assert ingested.num_images == len(files)


def test_a_table_gives_classes_splits_and_groups(run: Run) -> None:
    """All three reach the table of images; images that it does not name are left out."""
    images = {f"{i}.png": picture(i) for i in range(7)}
    lines = [f"{i}.png,{'ab'[i % 2]},{'test' if i > 3 else 'train'},g{i // 2}" for i in range(6)]
    labels = "\n".join(["path,label,split,group", *lines])
    write_folder(Path("raw"), {**images, "labels.csv": labels.encode()})
    ingested, table = run(labels="labels.csv")
    assert (ingested.classes, ingested.given_splits) == (("a", "b"), ("train", "test"))
    assert table.group.tolist() == ["g0", "g0", "g1", "g1", "g2", "g2", ""]
    assert table.label.tolist() == [0, 1, 0, 1, 0, 1, -1]
    assert table.split.tolist() == [0] * 4 + [2] * 2 + [-1]
    assert read_metrics().num_not_in_table == 1


def test_grayscale(run: Run) -> None:
    """One channel, also in the sums."""
    write_folder(Path("raw"), class_folders())
    ingested, table = run(color="grayscale")
    assert packed(ingested).shape == (10, 4, 3, 1)
    assert not table.sums[:, 1:].any()


def test_images_of_all_shapes(run: Run) -> None:
    """Strips and single pixels beside ordinary images are packed in one shape."""
    shapes = [(1, 1000), (1000, 1), (1, 1), (7, 7), (300, 200)]
    files = {
        f"{label}/{height}x{width}.png": picture(height=height, width=width)
        for label in ("cat", "dog")
        for height, width in shapes
    }
    write_folder(Path("raw"), files)
    for resize in ("squish", "pad", "crop"):
        assert packed(run(resize=resize)[0]).shape == (10, 4, 3, 3)


# Reproducible.


def test_two_runs_give_the_same_bytes(run: Run) -> None:
    """Every file, with one process or four, from fresh or over an earlier run."""
    files = class_folders(("a", "b", "c"), num_images=40) | {"a/x.txt": b"", "b/broken.png": b"x"}
    write_folder(Path("raw"), files)
    run(workers=1)
    first = hashes()
    run(workers=4)
    assert hashes() == first
    assert {"data/counts/ingest.json", "data/images/images-00000.npy", "data/images/manifest.json"} <= set(
        first
    )


@pytest.mark.parametrize("top", ["", "train/"])
@pytest.mark.parametrize("wrapper", ["", "./", "pets/", "./my/pets/"])
def test_folder_zip_and_tar_are_alike(top: str, wrapper: str, run: Run) -> None:
    """However files are packed, whatever folder is around them, all but their paths is the same."""
    files = class_folders(("a", "b"), num_images=8, top=top) | {f"{top}a/x.txt": b""}
    write_folder(Path("raw"), files)
    run()
    wanted = hashes()
    wrapped = {wrapper + path: data for path, data in reversed(files.items())}
    folders = {wrapper: b""} if wrapper else {}
    write_zip(Path("raw.zip"), folders | wrapped)
    write_tar(Path("raw.tar"), wrapped | folders)
    for archive in ("raw.zip", "raw.tar"):
        run(archive)
        differs = {path for path, digest in hashes().items() if wanted[path] != digest}
        differs.discard("data/counts/ingest.json")  # its fingerprint knows dataset.source
        paths = {"data/images/table.safetensors", "data/images/manifest.json"}
        assert differs <= (paths if "p" in wrapper else set())


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.zst"])
def test_a_compressed_tar_is_alike(suffix: str, run: Run) -> None:
    """The processes that decode share what it was unpacked to; the result is the folder's, byte for byte."""
    files = class_folders(("a", "b"), num_images=8)
    write_folder(Path("raw"), files)
    run()
    wanted = hashes()
    run(str(write_compressed(suffix, files, Path())))
    differs = {path for path, digest in hashes().items() if wanted[path] != digest}
    assert differs <= {"data/counts/ingest.json"}  # its fingerprint knows dataset.source


# Refusals.


def climbing_zip() -> None:
    write_zip(Path("raw.zip"), {**class_folders(), "../evil.png": picture()})


def cut_off_tar() -> None:
    path = write_tar(Path("raw.tar"), class_folders())
    path.write_bytes(path.read_bytes()[:3000])


REFUSED: Mapping[str, tuple[Callable[[], object], str]] = {
    "missing": (lambda: None, "dataset.source: raw: there is no such file or folder"),
    "empty": (lambda: Path("raw").mkdir(), "dataset.source: raw: found no images"),
    "one class": (
        lambda: write_folder(Path("raw"), class_folders(("cat",))),
        "dataset.source: raw: found one class, cat",
    ),
    "climbing zip": (climbing_zip, "dataset.source: raw.zip: holds ../evil.png, which climbs out"),
    "corrupt zip": (
        lambda: Path("raw.zip").write_bytes(b"PK no more"),
        "dataset.source: raw.zip: is no readable zip archive",
    ),
    "cut-off tar": (cut_off_tar, "dataset.source: raw.tar: is no readable tar archive"),
    "all undecodable": (
        lambda: write_folder(Path("raw"), dict.fromkeys(class_folders(), b"junk")),
        "none of its 10 images can be decoded; the first: cat/0.png and 9 more: is text",
    ),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_in_one_line_with_earlier_outputs_untouched(
    make: Callable[[], object],
    message: str,
    run: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bad input ends in one line on stderr and status 1; what an earlier run made is still whole."""
    write_folder(Path("good"), class_folders(num_images=3))
    run("good")
    earlier = hashes()
    make()
    capsys.readouterr()
    source = next((name for name in ("raw.zip", "raw.tar") if Path(name).exists()), "raw")
    monkeypatch.setattr("stages.params.read.read_params", lambda: params_with(source=source))
    with pytest.raises(SystemExit) as stopped:
        run_stage(command.main)
    assert stopped.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert hashes() == earlier
    assert {path.name for path in Path("data").iterdir()} == {"images", "counts"}


def test_undecodable_error(run: Run) -> None:
    """With `error` every file that cannot be decoded is named, each with its reason and what to do."""
    write_folder(Path("raw"), {**class_folders(), "cat/x.png": b"", "dog/y\n.png": b"junk"})
    with pytest.raises(InputError) as caught:
        run(undecodable="error")
    first, second = str(caught.value).split("\n")
    assert first == "raw/cat/x.png: the file is empty; remove it, or set dataset.undecodable: exclude"
    assert second.startswith("raw/dog/y\\n.png: ")
    assert second.endswith("; remove it, or set dataset.undecodable: exclude")
    assert not Path("data").exists() or not list(Path("data").iterdir())


def test_undecodable_error_names_the_first_few(run: Run) -> None:
    """Files that are broken in one way take one line, and broken in a thousand ways eleven."""
    large = {f"cat/x{i:04}.png": b"P5 90000 %d 255\n" % (90_000 + i) for i in range(1000)}
    files = class_folders() | large
    write_folder(Path("raw"), files | {f"cat/a{i:04}.png": b"" for i in range(9)})
    with pytest.raises(InputError) as caught:
        run(undecodable="error")
    lines = str(caught.value).split("\n")
    assert len(lines) == 11
    assert lines[-1].startswith("raw: 991 more that cannot be decoded; ")


def test_damaged_member_of_a_zip(run: Run) -> None:
    """A checksum error in one member costs that image only."""
    pixels = flat(9, 9, 9, height=40, width=40)
    write_zip(Path("raw.zip"), {**class_folders(), "cat/x.bmp": encode(pixels, ".bmp")})
    data = bytearray(Path("raw.zip").read_bytes())
    data[data.index(b"\x09" * 40)] ^= 1
    Path("raw.zip").write_bytes(data)
    ingested, table = run("raw.zip")
    assert ingested.num_images == 10
    (reason,) = table.reason[table.has_status("undecodable")]
    assert "its checksum (CRC-32)" in reason


def test_a_loop_of_links_adds_no_image(run: Run) -> None:
    """Links to folders are not followed."""
    write_folder(Path("raw"), class_folders())
    Path("raw/cat/loop").symlink_to("..", target_is_directory=True)
    assert run()[0].num_images == 10


def test_stopped_half_way(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ends a run, the outputs of the earlier one are whole and nothing else is left."""
    write_folder(Path("raw"), class_folders())
    run()
    earlier = hashes()

    def stop(*args: object, **keywords: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "write_table", stop)
    with pytest.raises(KeyboardInterrupt):
        run(height_px=7)
    assert hashes() == earlier
    assert {path.name for path in Path("data").iterdir()} == {"images", "counts"}


def test_command_starts_without_torch(tmp_path: Path) -> None:
    """The command runs, in its own process, and needs neither torch nor torchvision."""
    write_folder(Path("data"), {})
    write_zip(Path("data/digits.zip"), class_folders(num_images=3))
    Path("params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    code = (
        "import runpy, sys; sys.modules.update(torch=None, torchvision=None); "
        "runpy.run_module('stages.ingest', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "ingest: 6 images from data/digits.zip, 6 of them decoded now\n" in done.stdout
