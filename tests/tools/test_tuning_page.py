"""The page of a search: right numbers, whatever the trials are; and what it says of winner and importance."""

import html
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.evaluate.chromium import Chromium
from tests.tools.searches import HOSTILE, SPACE, make_search, read_space
from tools.tune.axes import build_setting_axis, build_value_axis
from tools.tune.importance import measure_importance
from tools.tune.space import write_overrides
from tools.tune.trials import Search, Trial
from tools.tune.tuning_page import (
    MAX_DRAWN,
    describe_verdict,
    list_repeated,
    rank_trials,
    render_search,
    write_page,
)

LR = {"optimizer.lr": {"log": [0.0001, 0.1]}}
MANY = {
    **SPACE,
    HOSTILE: ["<b>", "x" * 90],
    "many.choices": [f"choice {number}" for number in range(30)],
    "narrow": {"log": [0.011, 0.019]},
    "e": {"uniform": [-1.0, 1.0]},
    "f": {"int": [1, 2]},
}
SEARCHES = {
    "plain": make_search(states=("finished", "failed", "pruned")),
    "accuracy": make_search(8, metric="val.accuracy", baseline=0.9, num_seeds=0),
    "one": make_search(1, space=LR, num_seeds=0, baseline=None),
    "constant": make_search(9, constant=True),
    "failed": make_search(4, states=("failed",), reason=HOSTILE),
    "pruned": make_search(4, states=("pruned",)),
    "none": make_search(0),
}


def draw_values(search: Search, rng: np.random.Generator) -> Search:
    """Return the search with values that its settings have nothing to do with."""
    return replace(search, trials=tuple(replace(trial, value=rng.random()) for trial in search.trials))


@pytest.mark.parametrize("kind", SEARCHES)
def test_every_search_has_a_page(kind: str) -> None:
    """No number is broken, no text is taken for markup, and the same search gives the same bytes."""
    search = SEARCHES[kind]
    page = render_search(search)
    assert page == render_search(search)
    assert HOSTILE not in page
    drawn = re.findall(r' (?:points|d|x|y|cx|cy|x1|y1|style|data-value)="([^"]*)"', page)
    assert drawn or not search.trials
    assert not [each for each in drawn if re.search("nan|inf|None", each)]
    num_rows = len(re.findall(r"<tr data-trial", page))
    assert num_rows == sum(trial.confirms is None for trial in search.trials)


def test_a_large_search_is_cut_to_its_best() -> None:
    """Charts and table show the best 500; the page stays small enough to open."""
    search = make_search(MAX_DRAWN + 100, space=LR, states=("finished",), num_seeds=0)
    page = render_search(search)
    assert len(re.findall(r"<tr data-trial", page)) == MAX_DRAWN
    assert "The best 500 of 600." in page
    assert len(page) < 1_000_000


def test_fresh_seeds_stand_side_by_side() -> None:
    """Trials and the committed parameters by their means on fresh seeds, the best first."""
    search = make_search(3, space=LR, states=("finished",), num_seeds=0, baseline=0.2)
    repeats = [
        Trial(3 + place, None, {}, seed, "finished", value, (), confirms=number)
        for place, (number, seed, value) in enumerate(
            [(0, 1, 0.25), (0, 2, 0.15), (1, 1, 0.16), (1, 2, 0.18)]
        )
    ]
    committed = (*search.committed, replace(search.committed[0], seed=1, value=0.19, confirms=-1))
    search = replace(search, trials=(*search.trials, *repeats), committed=committed)
    found = list_repeated(search)
    assert [each.trial for each in found] == [1, None, 0]
    assert [each.mean for each in found] == pytest.approx([0.17, 0.19, 0.2])
    assert found[1].value == 0.2
    assert found[0].by_seed == {1: 0.16, 2: 0.18}
    assert [each.trial for each in list_repeated(replace(search, direction="maximize"))] == [0, None, 1]


def test_what_is_said_at_the_top() -> None:
    """The winner and its verdict, or why there is none."""
    search = SEARCHES["plain"]
    assert describe_verdict(search) == f"Trial {search.winner}: {search.verdict}."
    page = html.unescape(re.sub("<[^>]+>", "", render_search(search)))
    options = " ".join(f"-S {shlex.quote(each)}" for each in write_overrides(rank_trials(search)[0].settings))
    assert f"dvc exp run {options}" in page
    assert describe_verdict(SEARCHES["failed"]) == f"4 trials failed, none finished. The first: {HOSTILE}"
    assert describe_verdict(SEARCHES["pruned"]) == "No trial finished: 4 were pruned and 0 failed."


