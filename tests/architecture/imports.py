"""What imports what, read from the source without running it."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
STAGES = ("prepare_dataset", "train", "evaluate")

# Reading and checking the whole params.yaml needs the schemas of every stage. It can refuse a file, and reads
# what DVC reads, so it never changes what a stage computes: no stage depends on the code behind these doors.
DOORS = ("schemas/params.py", "stages/params")


def find_modules(folder: str) -> list[Path]:
    """Return every Python file below a folder of the project."""
    return sorted((ROOT / folder).rglob("*.py"))


@cache
def read_tree(path: Path) -> ast.Module:
    """Return a file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported_names(path: Path) -> Iterator[str]:
    """Yield the dotted name of everything a file imports, wherever in the file it does."""
    for node in ast.walk(read_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def find_file(name: str) -> Path | None:
    """Return the project's file behind a dotted name, or None for another library's or a name in a module."""
    path = ROOT.joinpath(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def walk_imports(start: Path) -> set[Path]:
    """Return every file of the project that a file imports, directly or through others, itself among them."""
    found: set[Path] = set()
    waiting = [start]
    while waiting:
        path = waiting.pop()
        if path in found or any(path.is_relative_to(ROOT / door) for door in DOORS):
            continue
        found.add(path)
        waiting += [file for name in imported_names(path) if (file := find_file(name))]
    return found


def folder_of(path: Path) -> str:
    """Return the folder of a file as dvc.yaml names it: two levels deep, such as `stages/train`."""
    return "/".join(path.relative_to(ROOT).parts[:2])
