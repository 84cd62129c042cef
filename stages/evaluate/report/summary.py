"""The report in short: in Markdown for a pull request, and in a few lines for the terminal.

Names stand in code spans and in lists. There, no character of theirs means anything to Markdown or to the
page that shows it: no markup, no table bars, no @mentions and no #references.
"""

from collections.abc import Iterator
from pathlib import Path

from stages.evaluate.metrics import count_confused_pairs, rank_confused_pairs
from stages.evaluate.report.content import (
    ReportContent,
    build_baseline_rows,
    build_class_rows,
    build_metric_rows,
    build_verdict,
    describe_baseline,
    describe_label_errors,
    describe_selective,
)
from stages.evaluate.report.next_steps import list_next_steps
from stages.evaluate.report.run_details import describe_image
from stages.pages import wording
from stages.pages.wording import code_span

_NUM_LISTED = 5


def render_summary(content: ReportContent) -> str:
    """Return the summary, to be stored as UTF-8."""
    parts = (
        ["# Test report", "", f"**{build_verdict(content).write(code_span)}**"],
        _list_steps(content),
        _tabulate_metrics(content),
        _list_baseline(content),
        _list_pairs(content),
        _list_classes(content),
        ["## Selective prediction", "", describe_selective(content.calibration.selective)],
        _list_run_details(content),
    )
    text = "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"
    return text.replace("\N{NO-BREAK SPACE}", " ")


def render_closing(content: ReportContent, *, page: Path) -> str:
    """Return what the stage prints at its end: accuracy, the pair most often confused, the page to open.

    An accuracy that always predicting one class may reach as well is called so.
    """
    (accuracy,) = (row for row in build_metric_rows(content) if row.title == "Accuracy")
    interval = f" (95 % interval: {accuracy.interval})" if accuracy.interval else ""
    images = wording.plural(content.metrics.num_images, "test image")
    lines = [f"accuracy {accuracy.value}{interval} on {images}"]
    low, high = content.accuracy_interval
    if low <= (by_largest := content.metrics.majority_accuracy):
        compared = "worse than" if high < by_largest else "not distinguishable from"
        lines.append(f"that is {compared} always predicting one class: {wording.percent(by_largest)}")
    if rows := build_baseline_rows(content):
        lines.append(f"pretrained features alone: kNN {rows[0].value}, linear probe {rows[1].value}")
    if sentences := describe_baseline(content):
        lines.append(f"{sentences[0][0].lower()}{sentences[0][1:].removesuffix('.')}")
    if pairs := rank_confused_pairs(content.confusion):
        pair, classes = pairs[0], content.checkpoint.classes
        label, predicted = (wording.brief(classes[each]) for each in (pair.label, pair.predicted))
        images = wording.plural(int(content.confusion[pair.label].sum()), "image")
        lines.append(f"most often confused: {label}, {pair.count:,} of {images} taken for {predicted}")
    text = "\n".join(f"evaluate: {line}" for line in (*lines, f"open {page}"))
    return text.replace("\N{NO-BREAK SPACE}", " ")


def _list_steps(content: ReportContent) -> list[str]:
    """Return what to do next, in order; nothing if there is nothing."""
    steps = [
        f"{number}. {step.write(code_span)}" for number, step in enumerate(list_next_steps(content), start=1)
    ]
    return ["## Next steps", "", *steps] if steps else []


def _tabulate_metrics(content: ReportContent) -> list[str]:
    """Return every metric, and the accuracy of the largest class below the network's own."""
    rows = [f"| {row.title} | {row.value} | {row.interval} |" for row in build_metric_rows(content)]
    by_largest = wording.percent(content.metrics.majority_accuracy)
    rows.insert(1, f"| Accuracy of always predicting the largest class | {by_largest} | |")
    return ["| Metric | Value | 95 % confidence interval |", "|---|--:|--:|", *rows]


def _list_baseline(content: ReportContent) -> list[str]:
    """Return what the pretrained features reach alone; nothing if that was not asked for."""
    if not (sentences := describe_baseline(content)):
        return []
    rows = [f"- {row.title}: {row.value} ({row.interval})" for row in build_baseline_rows(content)]
    return ["## Pretrained features alone", "", " ".join(sentences), *(["", *rows] if rows else [])]


def _list_pairs(content: ReportContent) -> list[str]:
    heading = ["## Most confused pairs", ""]
    pairs = rank_confused_pairs(content.confusion)
    if not pairs:
        return [*heading, "No class was confused with another."]
    classes = content.checkpoint.classes
    lines = [
        f"- {code_span(classes[pair.label])} predicted as {code_span(classes[pair.predicted])}: "
        f"{wording.plural(pair.count, 'image')}, {wording.percent(pair.fraction)} of the class"
        for pair in pairs[:_NUM_LISTED]
    ]
    more = count_confused_pairs(content.confusion) - len(lines)
    return [*heading, *lines, *([f"- and {wording.plural(more, 'more pair')}"] if more else [])]


def _list_classes(content: ReportContent) -> list[str]:
    heading = ["## Lowest recall", ""]
    rows = [row for row in build_class_rows(content) if row.recall is not None and row.recall < 1]
    if not rows:
        return [*heading, "Every class has a recall of 100 %."]
    return [
        *heading,
        *(
            f"- {code_span(row.label)}: recall {wording.percent(row.recall or 0.0)} of "
            f"{wording.plural(row.support, 'test image')}"
            + ("" if row.precision is None else f", precision {wording.percent(row.precision)}")
            for row in rows[:_NUM_LISTED]
        ),
    ]


def _list_run_details(content: ReportContent) -> list[str]:
    checkpoint, counts = content.checkpoint, content.counts
    splits = (("training", counts.train), ("validation", counts.val), ("test", counts.test))
    images = ", ".join(f"{wording.count(sum(of_class))} {split}" for split, of_class in splits)
    epoch = f"epoch {checkpoint.epoch.epoch} of {checkpoint.num_epochs}"
    data, weights = map(wording.short_hash, (checkpoint.dataset_sha256, checkpoint.weights_sha256))
    return [
        "## Run details",
        "",
        f"- {wording.count(len(checkpoint.classes))} classes; images: {images}; {describe_image(checkpoint)}",
        f"- Network {code_span(checkpoint.network.name)}, {epoch}, seed {checkpoint.seed}",
        f"- Dataset hash `{data}`, weights hash `{weights}`",
        f"- Data audit: {', '.join(_describe_findings(content)) or 'no findings'}",
        f"- Test images whose label may be wrong: {describe_label_errors(content.examples.label_errors)}",
    ]


def _describe_findings(content: ReportContent) -> Iterator[str]:
    for findings in content.findings:
        left_out = f" ({wording.count(findings.num_left_out)} left out)" if findings.num_left_out else ""
        yield f"{findings.kind.replace('_', ' ')} {wording.count(findings.num_found)}{left_out}"
