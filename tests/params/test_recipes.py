"""The recipes are parameter files as good as params.yaml."""

from difflib import ndiff
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

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


@pytest.mark.parametrize("path", [ROOT / "params.yaml", *RECIPES], ids=lambda path: path.stem)
def test_dvc_changes_one_line(path: Path, tmp_path: Path) -> None:
    """`dvc exp run -S` of one parameter leaves every other line and comment as it is."""
    copy = tmp_path / "params.yaml"
    copy.write_bytes(path.read_bytes())
    apply_overrides(str(copy), ["optimizer.lr=0.123"])
    before, after = (file.read_text(encoding="utf-8").splitlines() for file in (path, copy))
    changed = [line for line in ndiff(before, after) if line[0] in "+-"]
    assert changed[1:] == ["+   lr: 0.123"], (
        f"{path.name} is not laid out as DVC writes it; re-create it with: "
        f"from dvc.utils.hydra import apply_overrides; apply_overrides('{path}', ['training.seed=0'])"
    )
