"""How large the house may grow: `python -m benchmarks.house` says how it counts."""

import itertools
from pathlib import Path

import pytest

from benchmarks.house import CODE_FOLDERS, describe, find_main_path, has_code, measure_house
from tests.architecture.imports import ROOT, STAGES, find_modules

MAX_MAIN_PATH = {"ingest": 59, "prepare_dataset": 54, "train": 69, "evaluate": 77, "export": 67}
"""Half of what they were. Some 29 of each are the schemas of all sections and what reads and checks them, for
every stage checks the whole of params.yaml. Ingest has eleven that decode images and find their damage.
Evaluate imports pretrained.py and torch_file.py itself, and not only by stages.vision.networks. Six of
export's write the web page."""

MAX_STAGE_LINES = 115
"""Of which about 25 are imports."""

SAME_NAME = {
    "stage": "each stage's table of contents",
    "audit": "the section, what finds, and what reports",
    "counts": "what a stage counts and prints",
    "calibration": "what is fitted, stored, and reported",
    "dataset": "the section, and PyTorch's Dataset of what became of it",
}
"""Names that several modules may have, and what each of them does."""


def test_counting_on_a_small_tree(tmp_path: Path) -> None:
    """Docstrings are no code, and directives no comments; only the second number follows packages."""
    for name, text in {
        "schemas/__init__.py": '"""Empty."""\n',
        "stages/train/__init__.py": "",
        "stages/train/__main__.py": "def main():\n    from stages.train import loop\n",
        "stages/train/loop.py": '"""Loop.\n\nAll.\n"""\n\n# Why.\nimport stages.losses  # noqa: F401\n',
        "stages/losses/__init__.py": "from stages.losses.focal import x\n",
        "stages/losses/focal.py": "x = 1  # a measurement\n",
        "tests/test_loop.py": "def test_it():\n    assert True\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    house = measure_house(tmp_path)
    assert (house.num_files, house.num_code_lines) == (6, 5)
    assert house.comment_fraction == pytest.approx(2 / 7)
    assert house.longest_function == (2, "stages/train/__main__.py:1 main")
    assert (house.num_test_files, house.num_test_lines, house.num_test_functions) == (1, 2, 1)
    assert house.main_paths == {"train": (3, 4)}


def test_the_house_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """Print the table, whatever pytest captures, so that a log of the tests holds it."""
    rows = describe(measure_house(ROOT))
    with capsys.disabled():
        print("", *(f"  {name:40} {value}" for name, value in rows), sep="\n")
    assert dict(rows)["files"] != "0"


@pytest.mark.parametrize("stage", STAGES)
def test_the_main_path_of_a_stage_is_short(stage: str) -> None:
    """One can follow it without opening a hundred files."""
    path = find_main_path(stage)
    assert len(path) <= MAX_MAIN_PATH[stage], sorted(str(file.relative_to(ROOT)) for file in path)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_a_table_of_contents(stage: str) -> None:
    """`stage.py` says what happens in which order and leaves the rest to others."""
    assert len((ROOT / "stages" / stage / "stage.py").read_text().splitlines()) <= MAX_STAGE_LINES


def test_one_name_means_one_job() -> None:
    """Two modules share a name only where a schema and the code behind it stand on the same path."""
    modules = [path.relative_to(ROOT) for folder in CODE_FOLDERS for path in find_modules(folder)]
    modules = [path for path in modules if not path.stem.startswith("__") and has_code(ROOT / path)]
    modules.sort(key=lambda path: path.stem)
    clashes = {}
    for name, group in itertools.groupby(modules, key=lambda path: path.stem):
        paths = list(group)
        if len({Path(*path.parts[1:]) for path in paths}) > 1 and name not in SAME_NAME:
            clashes[name] = [str(path) for path in paths]
    assert clashes == {}
