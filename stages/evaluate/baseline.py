"""What the features of the pretrained network reach alone, so that one sees what training it further gains.

Two classifiers that need no training of the network are fitted to its features of the training images:
the nearest neighbours, and a linear probe, whose strength of regularization the validation images choose.
Transforms that are random take no part. The network is the one that training started from
(data/model/pretrained.safetensors), not the one that is tested.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, normalize

from schemas.evaluate.evaluation import Evaluation
from schemas.shared.manifest import SplitName
from stages.evaluate.calibration import Share
from stages.evaluate.intervals import LEVEL, compute_flip_p_value
from stages.evaluate.loading import TestRun
from stages.evaluate.predictions import Bools, Ints
from stages.shared.paths import PREPARED, PRETRAINED
from stages.shared.progress import show_step
from stages.vision.binomial import estimate_share
from stages.vision.checkpoint import hash_weights, restore_backbone
from stages.vision.dataset import PreparedImages
from stages.vision.embeddings import capture_embeddings
from stages.vision.features import compute_features, open_store
from stages.vision.pretrained import select_backbone

NUM_NEIGHBOURS = 20
"""With TEMPERATURE, what DINO found best (arXiv:2104.14294, appendix F.1)."""

TEMPERATURE = 0.07

L2_STRENGTHS = (10.0, 1.0, 0.1, 0.01, 0.001, 0.0001)
"""Tried in this order, each from the result of the one before, until validation loss rises."""

_SPLITS: Mapping[SplitName, int | None] = {"train": 50_000, "val": 10_000, "test": None}
"""So many images of each at most, spread evenly: that bounds the time, and memory to twice their features."""

_CHUNK = 1024
"""Images at once; their cosines to all training images take 200 MB."""

_MAX_ITERATIONS = 200


@dataclass(frozen=True)
class NoBaseline:
    """There is nothing to compare with."""

    reason: str


@dataclass(frozen=True)
class LabeledFeatures:
    """Features float32 (N, D) and labels int64 (N,) of a split, on the CPU."""

    features: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Comparison:
    """The test images on which the network and a baseline differ."""

    num_won: int
    """Images of which the network alone is right."""

    num_lost: int
    """Images of which the baseline alone is right."""

    verdict: Literal["better", "worse", ""]
    """Empty where chance explains the difference, by `compute_flip_p_value`."""


@dataclass(frozen=True)
class Baseline:
    """Accuracy on the test images of what is fitted to the pretrained features."""

    source: str
    """Which weights the network started from."""

    num_train: int
    """Training images that the two were fitted to."""

    num_features: int
    knn: Share
    probe: Share
    l2: float
    """The strength of regularization that the probe has."""

    better: Literal["kNN", "linear probe"]
    """Which of the two is more accurate on the validation images; the network is compared with it."""

    against_better: Comparison
    is_frozen: bool
    """Whether the tested network still has the pretrained features, and only its head was trained."""

    @property
    def best(self) -> Share:
        """Return the accuracy of the better one."""
        return self.knn if self.better == "kNN" else self.probe


@dataclass(frozen=True)
class Probe:
    """A multinomial logistic regression on standardized features."""

    weight: Tensor
    """float32 (C, D)."""

    bias: Tensor
    """float32 (C,)."""

    mean: Tensor
    std: Tensor
    l2: float

    def predict(self, features: Tensor) -> Tensor:
        """Return labels int64 (N,) for features (N, D)."""
        return self.compute_logits(features).argmax(dim=1)

    def compute_logits(self, features: Tensor) -> Tensor:
        """Return logits (N, C) for features (N, D)."""
        parts = torch.split(features, _CHUNK)
        return torch.cat([linear((part - self.mean) / self.std, self.weight, self.bias) for part in parts])


def measure_baseline(
    evaluation: Evaluation, run: TestRun, *, is_correct: Bools, groups: Ints
) -> Baseline | NoBaseline | None:
    """Fit both classifiers to the pretrained features and test them; None if that is not asked for.

    Args:
        evaluation: The section.
        run: What is tested.
        is_correct: bool (N,), whether the network's prediction is, of every test image.
        groups: int64 (N,), the group of each test image.

    Raises:
        InputError: The pretrained weights are missing or damaged.
    """
    pretrained = run.checkpoint.pretrained_weights
    if evaluation.baseline is None:
        return None
    if pretrained is None:
        return NoBaseline("the network started from random weights")
    network = restore_backbone(run.checkpoint, PRETRAINED).to(run.device)
    with capture_embeddings(network) as captured:
        if captured is None:
            return NoBaseline("the network has several heads, or one without a linear layer")
    train, val, test = read_features(run, network, weights_sha256=pretrained.backbone_sha256 or "")
    # By their lengths: what overflows there overflows in both classifiers.
    lengths = torch.cat([torch.linalg.vector_norm(split.features, dim=1) for split in (train, val, test)])
    if num_bad := int((~lengths.isfinite()).sum()):
        return NoBaseline(
            f"the pretrained network's features are not finite for {num_bad:,} images; set "
            "training.precision: float32, or use other weights"
        )
    if len(torch.unique(train.labels)) == 1:
        return NoBaseline("the training images that it would be fitted to are all of one class")

    num_classes = len(run.checkpoint.classes)
    with show_step("evaluate: fitting the baseline"):
        knn, knn_on_val = (
            (predict_by_neighbours(train, split.features, num_classes=num_classes) == split.labels).numpy()
            for split in (test, val)
        )
        fitted = fit_probe(train, val, num_classes=num_classes)
        probe, probe_on_val = (
            (fitted.predict(split.features) == split.labels).numpy() for split in (test, val)
        )
    is_knn_better = bool(knn_on_val.mean() > probe_on_val.mean())
    return Baseline(
        source=pretrained.source,
        num_train=len(train.labels),
        num_features=train.features.shape[1],
        knn=_share(knn, groups),
        probe=_share(probe, groups),
        l2=fitted.l2,
        better="kNN" if is_knn_better else "linear probe",
        against_better=compare(is_correct, knn if is_knn_better else probe, groups=groups),
        is_frozen=hash_weights(select_backbone(run.network)) == pretrained.backbone_sha256,
    )


def read_features(run: TestRun, network: nn.Module, *, weights_sha256: str) -> list[LabeledFeatures]:
    """Return a network's features of training, validation and test images, computed now or earlier."""
    device, numerics = run.device, run.checkpoint.numerics
    store = open_store(
        "embeddings",
        data_sha256=run.checkpoint.dataset_sha256,
        network=run.checkpoint.network,
        preprocessing=run.checkpoint.preprocessing,
        device=device,
        numerics=numerics,
        say=lambda text: print(f"evaluate: baseline: {text}"),
    )
    splits = []
    for split, limit in _SPLITS.items():
        images = PreparedImages(PREPARED, run.manifest, split, transform=run.transform, limit=limit)
        compute = partial(
            compute_features,
            network,
            images,
            capture=capture_embeddings,
            device=device,
            numerics=numerics,
            title="evaluate: features",
        )
        features = store.open(images, weights=weights_sha256, compute=compute)
        splits.append(LabeledFeatures(torch.from_numpy(np.array(features)), images.labels))
    return splits


