"""The page of a search: who won, what the trials did, and which settings mattered."""

import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from stages.pages.page import render_page
from stages.pages.wording import plural
from stages.shared.files import write_text
from tools.tune.axes import (
    build_setting_axis,
    build_value_axis,
    find_sign,
    write_setting,
    write_value,
)
from tools.tune.importance import MIN_TRIALS, NUM_SHUFFLES, Importance, measure_importance
from tools.tune.plots import (
    FRAME,
    draw_curves,
    draw_history,
    draw_parallel,
    draw_slice,
    lay_out_axes,
    name_metric,
)
from tools.tune.space import write_overrides
from tools.tune.trials import Search, Trial

MAX_DRAWN = 500
"""Trials in charts and table, the best of them; trials.csv has all."""


@dataclass(frozen=True)
class Repeated:
    """Settings on fresh seeds, which nothing was chosen by."""

    trial: int | None
    """None for the committed parameters."""

    value: float | None
    """In the search."""

    mean: float
    by_seed: Mapping[int, float]


def write_page(path: Path, search: Search) -> None:
    """Write the page as one HTML file; equal searches give equal bytes."""
    write_text(path, render_search(search))


def render_search(search: Search) -> str:
    """Return the page as one HTML document, to be stored as UTF-8."""
    best, ranked = search.winner, rank_trials(search)
    winner = next((trial for trial in ranked if trial.number == best), None)
    axes = {
        key: build_setting_axis(distribution, [trial.settings[key] for trial in search.trials])
        for key, distribution in search.space.items()
    }
    importance = measure_importance(search, axes)
    if importance:
        axes = {key: axes[key] for key in importance.shares}
    value_axis = build_value_axis(search)
    shown = ranked[:MAX_DRAWN]
    failed = [trial for trial in search.trials if trial.state == "failed"]
    return render_page(
        Path(__file__).parent,
        frame=FRAME,
        search=search,
        metric=name_metric(search.metric),
        about=describe_trials(search),
        verdict=describe_verdict(search),
        winner=winner,
        committed=search.committed[0].settings if search.committed else {},
        repeated=list_repeated(search),
        seeds=sorted({trial.seed for trial in search.trials if trial.confirms is not None}),
        options=[f"-S {shlex.quote(each)}" for each in write_overrides(winner.settings)] if winner else [],
        history=draw_history(search, shown, value_axis, best) if ranked else None,
        curves=draw_curves(search, shown, value_axis, best) if any(trial.curve for trial in shown) else None,
        importance=importance,
        about_importance=describe_importance(search, importance),
        parallel_axes=lay_out_axes(search, axes, value_axis),
        parallel=draw_parallel(search, shown, axes, value_axis, best),
        slices=[draw_slice(search, shown, key, axis, value_axis, best) for key, axis in axes.items()]
        if shown
        else [],
        rows=[*shown, *failed[:MAX_DRAWN]],
        ranks={trial.number: rank for rank, trial in enumerate(ranked, start=1)},
        axes=axes,
        num_all=len(ranked),
        num_beyond=sum(not value_axis.holds(trial.value or 0.0) for trial in shown),
        reasons=Counter(trial.reason for trial in failed).most_common(10),
        write_value=lambda value: write_value(search.metric, value),
        write_setting=write_setting,
        states={trial.state for trial in search.trials},
        opacity=f"{max(0.12, min(0.7, 15 / max(1, len(shown)))):.2f}",
        is_lower_better=search.direction == "minimize",
    )


def rank_trials(search: Search) -> list[Trial]:
    """Return the trials that have settings of their own and a value: finished ones first, the best first."""
    sign = find_sign(search)
    with_value = [trial for trial in search.trials if trial.confirms is None and trial.value is not None]
    return sorted(
        with_value, key=lambda trial: (trial.state != "finished", sign * (trial.value or 0.0), trial.number)
    )


def list_repeated(search: Search) -> list[Repeated]:
    """Return what was run again on fresh seeds, the best mean first."""
    numbers = {trial.number: trial.value for trial in search.trials if trial.confirms is None}
    by_seed: dict[int, dict[int, float]] = {}
    for trial in (*search.trials, *search.committed):
        if trial.confirms is not None and trial.value is not None:
            by_seed.setdefault(trial.confirms, {})[trial.seed] = trial.value
    repeated = [
        Repeated(
            number if number in numbers else None,
            numbers.get(number, search.baseline),
            mean(values.values()),
            values,
        )
        for number, values in by_seed.items()
    ]
    return sorted(repeated, key=lambda each: find_sign(search) * each.mean)


def describe_verdict(search: Search) -> str:
    """Say which trial is the best, and what its confirmation said; or why there is none."""
    if search.winner is not None:
        return f"Trial {search.winner}: {search.verdict}."
    ends = Counter(trial.state for trial in search.trials)
    if ends["failed"] and len(ends) == 1:
        first = next(trial.reason for trial in search.trials)
        return f"{plural(ends['failed'], 'trial')} failed, none finished. The first: {first}"
    return f"No trial finished: {ends['pruned']:,} were pruned and {ends['failed']:,} failed."


def describe_trials(search: Search) -> str:
    """Say how many trials there are, and how they ended."""
    first = [trial for trial in search.trials if trial.confirms is None]
    states = Counter(trial.state for trial in first)
    ends = ", ".join(f"{number:,} {state}" for state, number in sorted(states.items()))
    wanted = "lower" if search.direction == "minimize" else "higher"
    repeats = len(search.trials) - len(first)
    text = f"{plural(len(first), 'trial')} ({ends})" if first else "No trials"
    if repeats:
        text += f", {plural(repeats, 'repeat')} on fresh seeds"
    return f"{text}. Judged by {name_metric(search.metric)}, {wanted} is better; no test image was used."


def describe_importance(search: Search, importance: Importance | None) -> str:
    """Say how importance was measured, and whether the trials are enough to tell."""
    if len(search.space) < 2:
        return "There is one setting: nothing to rank."
    if importance is None:
        return f"Too few trials to tell: it takes {MIN_TRIALS} with different values, and more to be sure."
    verdict = "A blue bar is longer than all of those, the grey ones may be chance."
    if not importance.told:
        verdict = "No bar is longer than all of those: these trials cannot tell which setting matters."
    return (
        f"PED-ANOVA (arXiv:2304.10255, by Optuna) over {plural(importance.num_trials, 'trial')}: how far the "
        "best quarter differs from all in each setting. Shares sum to 100 % even where nothing matters, so "
        f"values were shuffled {NUM_SHUFFLES} times to see what chance gives. {verdict}"
    )
