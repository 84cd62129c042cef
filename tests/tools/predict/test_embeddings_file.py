"""--embeddings: features as one array, and the paths of its rows."""

import csv
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from schemas.vision.network import ChosenNetwork, Timm
from stages.shared.errors import InputError
from stages.vision.checkpoint import read_checkpoint, restore_network, write_checkpoint
from stages.vision.networks import build_network
from stages.vision.transforms import build_transforms
from tests.images.trees import decode_to_form, encode, write_folder
from tests.tools.predict.models import CLASSES, IMAGE, write_tiny_checkpoint
from tests.vision.documents import make_checkpoint
from tests.vision.torch_state import keep_torch_settings
from tools.predict.__main__ import main
from tools.predict.embeddings_file import open_embeddings

NAMES = ("c", "=a", "b")


@pytest.fixture
def project(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with both models, three pictures and a file that is none the current one."""
    monkeypatch.chdir(tmp_path)
    for name in ("net.safetensors", "net.onnx"):
        shutil.copy(models / name, name)
    generator = np.random.default_rng(0)
    write_folder(
        tmp_path,
        {f"{name}.png": encode(generator.integers(0, 256, (20, 9, 3), dtype=np.uint8)) for name in NAMES},
    )
    (tmp_path / "junk.png").write_bytes(b"junk")
    return tmp_path


def predict(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["predict", *arguments, "--output", "table.csv"])
    with keep_torch_settings(), pytest.raises(SystemExit) as caught:
        main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


def refuse(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["predict", "b.png", *arguments])
    with keep_torch_settings(), pytest.raises(InputError) as caught:
        main()
    return str(caught.value)


def read_paths(path: str, column: str = "path") -> list[str]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return [row[column] for row in csv.DictReader(file)]


@pytest.mark.parametrize("model", ["net.safetensors", "net.onnx"])
@pytest.mark.parametrize("batch_size", ["1", "64"])
@pytest.mark.usefixtures("project")
def test_a_row_for_each_file_that_can_be_read(
    monkeypatch: pytest.MonkeyPatch, model: str, batch_size: str
) -> None:
    """What the last layer is given, computed here by hooks of our own; paths as in the table."""
    files = ["c.png", "junk.png", "=a.png", "none.png", "b.png"]
    arguments = ("--checkpoint", model, "--embeddings", "out/features.npy", "--batch-size", batch_size)
    assert predict(monkeypatch, *files, *arguments) == 3
    features = np.load("out/features.npy", mmap_mode="r")
    assert features.dtype == np.float32
    paths = read_paths("out/features.paths.csv")
    assert paths == ["c.png", "./=a.png", "b.png"]
    errors = read_paths("table.csv", "error")
    assert paths == [path for path, error in zip(read_paths("table.csv"), errors, strict=True) if not error]

    checkpoint, weights = read_checkpoint(Path("net.safetensors"))
    network = restore_network(checkpoint, weights).eval()
    given: list[torch.Tensor] = []
    (last,) = [part for part in network.modules() if isinstance(part, torch.nn.Linear)]
    last.register_forward_pre_hook(lambda _, arguments: given.append(arguments[0]))
    pixels = np.stack([decode_to_form(Path(path).read_bytes(), IMAGE) for path in paths])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    with torch.inference_mode():
        network(build_transforms(checkpoint.preprocessing)(images, device=torch.device("cpu")))
    np.testing.assert_allclose(features, given[0].numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("project")
def test_nothing_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """An array without rows, and no paths."""
    assert predict(monkeypatch, "junk.png", "--checkpoint", "net.onnx", "--embeddings", "f.npy") == 3
    assert len(np.load("f.npy")) == 0
    assert read_paths("f.paths.csv") == []


def test_rows_go_to_the_disk(tmp_path: Path) -> None:
    """A million rows take no memory; their number is in the header at the end, whatever its digits."""
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    with open_embeddings(tmp_path / "f.npy", table=None) as append:
        for _ in range(2500):
            append(["a", "b", "c", "d"], rows)
        (partial,) = tmp_path.glob("*/f.npy")
        assert partial.stat().st_size > 100_000
    assert np.array_equal(np.load(tmp_path / "f.npy"), np.tile(rows, (2500, 1)))


def test_all_or_nothing(tmp_path: Path) -> None:
    """Where the run fails, what was there stays."""
    for name in ("f.npy", "f.paths.csv"):
        (tmp_path / name).write_text("before")
    with pytest.raises(AssertionError), open_embeddings(tmp_path / "f.npy", table=None) as append:
        append(["a", "b"], np.zeros((1, 2), np.float32))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.npy", "f.paths.csv"]
    assert {path.read_text() for path in tmp_path.iterdir()} == {"before"}


@pytest.mark.parametrize("model", ["net.safetensors", "net.onnx"])
@pytest.mark.usefixtures("project")
def test_places_that_cannot_be_written_to(monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    """Folders, devices and the table's own place are refused as --output refuses them."""
    Path("folder.npy").mkdir()
    Path("beside.paths.csv").mkdir()
    Path("null.npy").symlink_to("/dev/null")
    arguments = ("--checkpoint", model, "--embeddings")
    for name, message in {
        "folder.npy": "--embeddings: folder.npy: is a folder or a device; allowed: the name of a file",
        "beside.npy": "--embeddings: beside.paths.csv: is a folder or a device; allowed: the name of a file",
        "null.npy": "--embeddings: null.npy: is a folder or a device; allowed: the name of a file",
    }.items():
        assert refuse(monkeypatch, *arguments, name) == message
    told = refuse(monkeypatch, *arguments, "x.npy", "--output", "x.paths.csv")
    assert told == "--embeddings: x.paths.csv: is where --output goes, too; choose another name"
    monkeypatch.setattr(sys, "argv", ["predict", "b.png", *arguments, "b.png/f.npy"])
    with keep_torch_settings(), pytest.raises(OSError, match=r"b\.png"):  # which run_stage prints as a line
        main()


def test_a_name_without_the_suffix(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is a wrong argument: np.save would have added the suffix, and the file would have another name."""
    assert predict(monkeypatch, "b.png", "--embeddings", "features.csv") == 2
    assert "--embeddings: found features.csv; allowed: a name that ends in .npy\n" in capsys.readouterr().err


@pytest.mark.usefixtures("project")
def test_a_network_with_several_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no one embedding of an image; nothing is written, and predictions are there without."""
    network = ChosenNetwork(
        name="timm", arguments=Timm(model="deit_tiny_distilled_patch16_224", weights=None)
    )
    image = IMAGE.model_copy(update={"height_px": 32, "width_px": 32})
    weights = build_network(network, image=image, num_classes=3).state_dict()
    checkpoint = make_checkpoint(
        weights,
        network=network,
        classes=CLASSES,
        image=image,
        preprocessing=write_tiny_checkpoint(Path("other.safetensors"), image=image).preprocessing,
    )
    write_checkpoint(Path("heads.safetensors"), checkpoint, weights)
    arguments = ("--checkpoint", "heads.safetensors")
    told = refuse(monkeypatch, *arguments, "--embeddings", "f.npy")
    assert told.startswith("--embeddings: the network timm has several heads, ")
    assert not Path("f.npy").exists()
    assert predict(monkeypatch, "b.png", *arguments) == 0
