"""The recipes are parameter files as good as params.yaml."""

from pathlib import Path

import pytest

from stages.params.read import read_params
from tests.params.wrong_params import ROOT

RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


def test_there_are_recipes() -> None:
    """The page about training names them."""
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    assert RECIPES
    assert all(f"recipes/{path.name}" in page for path in RECIPES)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_is_a_whole_parameter_file(path: Path) -> None:
    """Copied over params.yaml it is accepted as it is; its first lines name JSON Schema and command."""
    read_params(path)
    first, *others = path.read_text(encoding="utf-8").splitlines()[:4]
    assert first == "# yaml-language-server: $schema=../schemas/params.schema.json"
    assert any(f"cp recipes/{path.name} params.yaml" in line for line in others)
