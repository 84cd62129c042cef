"""Features that do not change, kept from run to run."""

import os
from functools import partial
from pathlib import Path

import pytest
import torch

from schemas.shared.manifest import Manifest
from stages.train.transfer import hash_backbone
from stages.vision.dataset import PreparedImages
from stages.vision.features import FeatureStore, compute_features
from stages.vision.pretrained import capture_features
from tests.train.toy import Toy, make_training
from tests.vision.prepared import write_prepared


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Return a prepared data set."""
    return write_prepared(tmp_path / "prepared")


@pytest.fixture
def run(tmp_path: Path, manifest: Manifest) -> Toy:
    """Return a run of a tiny network."""
    return make_training(tmp_path / "prepared", manifest)


def open_features(
    folder: Path | None, run: Toy, *, key: str = "", images: PreparedImages | None = None
) -> torch.Tensor:
    """Return the features of all training images, or of others."""
    training, network = run.training, run.state.network
    images = images or training.train_images
    compute = partial(
        compute_features,
        network,
        images,
        capture=capture_features,
        device=training.device,
        numerics=training.numerics,
        title="features",
    )
    store = FeatureStore(folder, key=key, say=print)
    return torch.from_numpy(store.open(images, weights=hash_backbone(network), compute=compute).copy())


def count_files(folder: Path) -> int:
    """Return how many sets of features are kept."""
    return len(list(folder.glob("*.npy")))


def test_a_later_run_finds_features(tmp_path: Path, run: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    """The same images and the same backbone: they are read, not computed, and the stage says so."""
    first = open_features(tmp_path / "features", run)
    with torch.no_grad():
        for weights in run.state.network.get_submodule("head").parameters():
            weights.add_(1)  # the head is no part of the backbone
    assert torch.equal(open_features(tmp_path / "features", run), first)
    computed, found = capsys.readouterr().out.splitlines()
    assert computed == "computing features of 24 images"
    assert found == "features of 24 images are there from an earlier run"


@pytest.mark.parametrize("change", ["key", "backbone", "images"])
def test_features_of_something_else_are_not_taken(
    tmp_path: Path, manifest: Manifest, run: Toy, change: str
) -> None:
    """Other data, code or preprocessing, another backbone and another split have features of their own."""
    folder = tmp_path / "features"
    open_features(folder, run)
    if change == "backbone":
        with torch.no_grad():
            next(run.state.network.parameters()).add_(1)
    if change == "images":
        open_features(folder, run, images=run.training.val_images)
    else:
        open_features(folder, run, key="other" if change == "key" else "")
    assert count_files(folder) == 2


def test_features_that_cannot_be_kept_are_used_all_the_same(
    tmp_path: Path, run: Toy, capsys: pytest.CaptureFixture[str]
) -> None:
    """A disk that does not take them, or no folder, costs the next run time, not this run its result."""
    expected = open_features(tmp_path / "features", run)
    (tmp_path / "file").write_text("in the way of the folder")
    capsys.readouterr()
    assert torch.equal(open_features(tmp_path / "file" / "features", run), expected)
    assert "they are not kept for later runs: " in capsys.readouterr().out
    assert torch.equal(open_features(None, run), expected)


@pytest.mark.parametrize("damage", ["flipped", "cut", "without its checksum"])
def test_damaged_features_are_computed_again(tmp_path: Path, run: Toy, damage: str) -> None:
    """A file that is not as it was written is replaced, and what was computed is right again."""
    first = open_features(tmp_path, run)
    (path,) = tmp_path.glob("*.npy")
    data = path.read_bytes()
    match damage:
        case "flipped":
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        case "cut":
            path.write_bytes(data[:-40])
        case _:
            path.with_name(f"{path.name}.sha256").unlink()
    assert torch.equal(open_features(tmp_path, run), first)
    assert path.read_bytes() == data


def test_the_longest_unread_go_first(tmp_path: Path, run: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Together they are bounded; what a run has just computed always stays."""
    folder = tmp_path / "features"
    open_features(folder, run, key="a")
    (first,) = folder.glob("*.npy")
    monkeypatch.setattr("stages.vision.features.MAX_BYTES", 2 * first.stat().st_size)
    open_features(folder, run, key="b")
    (second,) = set(folder.glob("*.npy")) - {first}
    os.utime(second, (1, 1))
    open_features(folder, run, key="c")
    assert first.exists()
    assert not second.exists()
    assert len(list(folder.iterdir())) == 4  # two files, each with its checksum
