"""What the features of the pretrained network reach alone."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from schemas.vision.network import Network
from stages.evaluate import baseline
from stages.evaluate.__main__ import main as evaluate
from stages.evaluate.baseline import (
    NUM_NEIGHBOURS,
    TEMPERATURE,
    LabeledFeatures,
    compare,
    fit_probe,
    predict_by_neighbours,
)
from stages.evaluate.predictions import Bools
from stages.shared.errors import InputError
from stages.shared.paths import PRETRAINED, REPORT
from stages.train.__main__ import main as train
from stages.vision.dataset import read_manifest
from stages.vision.networks import build_network
from tests.train.project import hash_files, make_project, write_params
from tests.vision.completeness import read_section
from tests.vision.torch_state import keep_torch_settings

STARTED = {"network.weights_file": "weights.safetensors", "evaluation.baseline": "features"}


def draw_features(num_images: int, *, seed: int = 0, num_classes: int = 3) -> LabeledFeatures:
    """Return features of six values, of which the first ones tell the classes apart, not surely."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes, (num_images,), generator=generator)
    features = torch.randn(num_images, 6, generator=generator)
    features[range(num_images), labels] += 1.5
    return LabeledFeatures(features * torch.tensor([1.0, 5, 0.1, 1, 1, 1]) + 3, labels)


def fit_reference(train: LabeledFeatures, *, l2: float) -> tuple[StandardScaler, LogisticRegression]:
    """Return scikit-learn's regression of the same strength."""
    scaler = StandardScaler().fit(train.features.numpy())
    regression = LogisticRegression(C=1 / (l2 * len(train.labels)), tol=1e-8, max_iter=10_000)
    return scaler, regression.fit(scaler.transform(train.features.numpy()), train.labels.numpy())


