"""README.md and docs/architecture.md say what is so."""

import re

import pytest

from schemas.params import Params
from tests.architecture.imports import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


def named_paths(text: str) -> set[str]:
    """Return the files and folders of code that a page names in code type."""
    return {
        name
        for name in re.findall(r"`([\w./-]+)`", text)
        if name.startswith(("schemas/", "stages/", "tests/", "benchmarks/", "docs/"))
    }


@pytest.mark.parametrize("path", sorted(named_paths(README + ARCHITECTURE)))
def test_named_files_exist(path: str) -> None:
    """What a page points to is there; files a reader is told to make are marked by their example name."""
    if "mlp" in path or "vignette" in path:
        pytest.skip("one of the README's examples of a file to add")
    assert (ROOT / path).exists()


@pytest.mark.parametrize("section", Params.model_fields)
def test_readme_leads_from_every_section_to_its_code(section: str) -> None:
    """The table has a row for every section of params.yaml."""
    assert re.search(rf"^\| `{section}` \|.*schemas/.*stages/", README, re.MULTILINE)
