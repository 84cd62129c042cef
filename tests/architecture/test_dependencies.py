"""What is imported is declared, in pyproject.toml, and what is installed is checked against a hash."""

import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest

from tests.architecture.imports import ROOT, find_modules, imported_names

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
OURS = {"benchmarks", "data", "schemas", "stages", "tests", "tools"}
OF_LATER_PYTHON = {"compression"}
"""In the standard library from 3.14 on."""

NOT_LOCKED = {"ray"}
"""Extras that no test in `make test` needs: Ray is 80 MB, for few."""


def normalize(name: str) -> str:
    """Return a distribution's name in the form that all its spellings share."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(*groups: str) -> set[str]:
    """Return the distributions that the project and some dependency groups name."""
    project = PYPROJECT["project"]
    lists = [
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *(PYPROJECT["dependency-groups"][group] for group in groups),
    ]
    return {normalize(re.split(r"[^\w.-]", line)[0]) for lines in lists for line in lines}


@pytest.mark.parametrize(
    ("folders", "groups"),
    [(("schemas", "stages", "tools"), ()), (("tests", "benchmarks", "data"), ("dev", "bench"))],
    ids=["code", "tests"],
)
def test_what_is_imported_is_declared(folders: tuple[str, ...], groups: tuple[str, ...]) -> None:
    """What merely comes with another package may be gone with that package's next version."""
    names = {
        name.split(".")[0]
        for folder in folders
        for path in find_modules(folder)
        for name in imported_names(path)
    } - {*sys.stdlib_module_names, *OURS, *OF_LATER_PYTHON}
    installed = packages_distributions()
    allowed = declared(*groups)
    undeclared = {
        name for name in names if not {normalize(found) for found in installed.get(name, [name])} & allowed
    }
    assert undeclared == set()


@pytest.mark.parametrize("lock", ["requirements.lock", "benchmarks/requirements.lock"])
def test_every_line_of_a_lock_has_a_hash(lock: str) -> None:
    """And the lock names all that pyproject.toml does."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([\w.-]+)==(.*(?:\n    --hash=sha256:[0-9a-f]{64}.*)+)", text, re.MULTILINE))
    assert len(pinned) == len(re.findall(r"^[\w.-]+==", text, re.MULTILINE))
    wanted = declared("dev") - NOT_LOCKED if lock == "requirements.lock" else declared("bench") - declared()
    assert wanted <= {normalize(name) for name in pinned}


def test_make_installs_only_what_has_a_hash() -> None:
    """`pip install` without --require-hashes takes whatever the index sends."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", "")
    installs = [line for line in makefile.splitlines() if "pip install" in line]
    assert len(installs) == 4
    assert all("--require-hashes" in line for line in installs)
