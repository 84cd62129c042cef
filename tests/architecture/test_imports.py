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

STAGE_OF_FOLDER = {stage: stage.replace("_", "-") for stage in STAGES}
DVC_STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


@pytest.mark.parametrize("path", find_modules("schemas"), ids=lambda path: str(path.relative_to(ROOT)))
def test_schemas_import_only_pydantic_and_the_standard_library(path: Path) -> None:
    """Checking a file needs no heavy library; only the command `python -m schemas` reads YAML."""
    if path == ROOT / "schemas" / "__main__.py":
        pytest.skip("the command, which reads params.yaml as the stages do")
    allowed = {*sys.stdlib_module_names, "pydantic", "pydantic_core", "schemas"}
    assert {name.split(".")[0] for name in imported_names(path)} <= allowed


SHARED = ("shared", "params", "images", "pages", "vision")
"""What lies in stages/ and is no stage: several of them share it."""

REPEATED = {
    "compare": {"evaluate", "prepare_dataset"},
    "lr_range_test": {"train"},
    "predict": {"export"},
    "serve": {"evaluate"},
    "tune": {"evaluate"},
}
"""Tools that show or repeat what a stage does, and whose code of its own they use for it."""


@pytest.mark.parametrize("path", find_modules("stages"), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_stage_never_imports_another_stage(path: Path) -> None:
    """What two stages need lives in shared, images (ingest, predict), pages or vision (train and later)."""
    own = path.relative_to(ROOT / "stages").parts[0]
    may_see = {
        "shared": {"shared"},
        "params": {"params", "shared"},
        "images": {"images", "shared"},
        "pages": {"pages", "shared"},
        "vision": {"shared", "vision"},
    }.get(own, {*SHARED, own})
    assert imported_from_stages(path) <= may_see


@pytest.mark.parametrize("path", find_modules("stages"), ids=lambda path: str(path.relative_to(ROOT)))
def test_stages_never_import_tools(path: Path) -> None:
    """What people run beside the pipeline can change without a stage running again."""
    assert not [name for name in imported_names(path) if name.split(".")[0] == "tools"]


@pytest.mark.parametrize("path", find_modules("tools"), ids=lambda path: str(path.relative_to(ROOT)))
def test_tools_import_what_stages_share(path: Path) -> None:
    """And a stage's own modules only where they show or repeat what that stage does."""
    tool = path.relative_to(ROOT / "tools").parts[0].removesuffix(".py")
    assert imported_from_stages(path) <= {*SHARED, *REPEATED.get(tool, set())}


def imported_from_stages(path: Path) -> set[str]:
    """Return the folders of stages/ that a file imports from."""
    return {
        name.split(".")[1]
        for name in imported_names(path)
        if name.startswith("stages.") and (ROOT / "stages" / name.split(".")[1]).is_dir()
    }


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
    ("module", "forbidden"),
    [
        ("stages.ingest", {"torch", "torchvision", "dvclive", "sklearn"}),
        ("stages.prepare_dataset", {"torch", "torchvision", "dvclive", "sklearn"}),
        ("stages.train", {"torchvision", "sklearn"}),
        ("stages.evaluate", {"torchvision", "sklearn", "dvclive"}),
        ("stages.export", {"torch", "onnx", "onnxruntime", "dvclive", "jinja2"}),
        ("tools.predict", {"torchvision", "sklearn", "dvclive", "jinja2", "yaml", "ruamel"}),
    ],
)
def test_a_command_starts_without_heavy_libraries(module: str, forbidden: set[str]) -> None:
    """Importing torch takes seconds, torchvision as long again: a command loads what it needs and no more."""
    is_package = ROOT.joinpath(*module.split(".")).is_dir()
    program = f"import sys, {module}{'.__main__' * is_package}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    assert not forbidden & set(loaded)


@pytest.mark.parametrize("tool", ["predict", "show", "verify", "doctor", "lr_range_test"])
def test_a_tool_checks_its_arguments_before_it_imports_torch(tool: str) -> None:
    """`--help` and a wrong argument take no seconds."""
    program = (
        f"import runpy, sys; sys.argv[1:] = ['--help']\n"
        f"try: runpy.run_module('tools.{tool}', run_name='__main__')\n"
        f"except SystemExit: print(*sys.modules)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert f"usage: python -m tools.{tool}" in printed
    assert not {"torch", "rich", "dvclive"} & set(printed.splitlines()[-1].split())