def predict_by_neighbours(train: LabeledFeatures, features: Tensor, *, num_classes: int) -> Tensor:
    """Return labels int64 (N,) for features (N, D), by a vote of the training images most like them.

    Likeness is the cosine; each of the NUM_NEIGHBOURS votes with exp(cosine / TEMPERATURE).
    Source: Wu et al. 2018, arXiv:1805.01978, as in DINO, arXiv:2104.14294.
    """
    known = normalize(train.features)
    predicted = []
    for part in torch.split(features, _CHUNK):
        cosines, neighbours = (normalize(part) @ known.T).topk(min(NUM_NEIGHBOURS, len(known)), dim=1)
        votes = torch.zeros(len(part), num_classes)
        votes.scatter_add_(1, train.labels[neighbours], (cosines / TEMPERATURE).exp())
        predicted.append(votes.argmax(dim=1))
    return torch.cat(predicted)


def fit_probe(train: LabeledFeatures, val: LabeledFeatures, *, num_classes: int) -> Probe:
    """Return the logistic regression that has the lowest loss on the validation images.

    It minimizes mean cross-entropy + l2 / 2 * |weight|^2 by L-BFGS. In scikit-learn's words, C is
    1 / (l2 * number of training images), or twice that for two classes, for which it has one row of weights.
    The same images give the same bits for the same number of threads.
    """
    std, mean = torch.std_mean(train.features, dim=0, correction=0)
    # What hardly varies is rounding, and says nothing.
    std = torch.where(std > 1e-6 * std.max(), std, torch.ones_like(std))
    standardized = (train.features - mean).div_(std)
    weight = torch.zeros(num_classes, train.features.shape[1], requires_grad=True)
    bias = torch.zeros(num_classes, requires_grad=True)
    best, best_loss = None, float("inf")
    for l2 in L2_STRENGTHS:
        _minimize(weight, bias, standardized, train.labels, l2=l2)
        probe = Probe(weight.detach().clone(), bias.detach().clone(), mean, std, l2)
        loss = cross_entropy(probe.compute_logits(val.features), val.labels).item()
        if best is not None and not loss < best_loss:
            break
        best, best_loss = probe, loss
    assert best is not None
    return best


def _minimize(weight: Tensor, bias: Tensor, features: Tensor, labels: Tensor, *, l2: float) -> None:
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=_MAX_ITERATIONS,
        tolerance_grad=1e-4,  # as scikit-learn
        tolerance_change=1e-7,
        line_search_fn="strong_wolfe",
    )

    parts, parts_of_labels = torch.split(features, _CHUNK), torch.split(labels, _CHUNK)

    def compute_loss() -> float:
        optimizer.zero_grad()
        penalty = l2 / 2 * weight.square().sum()
        penalty.backward()  # type: ignore[no-untyped-call]
        total = penalty.item()
        for part, part_labels in zip(parts, parts_of_labels, strict=True):
            logits = linear(part, weight, bias)
            loss = cross_entropy(logits, part_labels, reduction="sum") / len(features)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        return total

    optimizer.step(compute_loss)  # type: ignore[no-untyped-call]


def compare(is_correct: Bools, is_baseline_correct: Bools, *, groups: Ints) -> Comparison:
    """Compare two classifiers on the same test images (N,)."""
    change = is_correct.astype(np.int64) - is_baseline_correct
    verdict: Literal["better", "worse", ""] = ""
    if compute_flip_p_value(change, groups) < LEVEL:
        verdict = "better" if change.sum() > 0 else "worse"
    return Comparison(int((change > 0).sum()), int((change < 0).sum()), verdict)


def _share(is_counted: Bools, groups: Ints) -> Share:
    return Share(float(is_counted.mean()), *estimate_share(is_counted, groups))
