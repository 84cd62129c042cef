"""What imports what in this tree."""

from pathlib import Path

from benchmarks import house
from benchmarks.house import ROOT, STAGES, find_file, imported_names, read_tree

__all__ = [
    "ROOT",
    "STAGES",
    "find_file",
    "find_modules",
    "folder_of",
    "imported_names",
    "read_tree",
    "walk_imports",
]

# Reading and checking the whole params.yaml needs the schemas of every stage. It can refuse a file, and reads
# what DVC reads, so it never changes what a stage computes: no stage depends on the code behind these doors.
DOORS = (ROOT / "schemas" / "params.py", ROOT / "stages" / "params")


def find_modules(folder: str) -> list[Path]:
    """Return every Python file below a folder of the project."""
    return house.find_modules(ROOT / folder)


def walk_imports(start: Path) -> set[Path]:
    """Return every file that a file reaches by imports without passing a door, itself among them."""
    return house.walk_imports(start, doors=DOORS)


def folder_of(path: Path) -> str:
    """Return the folder of a file as dvc.yaml names it: two levels deep, such as `stages/train`."""
    return "/".join(path.relative_to(ROOT).parts[:2])
