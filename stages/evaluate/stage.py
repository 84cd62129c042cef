"""The evaluate stage, top to bottom.

The network and its preprocessing come from the checkpoint alone, so that what is tested is what was trained.
"""

from torch import Tensor

from schemas.evaluate.evaluation import Evaluation
from schemas.evaluate.test_metrics import TestMetrics, TestRecord
from schemas.params import Params
from schemas.shared.manifest import Manifest
from schemas.vision.checkpoint import Checkpoint
from schemas.vision.history import History
from stages.evaluate.calibration import measure_calibration, write_reliability
from stages.evaluate.intervals import measure_figures, write_figures
from stages.evaluate.metrics import compute_metrics, rank_mistakes, score_classes, score_images
from stages.evaluate.predictions import write_answers, write_predictions
from stages.evaluate.report import Mistake, ReportContent, render_report
from stages.shared.errors import InputError
from stages.shared.files import publish_folder, read_sealed_json, sha256_of, write_json, write_text
from stages.shared.index import read_used_rows
from stages.shared.inputs import StageInputs, hash_json
from stages.shared.paths import METRICS, MODEL, PREPARED, REPORT
from stages.vision import scores
from stages.vision.calibration import compute_probabilities
from stages.vision.checkpoint import read_checkpoint, restore_network
from stages.vision.dataset import PreparedImages, build_loader, read_manifest
from stages.vision.inference import compute_logits
from stages.vision.runtime import choose_device, make_deterministic
from stages.vision.transforms import build_transforms


def evaluate(params: Params, inputs: StageInputs) -> None:
    """Test the checkpoint that params.yaml names."""
    evaluation = params.evaluation
    manifest = read_manifest(PREPARED)
    checkpoint_path = MODEL / f"{evaluation.checkpoint}.safetensors"
    checkpoint, weights = read_checkpoint(checkpoint_path)
    refuse_other_data(checkpoint, manifest)
    history = read_sealed_json(MODEL / "history.json", History, made_by="dvc repro train")

    device = choose_device(evaluation.device, place="params.yaml: evaluation.device")
    make_deterministic(checkpoint.numerics)
    network = restore_network(checkpoint, weights).to(device)
    images = PreparedImages(PREPARED, manifest, "test", transform=build_transforms(checkpoint.preprocessing))
    batches = build_loader(images, batch_size=evaluation.batch_size)
    logits, labels = compute_logits(network, batches, device=device, numerics=checkpoint.numerics)
    calibration = measure_calibration(
        logits, labels, calibration=checkpoint.calibration, target_accuracy=evaluation.target_accuracy
    )
    metrics = compute_metrics(logits, labels, top_k=evaluation.top_k, calibration=calibration)

    with publish_folder(REPORT) as folder:
        probabilities = compute_probabilities(logits, checkpoint.calibration)
        paths = find_paths(images)
        predicted = probabilities.argmax(dim=1)
        write_predictions(
            folder / "predictions.csv",
            paths=paths,
            labels=labels,
            probabilities=probabilities,
            classes=checkpoint.classes,
        )
        write_answers(folder / "answers.csv", labels=labels, predicted=predicted, classes=checkpoint.classes)
        write_reliability(folder / "reliability.csv", calibration)
        confusion = scores.count_confusion(
            labels.numpy(), predicted.numpy(), num_classes=len(checkpoint.classes)
        )
        losses, is_in_top_k = score_images(
            logits, labels, temperature=calibration.temperature, top_k=evaluation.top_k
        )
        figures = measure_figures(confusion, is_in_top_k=is_in_top_k.numpy(), losses=losses.numpy())
        write_figures(folder / "metrics.csv", figures)
        content = ReportContent(
            checkpoint=checkpoint,
            history=history,
            manifest=manifest,
            metrics=metrics,
            figures=figures,
            per_class=score_classes(confusion, checkpoint.classes),
            confusion=confusion,
            calibration=calibration,
            top_k=evaluation.top_k,
            worst=find_worst(
                images, paths, labels, probabilities, checkpoint=checkpoint, evaluation=evaluation
            ),
        )
        write_text(folder / "report.html", render_report(content))
        inputs.refuse_changes()
    data = hash_json([sha256_of(PREPARED / "manifest.json"), sha256_of(checkpoint_path)])
    fingerprint = inputs.describe(data_sha256=data).fingerprint
    write_json(METRICS / "test.json", TestRecord(**metrics.model_dump(), fingerprint=fingerprint))
    report(metrics)


def refuse_other_data(checkpoint: Checkpoint, manifest: Manifest) -> None:
    """Refuse to test on data the network was not trained beside: its test images may have been trained on.

    Raises:
        InputError: The prepared data changed since training.
    """
    if checkpoint.classes != manifest.classes:
        found = f"{len(manifest.classes)} classes that are not the checkpoint's {len(checkpoint.classes)}"
    elif checkpoint.dataset_sha256 != sha256_of(PREPARED / "manifest.json"):
        found = "other images or another split than the checkpoint was trained on"
    else:
        return
    raise InputError(f"{PREPARED}: holds {found}; train anew with: dvc repro train")


def find_paths(images: PreparedImages) -> list[str]:
    """Return the path of every image of a split in the source."""
    rows = read_used_rows(PREPARED / "index.csv")
    return [rows[row].path for row in images.rows]


def find_worst(
    images: PreparedImages,
    paths: list[str],
    labels: Tensor,
    probabilities: Tensor,
    *,
    checkpoint: Checkpoint,
    evaluation: Evaluation,
) -> list[Mistake]:
    """Return the worst mistakes, worst first."""
    worst = []
    for image in rank_mistakes(probabilities, labels)[: evaluation.num_worst]:
        label, answer = int(labels[image]), int(probabilities[image].argmax())
        worst.append(
            Mistake(
                image=images.pixels(image),
                path=paths[image],
                label=checkpoint.classes[label],
                predicted=checkpoint.classes[answer],
                probability=float(probabilities[image, answer]),
                label_probability=float(probabilities[image, label]),
            )
        )
    return worst


def report(metrics: TestMetrics) -> None:
    """Print the headline figures and where the rest is."""
    print(
        f"evaluate: {metrics.num_images:,} test images: accuracy {metrics.accuracy:.2%}, "
        f"balanced {metrics.balanced_accuracy:.2%}, macro F1 {metrics.macro_f1:.4f}, loss {metrics.loss:.4f}"
    )
    print(f"evaluate: the report is {REPORT / 'report.html'}")
