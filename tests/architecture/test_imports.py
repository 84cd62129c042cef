"""The rules of docs/architecture.md about what may import what."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.architecture.imports import (
    ROOT,
    STAGES,
    find_modules,
    folder_of,
    imported_names,
    walk_imports,
)

STAGE_OF_FOLDER = {"prepare_dataset": "prepare-dataset", "train": "train", "evaluate": "evaluate"}
DVC_STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


@pytest.mark.parametrize("path", find_modules("schemas"), ids=lambda path: str(path.relative_to(ROOT)))
def test_schemas_import_only_pydantic_and_the_standard_library(path: Path) -> None:
    """Checking a file needs no heavy library; only the command `python -m schemas` reads YAML."""
    if path == ROOT / "schemas" / "__main__.py":
        pytest.skip("the command, which reads params.yaml as the stages do")
    allowed = {*sys.stdlib_module_names, "pydantic", "pydantic_core", "schemas"}
    assert {name.split(".")[0] for name in imported_names(path)} <= allowed


@pytest.mark.parametrize("path", find_modules("stages"), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_stage_never_imports_another_stage(path: Path) -> None:
    """What two stages need lives in shared (all) or vision (train and later)."""
    own = path.relative_to(ROOT / "stages").parts[0]
    may_see = {
        "shared": {"shared"},
        "params": {"params", "shared"},
        "images": {"images", "shared"},
        "vision": {"shared", "vision"},
        "doctor": {"doctor", "params", "shared", "verify"},  # two commands, no stages
    }.get(own, {"params", "shared", "images", "vision", own})
    seen = {
        name.split(".")[1]
        for name in imported_names(path)
        if name.startswith("stages.") and (ROOT / "stages" / name.split(".")[1]).is_dir()
    }
    assert seen <= may_see


@pytest.mark.parametrize("stage", STAGES)
def test_code_dependencies_are_what_is_imported(stage: str) -> None:
    """dvc.yaml names exactly the folders the stage's code comes from."""
    imported = {folder_of(path) for path in walk_imports(ROOT / "stages" / stage / "__main__.py")}
    imported -= {"stages/__init__.py", "schemas/__init__.py"}
    declared = {
        dependency
        for dependency in DVC_STAGES[STAGE_OF_FOLDER[stage]]["deps"]
        if dependency.startswith(("schemas", "stages"))
    }
    assert declared == imported


def test_evaluate_depends_on_no_code_of_training() -> None:
    """Editing training code cannot change a test report but through the checkpoint, and the reverse."""
    assert not {"stages/train", "schemas/train"} & set(DVC_STAGES["evaluate"]["deps"])
    assert not {"stages/evaluate", "schemas/evaluate"} & set(DVC_STAGES["train"]["deps"])


@pytest.mark.parametrize(
    ("stage", "forbidden"),
    [
        ("prepare_dataset", {"torch", "torchvision", "dvclive", "sklearn"}),
        ("train", {"torchvision", "sklearn"}),
        ("evaluate", {"torchvision", "sklearn", "dvclive"}),
        ("predict", {"torchvision", "sklearn", "dvclive", "jinja2", "yaml"}),
    ],
)
def test_a_stage_starts_without_heavy_libraries(stage: str, forbidden: set[str]) -> None:
    """Importing torch takes seconds, torchvision as long again: a stage loads what it needs and no more."""
    program = f"import sys, stages.{stage}.__main__; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    assert not forbidden & set(loaded)


@pytest.mark.parametrize(
    "command", ["stages.predict", "stages.show", "stages.verify", "stages.doctor", "tools.lr_range_test"]
)
def test_a_command_answers_for_its_arguments_before_it_imports_torch(command: str) -> None:
    """`--help` and a wrong argument take no seconds."""
    program = (
        f"import runpy, sys; sys.argv[1:] = ['--help']\n"
        f"try: runpy.run_module('{command}', run_name='__main__')\n"
        f"except SystemExit: print(*sys.modules)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert "usage: " in printed
    assert not {"torch", "rich", "dvclive"} & set(printed.splitlines()[-1].split())