def test_importance_tells_what_matters_from_chance() -> None:
    """The learning rate, on which values depend, is named; of random values nothing is; few say nothing."""
    search = make_search(40, states=("finished",), num_seeds=0)
    axes = {key: build_setting_axis(distribution, ()) for key, distribution in search.space.items()}
    found = measure_importance(search, axes)
    assert found is not None
    assert found.told == {"optimizer.lr"}
    assert next(iter(found.shares)) == "optimizer.lr"
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found == measure_importance(search, axes)
    by_chance = measure_importance(draw_values(search, np.random.default_rng(1)), axes)
    assert by_chance is not None
    assert by_chance.told == set()
    assert measure_importance(replace(search, trials=search.trials[:9]), axes) is None


def test_axes_place_values() -> None:
    """A logarithmic axis by factors, choices side by side, true apart from 1; ends hold what lies beyond."""
    space = read_space({"log": {"log": [0.001, 10]}, "choice": [True, 1, "1"], "int": {"int": [1, 3]}})
    log = build_setting_axis(space["log"], [])
    assert [log.place(value) for value in (0.001, 0.1, 10)] == pytest.approx([0, 0.5, 1])
    assert [label for _, label in log.ticks] == ["0.001", "0.01", "0.1", "1", "10"]
    choice = build_setting_axis(space["choice"], [1, None])
    assert [choice.place(value) for value in (True, 1, "1", None)] == [0.125, 0.375, 0.625, 0.875]
    assert [label for _, label in build_setting_axis(space["int"], []).ticks] == ["1", "2", "3"]
    values = [0.1, 0.11, 0.12, 0.13, 900.0]
    trials = [
        replace(trial, value=value) for trial, value in zip(make_search(5).trials, values, strict=False)
    ]
    axis = build_value_axis(replace(SEARCHES["plain"], trials=tuple(trials), baseline=0.15))
    assert (axis.low, axis.high) == pytest.approx((0.1, 0.15))
    assert axis.holds(0.15)
    assert not axis.holds(900)
    assert axis.place(900) == 1


def test_opens_in_a_browser(tmp_path: Path) -> None:
    """No error, nothing fetched, no sideways scrolling; slider and pointer mark a trial everywhere."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium here; apt-get install chromium brings it")
    searches = {
        "plain": SEARCHES["plain"],
        "failed": SEARCHES["failed"],
        "many": make_search(60, space=MANY, states=("pruned", "finished")),
    }
    with Chromium(program, profile=tmp_path / "profile") as chromium:
        for kind, search in searches.items():
            write_page(tmp_path / f"{kind}.html", search)
            for width_px, dark in ((1280, False), (390, True)):
                chromium.open(tmp_path / f"{kind}.html", width_px=width_px, dark=dark)
                assert chromium.errors == []
                assert chromium.evaluate("document.documentElement.scrollWidth") <= width_px
                assert chromium.evaluate("document.title").startswith("Tuning: ")
        assert set(chromium.requests) == {(tmp_path / f"{kind}.html").as_uri() for kind in searches}
        chromium.evaluate("document.querySelector('#pick').focus()")
        chromium.press("ArrowRight", code=39)
        second = chromium.evaluate("document.querySelector('#trials tbody tr:nth-child(2)').dataset.trial")
        on = "[...document.querySelectorAll('.on')].map(each => [each.tagName, each.dataset.trial])"
        marked = chromium.evaluate(on)
        assert {number for _, number in marked} == {second}
        assert {tag for tag, _ in marked} == {"TR", "circle", "path", "polyline"}
        assert chromium.evaluate("document.querySelector('output').innerText").startswith(f"Trial {second}: ")
        chromium.evaluate("document.querySelector('#trials tbody th').scrollIntoView({block: 'center'})")
        chromium.click("#trials tbody th")
        first = chromium.evaluate("document.querySelector('#trials tbody tr').dataset.trial")
        assert {number for _, number in chromium.evaluate(on)} == {first}
