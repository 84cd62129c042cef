"""The page of a search: right numbers, whatever the trials are; and what it says of winner and importance."""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dvc.utils.hydra import apply_overrides
from pydantic import JsonValue
from ruamel.yaml import YAML

from tests.evaluate.chromium import Chromium
from tests.tools.searches import HOSTILE, SPACE, make_search, read_space
from tools.tune.axes import build_setting_axis, build_value_axis
from tools.tune.importance import measure_importance
from tools.tune.trials import Search, Trial
from tools.tune.tuning_page import MAX_DRAWN, render_search, write_page
from tools.tune.winner import describe_winner, list_candidates, write_command, write_override

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


def test_the_winner_is_chosen_on_fresh_seeds() -> None:
    """The trial with the best value of its own loses against one that repeats better."""
    found = make_search(3, space=LR, states=("finished",), num_seeds=0, baseline=0.2)
    lucky, steady, third = (
        replace(trial, value=value) for trial, value in zip(found.trials, (0.1, 0.15, 0.3), strict=True)
    )
    repeats = [
        Trial(3 + place, None, {}, 7, "finished", value, (), confirms=number)
        for place, (number, value) in enumerate([(0, 0.25), (0, 0.15), (1, 0.16), (1, 0.18)])
    ]
    search = replace(found, trials=(lucky, steady, third, *repeats))
    assert [each.trial.number for each in list_candidates(search)] == [1, 0]
    assert describe_winner(search) == (
        "Trial 1 has a validation loss of 0.1700 on 2 fresh seeds (0.1600 to 0.1800); in the search it had "
        "0.1500. Every seed is better than the parameters in params.yaml (0.2000)."
    )
    for baseline, words in ((0.175, "1 of 2 seeds are better"), (0.1, "no better than the parameters")):
        assert words in describe_winner(replace(search, baseline=baseline))
    unconfirmed = replace(search, trials=(lucky, steady, third), direction="maximize")
    assert list_candidates(unconfirmed)[0].trial == third
    assert "partly the luckiest" in describe_winner(unconfirmed)
    assert describe_winner(SEARCHES["failed"]) == f"All 4 trials failed. The first: {HOSTILE}"
    assert describe_winner(SEARCHES["pruned"]).startswith("No trial finished: 4 were pruned and 0 failed")


SETTINGS: Mapping[str, JsonValue] = {
    "a": None,
    "b": False,
    "c": 1e-05,
    "d": [16, [None, "x, y"]],
    "e": "don't \\ $HOME",
    "f": "null",
    "g": "1e3",
    "h": "adamw",
    "i": {"mean": "dataset", "std": 0.5},
    "j": "",
}


def test_the_command_gives_dvc_the_same_values(tmp_path: Path) -> None:
    """Each setting arrives in params.yaml with its value and type."""
    params = tmp_path / "params.yaml"
    params.write_text("".join(f"{key}: 0\n" for key in SETTINGS))
    apply_overrides(params, [write_override(key, value) for key, value in SETTINGS.items()])
    assert json.dumps(YAML(typ="safe").load(params)) == json.dumps(SETTINGS)
    assert write_command({"a": [1, 2], "b": None}) == "dvc exp run -S 'a=[1,2]' -S b=null"


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
