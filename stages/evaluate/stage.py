"""The evaluate stage, top to bottom.

The network and its preprocessing come from the checkpoint alone, so that what is tested is what was trained.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from schemas.evaluate.evaluation import Evaluation
from schemas.evaluate.test_metrics import TestMetrics, TestRecord
from schemas.params import Params
from schemas.shared.index import IndexRow
from schemas.shared.manifest import Manifest
from schemas.vision.checkpoint import Checkpoint
from schemas.vision.history import History
from stages.evaluate import tables
from stages.evaluate.answers import Answers, decide_answers
from stages.evaluate.audit import read_findings
from stages.evaluate.calibration import measure_calibration
from stages.evaluate.curves import trace_curves
from stages.evaluate.exhibits import gather_exhibits
from stages.evaluate.intervals import measure_figures
from stages.evaluate.metrics import compute_metrics, score_classes
from stages.evaluate.predictions import write_predictions
from stages.evaluate.ranking import measure_ranking
from stages.evaluate.report.content import ReportContent
from stages.evaluate.report.render import render_report
from stages.evaluate.report.summary import render_summary
from stages.evaluate.robustness import measure_robustness
from stages.evaluate.slices import measure_slices
from stages.evaluate.sources import number_units, read_columns
from stages.shared.errors import InputError
from stages.shared.files import (
    check_free_space,
    publish_folder,
    read_sealed_json,
    sha256_of,
    write_json,
    write_text,
)
from stages.shared.inputs import StageInputs, hash_json
from stages.shared.paths import AUDIT, MAKE_MODEL, METRICS, MODEL, PREPARED, REPORT, list_tested
from stages.vision.checkpoint import read_checkpoint, restore_network
from stages.vision.dataset import PreparedImages, build_loader, read_manifest
from stages.vision.inference import compute_logits
from stages.vision.runtime import choose_device, make_deterministic
from stages.vision.transforms import build_transforms, only_form

_REPORT_BYTES = 8 * 2**20
"""The report, at most, and the small tables."""

_BYTES_PER_ANSWER = 24
"""Of a field of predictions.csv, at most; paths may be longer, probabilities are shorter."""


def evaluate(params: Params, inputs: StageInputs) -> None:
    """Test the checkpoint that params.yaml names."""
    evaluation = params.evaluation
    manifest = read_manifest(PREPARED)
    checkpoint_path = MODEL / f"{evaluation.checkpoint}.safetensors"
    checkpoint, weights = read_checkpoint(checkpoint_path)
    refuse_other_data(checkpoint, manifest)
    history = read_sealed_json(MODEL / "history.json", History, made_by=MAKE_MODEL)

    num_answers = sum(manifest.counts.test) * (len(manifest.classes) + 2)
    check_free_space(REPORT, num_bytes=_REPORT_BYTES + num_answers * _BYTES_PER_ANSWER)

    device = choose_device(evaluation.device, place="params.yaml: evaluation.device")
    make_deterministic(checkpoint.numerics)
    network = restore_network(checkpoint, weights).to(device)
    transform = build_transforms(checkpoint.preprocessing)
    images = PreparedImages(PREPARED, manifest, "test", transform=transform)
    compute = partial(compute_logits, network, device=device, numerics=checkpoint.numerics)
    logits, labels = compute(build_loader(images, batch_size=evaluation.batch_size, device=device))

    answers = decide_answers(logits, labels, calibration=checkpoint.calibration)
    pixels = PreparedImages(PREPARED, manifest, "test")
    form = build_transforms(only_form(checkpoint.preprocessing))
    columns = read_columns(PREPARED / "index.csv", rows=images.rows, names=list_columns(evaluation))
    units = number_units(columns["group"])
    ranking = measure_ranking(answers)
    figures = measure_figures(answers, ranking=ranking, units=units, top_k=evaluation.top_k)
    calibration = measure_calibration(answers, target_accuracy=evaluation.target_accuracy)
    metrics = compute_metrics(answers, figures=figures, calibration=calibration)
    confusion = answers.confusion
    content = ReportContent(
        checkpoint=checkpoint,
        history=history,
        manifest=manifest,
        metrics=metrics,
        figures=figures,
        per_class=score_classes(
            confusion, classes=checkpoint.classes, average_precision=ranking.average_precision.by_class
        ),
        confusion=confusion,
        calibration=calibration,
        top_k=evaluation.top_k,
        num_units=int(units.max()) + 1,
        curves=trace_curves(answers),
        slices=measure_slices(
            evaluation.slices, images=pixels, columns=columns, is_right=answers.is_right, units=units
        ),
        corrupted=measure_robustness(
            pixels,
            transform=transform,
            compute=compute,
            calibration=checkpoint.calibration,
            units=units,
            batch_size=evaluation.batch_size,
        )
        if evaluation.corruptions == "standard"
        else [],
        findings=read_findings(AUDIT / "findings.csv", tested=columns["path"]),
        # Last, for it takes the network from its device.
        exhibits=gather_exhibits(
            images,
            answers,
            seen=PreparedImages(PREPARED, manifest, "test", transform=form),
            paths=columns["path"],
            classes=checkpoint.classes,
            num_each=evaluation.num_worst,
            network=network,
        ),
    )
    with publish_folder(REPORT) as folder:
        write_tables(folder, content, answers, paths=columns["path"])
        write_text(folder / "report.html", render_report(content))
        write_text(folder / "summary.md", render_summary(content))
        inputs.check_unchanged()
    data = hash_json([sha256_of(path) for path in list_tested(evaluation.checkpoint)])
    fingerprint = inputs.describe(data_sha256=data).fingerprint
    write_json(METRICS / "test.json", TestRecord(**metrics.model_dump(), fingerprint=fingerprint))
    report(metrics)


def list_columns(evaluation: Evaluation) -> list[str]:
    """Return the columns of the index that the report and the wanted slices need."""
    sides = ("height_px", "width_px") if "image_size" in evaluation.slices else ()
    return [
        *dict.fromkeys(
            ("path", "group", *sides, *(name for name in evaluation.slices if name in IndexRow._fields))
        )
    ]


def write_tables(folder: Path, content: ReportContent, answers: Answers, *, paths: Sequence[str]) -> None:
    """Write all tables of data/report."""
    classes = content.checkpoint.classes
    write_predictions(folder / "predictions.csv", answers, paths=paths, classes=classes)
    tables.write_answers(folder / "answers.csv", answers, classes=classes)
    tables.write_reliability(folder / "reliability.csv", content.calibration.after)
    tables.write_figures(folder / "metrics.csv", content.figures)
    tables.write_classes(folder / "classes.csv", content.per_class)
    tables.write_curves(folder, content.curves, classes=classes)
    tables.write_slices(folder / "slices.csv", content.slices)
    tables.write_corruptions(folder / "corruptions.csv", content.corrupted)


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
    raise InputError(f"{PREPARED}: holds {found}; train anew with: {MAKE_MODEL}")


def report(metrics: TestMetrics) -> None:
    """Print the headline figures and where the rest is."""
    print(
        f"evaluate: {metrics.num_images:,} test images: accuracy {metrics.accuracy:.2%}, "
        f"balanced {metrics.balanced_accuracy:.2%}, macro F1 {metrics.macro_f1:.4f}, loss {metrics.loss:.4f}"
    )
    print(f"evaluate: the report is {REPORT / 'report.html'}")
