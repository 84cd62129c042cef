"""The report in short, in Markdown, for a pull request.

Names stand in code spans and in lists: there no character of theirs means anything to Markdown or to the page
that shows it, neither markup nor the bars of a table nor @ and #.
"""

import re
from collections.abc import Iterator

from schemas.vision.checkpoint import Checkpoint
from stages.evaluate.confusion import count_confused_pairs, rank_confused_pairs
from stages.evaluate.report import wording
from stages.evaluate.report.believing import describe_withholding
from stages.evaluate.report.classes import build_class_rows
from stages.evaluate.report.content import ReportContent
from stages.evaluate.report.headline import build_figure_rows, build_verdict

_NUM_LISTED = 5


def render_summary(content: ReportContent) -> str:
    """Return the summary, to be stored as UTF-8."""
    parts = (
        ["# Test report", "", f"**{build_verdict(content)}**"],
        _tabulate_figures(content),
        _list_pairs(content),
        _list_classes(content),
        ["## Withholding improbable answers", "", describe_withholding(content.calibration.withholding)],
        _describe_data(content),
    )
    text = "\n\n".join("\n".join(lines) for lines in parts) + "\n"
    return text.replace("\N{NO-BREAK SPACE}", " ")


def _tabulate_figures(content: ReportContent) -> list[str]:
    """Return every figure, and what it takes to be better than nothing."""
    rows = [f"| {row.title} | {row.value} | {row.interval} |" for row in build_figure_rows(content)]
    baseline = wording.percent(content.metrics.majority_accuracy)
    rows.insert(1, f"| Accuracy of always answering the largest class | {baseline} | |")
    return ["| Figure | Value | 95 % interval |", "|---|--:|--:|", *rows]


def _list_pairs(content: ReportContent) -> list[str]:
    pairs = rank_confused_pairs(content.confusion)
    if not pairs:
        return ["## Most confused", "", "No class was taken for another."]
    classes = content.checkpoint.classes
    lines = [
        f"- {_code(classes[pair.label])} taken for {_code(classes[pair.predicted])} in "
        f"{wording.plural(pair.count, 'image')}, {wording.percent(pair.share)} of the class"
        for pair in pairs[:_NUM_LISTED]
    ]
    more = count_confused_pairs(content.confusion) - len(lines)
    return ["## Most confused", "", *lines, *([f"- and {wording.plural(more, 'pair')} more"] if more else [])]


def _list_classes(content: ReportContent) -> list[str]:
    rows = [row for row in build_class_rows(content) if row.recall is not None and row.recall < 1]
    if not rows:
        return ["## Hardest classes", "", "Every test image was recognised."]
    return [
        "## Hardest classes",
        "",
        *(
            f"- {_code(row.label)} with {wording.percent(row.recall or 0.0)} of "
            f"{wording.plural(row.support, 'test image')} recognised"
            + ("" if row.precision is None else f", {wording.percent(row.precision)} of its answers right")
            for row in rows[:_NUM_LISTED]
        ),
    ]


def _describe_data(content: ReportContent) -> list[str]:
    checkpoint, counts = content.checkpoint, content.manifest.counts
    splits = (("training", counts.train), ("validation", counts.val), ("test", counts.test))
    images = ", ".join(f"{wording.count(sum(of_class))} {split}" for split, of_class in splits)
    tested = f"weights after epoch {checkpoint.epoch.epoch} of {checkpoint.num_epochs}"
    data, weights = map(wording.short_hash, (checkpoint.dataset_sha256, checkpoint.weights_sha256))
    lines = [
        f"- {wording.count(len(checkpoint.classes))} classes; images: {images}; {_describe_form(checkpoint)}",
        f"- Network {_code(checkpoint.network.name)}, {tested}, seed {checkpoint.seed}",
        f"- Data `{data}`, weights `{weights}`",
        f"- Audit: {', '.join(_describe_findings(content)) or 'nothing conspicuous'}",
        f"- Suspected label errors in the test split: {wording.count(content.exhibits.num_suspected)}",
    ]
    return ["## What was trained on what", "", *lines]


def _describe_form(checkpoint: Checkpoint) -> str:
    form = checkpoint.image
    return f"{form.width_px} × {form.height_px} px, {form.color}"


def _describe_findings(content: ReportContent) -> Iterator[str]:
    for kind in content.findings:
        left_out = f" ({wording.count(kind.num_left_out)} left out)" if kind.num_left_out else ""
        yield f"{kind.kind.replace('_', ' ')} {wording.count(kind.num_found)}{left_out}"


def _code(text: str) -> str:
    """Return a name as a code span, in which all of it is literal."""
    # Markdown takes a space from either end.
    shown = re.sub("^ +| +$", lambda spaces: "\N{SYMBOL FOR SPACE}" * len(spaces[0]), wording.brief(text))
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"
