"""Content for reports, of any number of classes, small and the same every time."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from schemas.evaluate.test_metrics import ClassScores, TestMetrics
from schemas.shared.inputs import Inputs
from schemas.shared.manifest import ImageForm, SplitCounts
from schemas.vision.checkpoint import Checkpoint, EpochRecord, History, Scores
from schemas.vision.network import ChosenNetwork, Cnn
from schemas.vision.runtime import Numerics
from schemas.vision.transforms import Normalize, ToTensor
from stages.evaluate.baseline import Baseline, Comparison, NoBaseline
from stages.evaluate.calibration import (
    Bin,
    CalibrationReport,
    PredictionSets,
    Reliability,
    SelectivePrediction,
    Share,
)
from stages.evaluate.corruptions import CorruptedAccuracy
from stages.evaluate.curves import ClassCurves, measure_areas
from stages.evaluate.examples import Cell, CellExample, Example, Examples, list_shown_cells
from stages.evaluate.label_errors import LabelErrors
from stages.evaluate.loading import AuditFindings
from stages.evaluate.metrics import Estimate, LeakReport, estimate_metrics
from stages.evaluate.predictions import Predictions, make_predictions
from stages.evaluate.report.content import ReportContent
from stages.evaluate.subgroups import Subgroup
from tests.vision.documents import CALIBRATION

DATASET_SHA256 = "d" * 64
WEIGHTS_SHA256 = "e" * 64
NO_LEAKS = LeakReport({}, None)


def make_label_errors(number: int) -> LabelErrors:
    """Return the first so many images of a test split as suspects of two to one."""
    images = np.arange(number)
    return LabelErrors(images, np.ones_like(images), np.full(number, 2 / 3), is_withheld=False)


def make_content(
    *,
    classes: Sequence[str] = ("cat", "dog", "eel"),
    confusion: Sequence[Sequence[int]] | NDArray[np.int64] = ((7, 2, 1), (0, 20, 0), (0, 3, 2)),
    worst: Sequence[Example] = (),
    uncertain: Sequence[Example] = (),
    suspected: Sequence[Example] = (),
    sample: Sequence[Example] = (),
    why_no_heatmaps: str = "",
    path: str = "raw/cat/1.png",
    cell_image: NDArray[np.uint8] | None = None,
    estimates: Sequence[Estimate] | None = None,
    findings: Sequence[AuditFindings] = (),
    num_epochs: int = 3,
    best_epoch: int = 1,
    tested_epoch: int | None = None,
    top_k: int = 2,
    calibration: CalibrationReport | None = None,
    channels: int = 3,
    subgroups: Sequence[Subgroup] = (),
    corrupted: Sequence[CorruptedAccuracy] = (),
    hardest: int | None = None,
    leaks: LeakReport = NO_LEAKS,
    baseline: Baseline | NoBaseline | None = None,
) -> ReportContent:
    """Return content whose metrics follow from the confusion matrix."""
    matrix = np.asarray(confusion, dtype=np.int64)
    num_classes, num_images = len(classes), int(matrix.sum())
    form = ImageForm(color="rgb" if channels == 3 else "grayscale", height_px=8, width_px=12, resize="squish")
    epochs = tuple(_epoch(number) for number in range(1, num_epochs + 1))
    counts = SplitCounts(
        train=tuple(range(100, 100 + num_classes)), val=(10,) * num_classes, test=(5,) * num_classes
    )
    correct, support, num_predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    recall, precision = correct / np.maximum(1, support), correct / np.maximum(1, num_predicted)
    f1 = 2 * correct / np.maximum(1, support + num_predicted)
    return ReportContent(
        # Names that a checkpoint refuses are tried as well: the page must not rely on it.
        checkpoint=Checkpoint(
            version=3,
            network=ChosenNetwork(name="cnn", arguments=Cnn(channels=(16, 32), kernel_size=5, dropout=0.25)),
            classes=tuple(map(str, range(num_classes))),
            image=form,
            preprocessing=(
                ToTensor(name="ToTensor"),
                Normalize(name="Normalize", mean=(0.5,) * channels, std=(0.25,) * channels),
            ),
            numerics=Numerics(threads=2, precision="float32"),
            is_compiled=False,
            calibration=CALIBRATION,
            epoch=epochs[(tested_epoch or best_epoch) - 1],
            num_epochs=num_epochs,
            seed=7,
            pretrained_weights=None,
            dataset_sha256=DATASET_SHA256,
            weights_sha256=WEIGHTS_SHA256,
            inputs=Inputs(params="1" * 64, code="2" * 64, data=DATASET_SHA256),
            device="cpu AVX2",
            libraries={"torch": "2.14.1", "numpy": "2.4.6"},
            parameters={
                "transforms": [{"RandomCrop": {"padding": 2}}, "ToTensor"],
                "loss": {"name": "focal", "class_weights": "none", "focal": {"gamma": 2.0}},
                "optimizer": {"name": "sgd", "lr": 0.1, "sgd": {"momentum": 0.9}, "adam": {"betas": [0.5]}},
            },
        ).model_copy(update={"classes": tuple(classes)}),
        history=History(
            num_parameters=1234,
            best_metric="balanced_accuracy",
            best_epoch=best_epoch,
            ended_by="num_epochs",
            is_repeatable=True,
            epochs=epochs,
        ),
        counts=counts,
        metrics=TestMetrics(
            num_images=num_images,
            log_loss=0.4321,
            accuracy=float(correct.sum() / num_images),
            balanced_accuracy=float(recall.mean()),
            macro_f1=float(f1.mean()),
            matthews_correlation=0.7,
            roc_auc=0.93,
            average_precision=0.88,
            top_k_accuracy=0.9876,
            ece=0.0321,
            coverage=0.8,
            answered_accuracy=0.95,
            majority_accuracy=float(support.max() / num_images),
            accuracy_without_leaks=leaks.accuracy_without,
        ),
        leaks=leaks,
        baseline=baseline,
        estimates=make_estimates(matrix) if estimates is None else estimates,
        per_class=[
            ClassScores(
                label=label,
                support=int(support[at]),
                precision=float(precision[at]),
                recall=float(recall[at]),
                recall_low=0.25 if support[at] else None,
                recall_high=0.75 if support[at] else None,
                f1=float(f1[at]),
                average_precision=0.5 if support[at] else None,
            )
            for at, label in enumerate(classes)
        ],
        hardest=hardest,
        confusion=matrix,
        calibration=calibration or make_calibration(),
        top_k=top_k,
        examples=Examples(
            worst=worst,
            uncertain=uncertain,
            suspected=suspected,
            sample=sample,
            label_errors=make_label_errors(len(suspected)),
            why_no_heatmaps=why_no_heatmaps,
            cells=make_cells(matrix, path=path, channels=channels, image=cell_image),
        ),
        findings=findings,
        num_groups=num_images,
        curves=[ClassCurves(0, precision_recall=((0.0, 1.0), (1.0, 0.5)), roc=((0.0, 0.0), (1.0, 1.0)))],
        subgroups=subgroups,
        corrupted=corrupted,
    )


def make_estimates(confusion: NDArray[np.int64]) -> list[Estimate]:
    """Return the metrics of predictions with this confusion matrix, each image a group of its own."""
    predictions = make_predictions_of(confusion)
    groups = np.arange(predictions.num_images)
    return estimate_metrics(predictions, areas=measure_areas(predictions), groups=groups, top_k=2)


def make_predictions_of(confusion: NDArray[np.int64]) -> Predictions:
    """Return predictions with this confusion matrix, the more confident the later the image."""
    labels, predicted = np.nonzero(confusion)
    counts = confusion[labels, predicted]
    labels, predicted = np.repeat(labels, counts), np.repeat(predicted, counts)
    logits = torch.zeros(len(labels), len(confusion))
    logits[range(len(labels)), predicted] = torch.linspace(1, 5, len(labels))
    return make_predictions(logits, torch.from_numpy(labels), calibration=CALIBRATION)


def make_baseline(
    *, knn: float = 0.75, probe: float = 0.5, against: Comparison, is_frozen: bool = False
) -> Baseline:
    """Return a baseline, the better of the two being the one with the higher accuracy."""
    return Baseline(
        source="timm resnet18 a1_in1k",
        num_train=1234,
        num_features=512,
        knn=Share(knn, knn - 0.05, knn + 0.05),
        probe=Share(probe, probe - 0.05, probe + 0.05),
        l2=0.1,
        better="kNN" if knn > probe else "linear probe",
        against_better=against,
        is_frozen=is_frozen,
    )


def make_calibration(
    *, temperature: float = 1.25, threshold: float | None = 2 / 3, why_no_sets: str = ""
) -> CalibrationReport:
    """Return a calibration error of 9.5 % before temperature scaling and 2 % after."""
    return CalibrationReport(
        temperature=temperature,
        before=Reliability((Bin(10, 0.55, 0.45), Bin(10, 0.9, 0.81))),
        after=Reliability((Bin(10, 0.5, 0.52), Bin(10, 0.8, 0.78))),
        ece=Share(0.02, 0.0, 0.05),
        ece_by_chance=0.04,
        selective=SelectivePrediction(
            target_accuracy=0.9,
            confidence=0.8,
            threshold=threshold,
            why_none="" if threshold else "19 validation images are too few to promise 90 % accuracy",
            coverage=0.8 if threshold else 0.0,
            accuracy=Share(0.95, 0.91, 0.97) if threshold else None,
            risk_coverage=((0.05, 0.0), (0.5, 0.02), (1.0, 0.35)),
        ),
        sets=[
            PredictionSets(0.9, "", Share(0.92, 0.89, 0.94), 1.25),
            PredictionSets(
                0.95, why_no_sets, *((None, None) if why_no_sets else (Share(0.96, 0.94, 0.98), 2.5))
            ),
        ],
    )


def make_cells(
    confusion: NDArray[np.int64], *, path: str, channels: int, image: NDArray[np.uint8] | None
) -> dict[Cell, list[CellExample]]:
    """Return one or two images of each cell, in a shade of gray of its own unless an image is given."""
    cells = {}
    for number, (label, predicted) in enumerate(list_shown_cells(confusion)):
        plain = np.full((8, 12, channels), number % 200 + 30, dtype=np.uint8)
        example = CellExample(plain if image is None else image, path, confidence=0.75)
        cells[label, predicted] = [example] * min(2, int(confusion[label, predicted]))
    return cells


def make_example(
    image: NDArray[np.uint8] | None = None,
    *,
    path: str = "raw/cat/1.png",
    label: str = "cat",
    predicted: str = "dog",
    suggestion: str = "",
    heatmap: NDArray[np.float32] | None = None,
) -> Example:
    """Return an image predicted with 97.6 % confidence, by default wrongly."""
    pixels = np.full((8, 12, 3), 200, dtype=np.uint8) if image is None else image
    return Example(
        image=pixels,
        path=path,
        label=label,
        label_probability=0.976 if label == predicted else 0.0123,
        top_classes=[(predicted, 0.976), ("fox", 0.0117)],
        heatmap=heatmap,
        suggestion=suggestion,
    )


def _epoch(number: int) -> EpochRecord:
    return EpochRecord(
        epoch=number,
        lr=0.01 / number,
        train_loss=1.0 / number,
        train_accuracy=1 - 0.5 / number,
        val=Scores(
            loss=1.25 / number,
            accuracy=1 - 0.75 / number,
            balanced_accuracy=1 - 0.8 / number,
            macro_f1=1 - 0.85 / number,
        ),
    )
