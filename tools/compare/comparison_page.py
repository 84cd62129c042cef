"""The comparison as one HTML page, in the look of the test report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.evaluate.examples import rank_mistakes
from stages.evaluate.label_errors import find_label_errors
from stages.evaluate.predictions import Ints
from stages.evaluate.report import charts
from stages.evaluate.report.charts import EpochSeries, LineChart, build_epoch_chart
from stages.evaluate.report.content import describe_label_errors
from stages.images.image_table import read_ingested
from stages.pages import wording
from stages.pages.page import render_page
from stages.prepare_dataset.data_page.thumbnails import Thumbnail, draw_thumbnails
from stages.shared.errors import InputError
from stages.shared.packed_images import PackedImages
from stages.shared.paths import IMAGES
from tools.compare.differences import LOWER_IS_BETTER, METRICS
from tools.compare.results import Configuration, ImageKey
from tools.compare.verdict import (
    TITLES,
    Findings,
    Judged,
    describe,
    list_changed_parameters,
    say_judged,
    write_points,
    write_value,
)

_MAX_PICTURES = 30
_MAX_EPOCHS = 200
_LINES = ("val", "class-1", "class-3", "class-4", "class-2", "train")
"""Styles of the report's curves: colours and dashes that can be told apart."""

_ROOM = 1.08  # beside the longest interval


@dataclass(frozen=True)
class Bar:
    """The difference of a metric as a bar on a scale from 0 to 100, which is `Scale`'s."""

    name: str
    text: str
    at: float
    low: float | None
    high: float | None
    word: str
    """better, worse, or cannot tell: by this metric's own interval."""


@dataclass(frozen=True)
class Scale:
    """One metric's differences, side by side."""

    title: str
    note: str
    first: str
    zero: float
    bars: Sequence[Bar]


@dataclass(frozen=True)
class Pictures:
    """Some test images of a kind."""

    num_images: int
    shown: Sequence[tuple[Thumbnail | None, str, str, str]]
    """A picture, where its pixels are here; path; class; the class it is taken for, or nothing."""


def render_comparison(findings: Findings) -> str:
    """Return the page as one HTML document, to be stored as UTF-8."""
    first, judged, keys, paths = findings.first, findings.judged, findings.keys, findings.paths
    classes = first.results[0].classes
    reference = first.results[0]
    labels = dict(zip(reference.keys, reference.labels.tolist(), strict=True))
    sides = [side for each in judged for side in (each.comparison.fixed, each.comparison.broken)]
    mistakes = [np.array(rank_mistakes(each.pooled), dtype=np.int64) for each in findings.joined]
    suspected = [find_label_errors(each.pooled) for each in findings.joined]
    chosen = [*sides, *mistakes, *(each.images for each in suspected)]
    drawn = _draw(
        [keys[at] for at in sorted({at for some in chosen for at in some[:_MAX_PICTURES].tolist()})]
    )

    def show(images: Ints, predicted: Ints | None = None) -> Pictures:
        shown = [
            (
                drawn.get(keys[image][0]),
                paths[image],
                classes[labels[keys[image]]],
                "" if predicted is None else classes[predicted[image]],
            )
            for image in images[:_MAX_PICTURES].tolist()
        ]
        return Pictures(len(images), shown)

    return render_page(
        Path(__file__).parent,
        charts=charts,
        num_images=len(paths),
        first=first,
        classes=classes,
        judged=[
            {
                "name": each.configuration.name,
                "num_seeds": len(each.configuration.results),
                "word": each.word,
                "text": describe(each).partition(": ")[2],
                "classes": {
                    label: change
                    for label, change in each.comparison.classes.items()
                    if change.first != change.other
                },
                "fixed": show(each.comparison.fixed),
                "broken": show(each.comparison.broken),
                "parameters": list_changed_parameters(first, each.configuration),
            }
            for each in judged
        ],
        scales=[_lay_out(name, judged) for name in METRICS] if judged else [],
        curves=_draw_curves([first, *(each.configuration for each in judged)]),
        about_judged=say_judged(findings),
        joined=[
            {
                "name": each.configuration.name,
                "text": each.text,
                "metrics": {TITLES[name]: each.write(name) for name in TITLES},
                "scores": each.scores,
                "classes": each.per_class,
                "confusion": each.pooled.confusion.tolist(),
                "mistakes": show(wrong, each.pooled.predicted),
                "suspected": show(errors.images, each.pooled.predicted),
                "about_suspected": describe_label_errors(errors),
            }
            for each, wrong, errors in zip(findings.joined, mistakes, suspected, strict=True)
        ],
        titles=TITLES.values(),
    )


def _lay_out(name: str, judged: Sequence[Judged]) -> Scale:
    differences = [each.comparison.find(name) for each in judged]
    ends = [0.0]
    for difference in differences:
        ends += [difference.value, *(difference.interval or ())]
    low, high = min(ends), max(ends)
    middle, reach = (low + high) / 2, max((high - low) / 2, 1e-9) * _ROOM

    def place(value: float) -> float:
        return round(50 + 50 * (value - middle) / reach, 2)

    bars = []
    for each, difference in zip(judged, differences, strict=True):
        interval, word = difference.interval, "cannot tell"
        if interval is not None and not interval.low <= 0 <= interval.high:
            is_better = (difference.value > 0) != (name in LOWER_IS_BETTER)
            word = "better" if is_better else "worse"
        bars.append(
            Bar(
                each.configuration.name,
                write_points(difference),
                at=place(difference.value),
                low=place(interval.low) if interval else None,
                high=place(interval.high) if interval else None,
                word=word,
            )
        )
    note = "lower is better" if name in LOWER_IS_BETTER else "higher is better"
    return Scale(TITLES[name], note, write_value(name, differences[0].first), place(0.0), bars)


def _draw_curves(configurations: Sequence[Configuration]) -> list[LineChart]:
    """Return validation loss and accuracy over the epochs, a line for each run, of six at most."""
    runs = [result for each in configurations for result in each.results if result.history][: len(_LINES)]
    if not runs:
        return []
    longest = max(len(run.history) for run in runs)
    epochs = list(range(1, longest + 1))[:: -(-longest // _MAX_EPOCHS)]

    def chart(title: str, *, key: str, percent: bool) -> LineChart:
        series = [
            EpochSeries(
                wording.brief(run.revision),
                style,
                [getattr(run.history[epoch - 1].val, key) for epoch in epochs if epoch <= len(run.history)],
            )
            for run, style in zip(runs, _LINES, strict=False)
        ]
        return build_epoch_chart(
            series,
            key=key,
            title=title,
            description=", ".join(f"{each.name}: {each.values[-1]:.4g} at the end" for each in series) + ".",
            meaning="On the validation split, after each epoch.",
            epochs=epochs,
            marked_epoch=None,
            percent=percent,
        )

    return [chart("Loss", key="loss", percent=False), chart("Accuracy", key="accuracy", percent=True)]


def _draw(keys: Sequence[ImageKey]) -> dict[str, Thumbnail]:
    """Return pictures by SHA-256, of those images whose pixels are in data/images now."""
    try:
        ingested, table = read_ingested(IMAGES)
        images = PackedImages(IMAGES, ingested.shards)
    except (InputError, OSError, ValueError):
        return {}
    wanted = {sha256 for sha256, _ in keys}
    rows = {
        sha256: row
        for row in np.flatnonzero(table.row >= 0).tolist()
        if (sha256 := table.sha256[row].tobytes().hex()) in wanted
    }
    thumbnails = draw_thumbnails(sorted(rows.values()), table, images)
    return {sha256: thumbnails[row] for sha256, row in rows.items()}
