"""The evaluate stage, top to bottom: load, predict, measure, write."""

from schemas.evaluate.evaluation import Evaluation
from schemas.evaluate.test_metrics import HeadlineMetrics, TestRecord
from schemas.params import Params
from stages.evaluate.baseline import measure_baseline
from stages.evaluate.calibration import measure_calibration
from stages.evaluate.corruptions import measure_corruptions
from stages.evaluate.curves import measure_areas, trace_curves
from stages.evaluate.examples import collect_examples
from stages.evaluate.loading import TestRun, load_test_run
from stages.evaluate.metrics import (
    collect_metrics,
    estimate_metrics,
    find_hardest_class,
    measure_leaks,
    score_classes,
)
from stages.evaluate.predictions import Predictions, make_predictions
from stages.evaluate.report.content import ReportContent
from stages.evaluate.report.render import render_report
from stages.evaluate.report.summary import render_closing, render_summary
from stages.evaluate.subgroups import measure_subgroups
from stages.evaluate.tables import estimate_report_bytes, write_tables
from stages.shared.files import check_free_space, publish_folder, sha256_of, write_json, write_text
from stages.shared.inputs import StageInputs, hash_json
from stages.shared.paths import METRICS, REPORT, list_tested
from stages.shared.progress import show_step
from stages.vision.dataset import number_groups
from stages.vision.runtime import explain_device_errors


@explain_device_errors("evaluate", lambda: "lower evaluation.batch_size")
def evaluate(params: Params, inputs: StageInputs) -> None:
    """Test the checkpoint that evaluation.checkpoint names; write data/report and data/metrics/test.json."""
    run = load_test_run(params.evaluation)
    check_free_space(REPORT, num_bytes=estimate_report_bytes(run.manifest))
    logits, labels = run.compute_logits(run.images)
    predictions = make_predictions(logits, labels, calibration=run.checkpoint.calibration)
    content = measure(run, predictions, evaluation=params.evaluation)
    with show_step(f"evaluate: writing {REPORT}"), publish_folder(REPORT) as folder:
        write_tables(folder, content, predictions, paths=run.columns["path"])
        write_text(folder / "report.html", render_report(content))
        write_text(folder / "summary.md", render_summary(content))
        data_sha256 = hash_json([sha256_of(path) for path in list_tested(params.evaluation.checkpoint)])
        fingerprint = inputs.describe(data_sha256=data_sha256).fingerprint
        metrics = content.metrics.model_dump()
        write_json(folder / "metrics.json", TestRecord(**metrics, fingerprint=fingerprint))
        inputs.check_unchanged()
    headline = HeadlineMetrics(**{name: metrics[name] for name in HeadlineMetrics.model_fields})
    write_json(METRICS / "test.json", headline)
    print(render_closing(content, page=REPORT / "report.html"))


def measure(run: TestRun, predictions: Predictions, *, evaluation: Evaluation) -> ReportContent:
    """Measure everything that the report shows."""
    checkpoint, is_correct = run.checkpoint, predictions.is_correct
    groups = number_groups(run.columns["group"])
    areas = measure_areas(predictions)
    estimates = estimate_metrics(predictions, areas=areas, groups=groups, top_k=evaluation.top_k)
    calibration = measure_calibration(
        predictions, groups, target_accuracy=evaluation.target_accuracy, confidence=evaluation.confidence
    )
    subgroups = measure_subgroups(
        evaluation.slices, images=run.pixels, columns=run.columns, is_correct=is_correct, groups=groups
    )
    leaks = measure_leaks(run.columns["leak"], is_correct)
    baseline = measure_baseline(evaluation, run, is_correct=is_correct, groups=groups)
    corrupted = []
    if evaluation.corruptions is not None:
        corrupted = measure_corruptions(
            run.pixels,
            transform=run.transform,
            compute=run.compute_logits,
            calibration=checkpoint.calibration,
            groups=groups,
        )
    with show_step("evaluate: explaining predictions"):  # last, for Grad-CAM moves the network to the CPU
        examples = collect_examples(
            run.images,
            predictions,
            shown=run.cropped,
            paths=run.columns["path"],
            classes=checkpoint.classes,
            num_each=evaluation.num_worst,
            network=run.network,
        )
    return ReportContent(
        checkpoint=checkpoint,
        history=run.history,
        counts=run.manifest.counts,
        metrics=collect_metrics(predictions, estimates, calibration, leaks, baseline),
        leaks=leaks,
        baseline=baseline,
        estimates=estimates,
        per_class=score_classes(
            predictions,
            classes=checkpoint.classes,
            groups=groups,
            average_precision=areas.average_precision.by_class,
        ),
        hardest=find_hardest_class(predictions, groups),
        confusion=predictions.confusion,
        calibration=calibration,
        top_k=evaluation.top_k,
        num_groups=int(groups.max()) + 1,
        curves=trace_curves(predictions),
        subgroups=subgroups,
        corrupted=corrupted,
        examples=examples,
        findings=run.findings,
    )
