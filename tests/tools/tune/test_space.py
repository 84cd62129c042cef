"""The values of `tune.space`: what is refused, and how a setting is written for DVC."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import apply_overrides
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from schemas.__main__ import format_yaml
from schemas.tune.tune import Distribution, LogRange
from stages.params.document import read_document
from stages.shared.errors import InputError
from tests.params.wrong_params import ROOT, good_params
from tools.tune.space import combine, count_settings, find_value, read_space, round_to, write_overrides

LR = {"log": [0.001, 0.1]}


def refuse(tmp_path: Path, space: Any, **tune: Any) -> list[str]:
    """Return the lines by which a space is refused, without the file's name."""
    data = good_params()
    data["tune"] |= {**tune, "space": space}
    path = tmp_path / "params.yaml"
    path.write_text(format_yaml(data), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_space(str(path))
    lines = str(caught.value).splitlines()
    for line in lines:
        number, _, key = re.match(r".*params\.yaml:(\d+): (tune\.space\.?)?(.*?): ", line).groups()  # type: ignore[union-attr]
        assert key.strip(": ") in path.read_text().splitlines()[int(number) - 1], line
    return [line.partition("tune.space")[2].removeprefix(".") for line in lines]


def test_the_committed_space_is_good() -> None:
    """It is in params.yaml and all recipes."""
    for path in (ROOT / "params.yaml", *(ROOT / "recipes").glob("*.yaml")):
        assert read_space(str(path))[0].tune.space


@pytest.mark.parametrize(
    ("key", "values", "expected"),
    [
        ("optimizer.lrr", LR, "unknown key; did you mean optimizer.lr?"),
        ("optimzer.lr", LR, "unknown key; did you mean optimizer.lr?"),
        ("transforms.9.RandomCrop.padding", [1, 2], "did you mean transforms.0.RandomCrop.padding?"),
        ("optimizer", [1, 2], "is a section; allowed: one of its keys, such as optimizer.name"),
        ("optimizer.lr", {"log": [0.001, 2000]}, "found 2000.0; allowed: a number above 0 and at most 1000"),
        ("optimizer.name", ["sgd", "sdg"], 'found "sdg"; allowed: .*; did you mean sgd?'),
        ("training.num_epochs", {"uniform": [1, 9]}, "found 1.0; allowed: a whole number .*; write 1"),
        ("network.name", ["cnn", "timm"], "found"),
        ("split.seed", [0, 1], "cannot be searched: other images would validate each trial"),
        ("training.limit_images", [10, 20], "cannot be searched: other images would validate each trial"),
        ("training.seed", [0, 1], "cannot be searched: which seed is best says nothing"),
        ("evaluation.top_k", [1, 2], "cannot be searched: train does not read it"),
        ("loss.name", ["focal", "cross_entropy"], "changes what tune.metric: val.loss measures"),
    ],
)
def test_what_cannot_be_searched(key: str, values: Any, expected: str, tmp_path: Path) -> None:
    """Each is refused at its line, before anything runs, with what is allowed."""
    space = {key: values}
    if key == "network.name":  # of which the network of the second value needs larger images
        space = {"network.cnn.channels": [[16], [16] * 7]}
    [line] = refuse(tmp_path, space)
    assert re.search(expected.replace("?", r"\?"), line), line


@pytest.mark.parametrize("values", [[1], [], [1, 1], {"log": [0, 1]}, {"log": [1, 1]}, {"int": [2, 1]}, 3])
def test_a_space_of_one_point(values: Any, tmp_path: Path) -> None:
    """A list or range with less than two values is no search."""
    [line] = refuse(tmp_path, {"loader.batch_size": values})
    assert "allowed: a list of two or more different values, or {log: [low, high]}" in line


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    """And a grid has no ranges of real numbers."""
    lines = refuse(tmp_path, {"optimizer.lr": LR, "optimizer.nam": ["sgd", "adam"]}, sampler="grid")
    assert [line.partition(":")[0] for line in lines] == ["optimizer.lr", "optimizer.nam"]
    assert "tune.sampler: grid" in lines[0]


def parse(space: Any) -> dict[str, Distribution]:
    return TypeAdapter(dict[str, Distribution]).validate_python(space)


def test_settings_are_counted_and_combined() -> None:
    """A space of lists and whole numbers is finite."""
    space = parse({"a": [1, None], "b": {"int": [3, 5]}})
    combined = list(combine(space))
    assert count_settings(space) == len(combined) == 6
    assert combined[1] == {"a": 1, "b": 4}
    assert count_settings(parse({"a": [1, 2], "b": LR})) is None


@given(st.floats(1e-8, 1e3), st.floats(1.001, 1e3), st.floats(0, 1))
def test_numbers_are_short_and_stay_in_their_range(low: float, factor: float, place: float) -> None:
    """They have at most four digits, but for the ends of a range."""
    distribution = LogRange(log=(low, low * factor))
    value = round_to(distribution, min(low * factor**place, low * factor))
    assert low <= value <= low * factor
    assert value in (low, low * factor) or value == float(f"{value:.4g}")


TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"], include_characters=" "), max_size=20
)
SCALARS = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(-1e9, 1e9) | TEXT
VALUES = SCALARS | st.lists(SCALARS, max_size=4)


@pytest.fixture(scope="module")
def params_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("overrides") / "params.yaml"
    path.write_text("a:\n  b: 1\n", encoding="utf-8")
    return path


@settings(max_examples=40, deadline=None)
@given(VALUES)
def test_dvc_reads_what_is_written(params_file: Path, value: Any) -> None:
    """`-S` sets exactly the value that was meant, whatever characters it has."""
    apply_overrides(params_file, write_overrides({"a.b": value}))
    found = find_value(read_document(params_file), "a.b")
    assert json.dumps(found) == json.dumps(value)