@pytest.mark.parametrize(("l2", "num_classes"), [(1.0, 3), (0.1, 3), (0.001, 3), (0.01, 2)])
def test_the_probe_is_scikit_learns_regression(
    l2: float, num_classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a strength of regularization, weights and predictions are the same."""
    monkeypatch.setattr(baseline, "L2_STRENGTHS", (l2,))
    train, others = draw_features(300, num_classes=num_classes), draw_features(200, seed=1)
    val = draw_features(50, seed=2, num_classes=num_classes)
    probe = fit_probe(train, val, num_classes=num_classes)
    scaler, regression = fit_reference(train, l2=l2 if num_classes > 2 else l2 / 2)
    # Of two classes scikit-learn has the difference of their weights, in one row.
    weight = probe.weight.numpy() if num_classes > 2 else np.diff(probe.weight.numpy(), axis=0)
    np.testing.assert_allclose(weight, regression.coef_, atol=2e-3)
    expected = regression.predict(scaler.transform(others.features.numpy()))
    assert np.mean(probe.predict(others.features).numpy() == expected) > 0.99


def test_the_validation_images_choose_the_strength() -> None:
    """Of all strengths it is the one whose regression has the lowest loss on them."""
    train, val = draw_features(60), draw_features(100, seed=1)
    losses = {}
    for l2 in baseline.L2_STRENGTHS:
        scaler, regression = fit_reference(train, l2=l2)
        probabilities = regression.predict_proba(scaler.transform(val.features.numpy()))
        losses[l2] = log_loss(val.labels.numpy(), probabilities)
    assert fit_probe(train, val, num_classes=3).l2 == min(losses, key=losses.__getitem__)


def test_the_same_images_give_the_same_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit, also where it goes through the images in several chunks."""
    monkeypatch.setattr(baseline, "_CHUNK", 7)
    train, val = draw_features(60), draw_features(40, seed=1)
    one, other = (fit_probe(train, val, num_classes=3) for _ in range(2))
    assert torch.equal(one.weight, other.weight)
    assert torch.equal(one.bias, other.bias)


def test_what_never_varies_does_no_harm() -> None:
    """A feature that is the same for all images leaves the probe finite, as does a class without images."""
    train, val = draw_features(60), draw_features(40, seed=1)
    train.features[:, 5] = val.features[:, 5] = 1e4
    probe = fit_probe(train, val, num_classes=5)
    assert torch.isfinite(probe.compute_logits(val.features)).all()
    assert probe.predict(val.features).max() <= 2


@pytest.mark.parametrize("num_images", [150, 10])
def test_neighbours_vote_as_in_scikit_learn(num_images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weighted by the cosine; of fewer images than neighbours all vote."""
    monkeypatch.setattr(baseline, "_CHUNK", 16)
    train, others = draw_features(num_images), draw_features(100, seed=1)
    reference = KNeighborsClassifier(
        min(NUM_NEIGHBOURS, num_images),
        metric="cosine",
        weights=lambda distances: np.exp((1 - distances) / TEMPERATURE),
    ).fit(train.features.numpy(), train.labels.numpy())
    found = predict_by_neighbours(train, others.features, num_classes=3)
    assert np.array_equal(found.numpy(), reference.predict(others.features.numpy()))


@pytest.mark.parametrize(("num_won", "num_lost"), [(20, 5), (5, 20), (12, 8), (5, 0), (6, 0), (0, 0)])
def test_two_classifiers_are_compared_by_mcnemars_test(num_won: int, num_lost: int) -> None:
    """The images on which they differ decide; a group of images counts as one."""

    def tell(won: int, lost: int, *, each: int) -> str:
        ours: Bools = np.repeat([True] * won + [False] * lost + [True] * 10, each)
        theirs: Bools = np.repeat([False] * won + [True] * lost + [True] * 10, each)
        found = compare(ours, theirs, groups=np.arange(len(ours)) // each)
        assert (found.num_won, found.num_lost) == (won * each, lost * each)
        return found.verdict

    total = num_won + num_lost
    is_chance = total == 0 or binomtest(num_won, total).pvalue > 0.05
    expected = "" if is_chance else "better" if num_won > num_lost else "worse"
    assert tell(num_won, num_lost, each=1) == tell(num_won, num_lost, each=4) == expected


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with prepared data and a network trained from weights of a file."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as monkeypatch, keep_torch_settings():
        make_project(folder, monkeypatch)
        manifest = read_manifest(folder / "data/prepared")
        network = {**read_section("network"), "cnn": {"channels": [4, 4], "kernel_size": 3, "dropout": 0.2}}
        torch.manual_seed(1)
        chosen = Network.model_validate(network).chosen()
        built = build_network(chosen, image=manifest.image, num_classes=7)
        save_file(built.state_dict(), folder / "weights.safetensors")
        write_params(folder, **STARTED, training__num_epochs=2)
        train()
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a copy of that folder, which is the current one."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    with keep_torch_settings():
        yield tmp_path


def report(folder: Path, **changes: Any) -> dict[str, Any]:
    """Run the stage with changed parameters, and return the metrics."""
    write_params(folder, **{**STARTED, **changes})
    evaluate()
    metrics: dict[str, Any] = json.loads((REPORT / "metrics.json").read_text())
    return metrics


def test_the_report_compares_with_the_pretrained_features(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Page, summary, metrics and the stage's last lines name both accuracies."""
    metrics = report(folder)
    assert {"knn_accuracy", "probe_accuracy"} <= metrics.keys()
    printed = capsys.readouterr().out
    assert printed.count("evaluate: baseline: computing features of") == 3
    shown = f"kNN {100 * metrics['knn_accuracy']:.1f} %, linear probe {100 * metrics['probe_accuracy']:.1f} %"
    assert f"evaluate: pretrained features alone: {shown}" in printed
    assert "## Pretrained features alone" in (REPORT / "summary.md").read_text()
    assert 'id="baseline"' in (REPORT / "report.html").read_text()


def test_features_of_an_earlier_run_give_the_same_bytes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second run computes none, and one that cannot keep any writes the same report."""
    report(folder)
    first = hash_files(folder / "data/report")
    capsys.readouterr()
    report(folder)
    assert capsys.readouterr().out.count("are there from an earlier run") == 3
    assert hash_files(folder / "data/report") == first
    shutil.rmtree(folder / ".dvc/tmp/darkroom/features")
    (folder / ".dvc/tmp/darkroom/features").write_text("in the way")
    report(folder)
    assert capsys.readouterr().out.count("they are not kept for later runs") == 3
    assert hash_files(folder / "data/report") == first


def test_the_pretrained_network_is_tested_not_the_trained_one(folder: Path) -> None:
    """Another seed and more epochs change the network, and not what its start reaches."""
    first, weights = report(folder), PRETRAINED.read_bytes()
    write_params(folder, **STARTED, training__num_epochs=3, training__seed=5, optimizer__lr=0.5)
    train()
    assert PRETRAINED.read_bytes() == weights
    second = report(folder)
    assert second["log_loss"] != first["log_loss"]
    assert [second[key] for key in ("knn_accuracy", "probe_accuracy")] == [
        first[key] for key in ("knn_accuracy", "probe_accuracy")
    ]


def test_without_the_key_nothing_is_said(folder: Path) -> None:
    """Neither metrics nor pages mention it, and the pretrained weights are not even read."""
    PRETRAINED.unlink()
    metrics = report(folder, evaluation__baseline=None)
    assert not {"knn_accuracy", "probe_accuracy"} & metrics.keys()
    for name in ("summary.md", "report.html"):
        assert "retrained features alone" not in (REPORT / name).read_text()


@pytest.mark.parametrize("damage", ["missing", "flipped", "of another run", "no safetensors"])
def test_weights_that_are_not_those_of_the_run_are_refused(folder: Path, damage: str) -> None:
    """One line names the file and how to make it again."""
    data = PRETRAINED.read_bytes()
    match damage:
        case "missing":
            PRETRAINED.unlink()
        case "flipped":
            PRETRAINED.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        case "of another run":
            save_file({"weights": torch.zeros(3)}, PRETRAINED)
        case _:
            PRETRAINED.write_bytes(b"\xff" * 100)
    with pytest.raises(InputError, match=r"^data/model/pretrained.safetensors: .*dvc repro train$") as found:
        report(folder)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("problem", ["not finite", "one class", "from random weights"])
def test_where_there_is_no_baseline_the_report_says_why(
    folder: Path, problem: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rest of the report is made all the same."""
    changes = {}
    match problem:
        case "not finite":
            nan = torch.full((1, 4), torch.nan)
            monkeypatch.setattr(baseline, "compute_features", lambda _, images, **rest: [nan] * len(images))
            expected = "features are not finite for 39 images; set training.precision: float32"
        case "one class":
            monkeypatch.setitem(baseline._SPLITS, "train", 1)
            expected = "the training images that it would be fitted to are all of one class"
        case _:
            changes = {"network.weights_file": "data/weights/none"}
            write_params(folder, **{**STARTED, **changes})
            train()
            assert not PRETRAINED.exists()
            expected = "the network started from random weights"
    metrics = report(folder, **changes)
    assert "probe_accuracy" not in metrics
    assert "evaluate: there is no baseline of pretrained features: " in (printed := capsys.readouterr().out)
    assert expected in printed
    assert expected in (REPORT / "summary.md").read_text()
    assert expected in (REPORT / "report.html").read_text()
