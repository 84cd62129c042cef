"""The rules of docs/architecture.md about dvc.yaml and params.yaml."""

import ast
from pathlib import Path

import pytest
import yaml

from schemas.params import OUTPUTS, Params
from tests.architecture.imports import ROOT, STAGES, find_modules, read_tree
from tests.architecture.test_imports import DVC_STAGES, STAGE_OF_FOLDER

NO_STAGE_DEPENDS_ON = {"cluster"}
"""Sections that change no byte of any result, only when it is there: DVC need not know of them.

tests/processes proves it of `cluster`: a run ends in the same bytes on any number of processes.
"""

DVC_YAML = yaml.safe_load((ROOT / "dvc.yaml").read_text())


def sections_used(stage: str) -> set[str]:
    """Return the sections of params.yaml that a stage's code reads: `params.x` and `read_params().x`.

    What a function `check_...` or `validate_...` reads does not count: it can stop a run, never change its
    result.
    """
    nodes = [node for path in find_modules(f"stages/{stage}") for node in ast.walk(read_tree(path))]
    checks = [
        node
        for node in nodes
        if isinstance(node, ast.FunctionDef) and node.name.startswith(("check_", "validate_"))
    ]
    only_checks = {id(node) for check in checks for node in ast.walk(check)}
    return {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute)
        and ast.unparse(node.value) in ("params", "read_params()")
        and id(node) not in only_checks
    }


@pytest.mark.parametrize("stage", STAGES)
def test_declared_parameters_are_those_the_code_reads(stage: str) -> None:
    """A stage runs again when a parameter it reads changes, and not when another one does."""
    assert set(DVC_STAGES[STAGE_OF_FOLDER[stage]]["params"]) == sections_used(stage) - NO_STAGE_DEPENDS_ON


def test_every_section_sets_something_in_motion() -> None:
    """No section of params.yaml is read by nobody."""
    assert set.union(*(sections_used(stage) for stage in STAGES)) == set(Params.model_fields)


def test_sections_stand_in_the_order_of_the_schema() -> None:
    """params.yaml reads in the order in which the stages use it."""
    assert list(yaml.safe_load((ROOT / "params.yaml").read_text())) == list(Params.model_fields)


@pytest.mark.parametrize("stage", DVC_STAGES)
def test_commands_hold_no_parameters(stage: str) -> None:
    """DVC pastes ${} into a shell; parameters reach a stage through params.yaml only."""
    assert "${" not in DVC_STAGES[stage]["cmd"]


@pytest.mark.parametrize("stage", DVC_STAGES)
def test_outputs_keep_the_run_cache_working(stage: str) -> None:
    """`persist` and uncached outs would disable DVC's run cache or publish leftovers of a killed run."""
    for out in DVC_STAGES[stage]["outs"]:
        assert isinstance(out, str), f"{out} has options"
    assert not DVC_STAGES[stage].get("always_changed")


def test_the_schemas_know_the_outputs() -> None:
    """They refuse a source that overlaps one."""
    outs = {
        str(path.parent if path.suffix else path)
        for stage in DVC_STAGES.values()
        for path in map(Path, [*stage["outs"], *stage.get("metrics", [])])
    }
    assert set(OUTPUTS) == outs


def test_compiled_python_is_no_dependency() -> None:
    """Otherwise every clean clone would find every stage changed."""
    assert {"__pycache__", "*.pyc"} <= set((ROOT / ".dvcignore").read_text().split("\n"))


def test_the_model_has_a_name() -> None:
    """`dvc artifacts get` finds the best checkpoint by name."""
    assert DVC_YAML["artifacts"]["classifier"]["path"] == "data/model/best.safetensors"
