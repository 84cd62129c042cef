"""How large and how deep the code is: files, lines, functions, comments, main paths.

python -m benchmarks.house                 this tree
python -m benchmarks.house --at DIR ...    other trees beside it, such as a checkout of an older commit
python -m benchmarks.house --collect       also ask pytest how many tests it collects (half a minute a tree)

How it counts:

- Code is every Python file of schemas/, stages/ and tools/; test code is what is in tests/.
- A code line is not blank, not only a comment and not part of a docstring.
- A comment is a line that is or ends in one; `noqa` and `type: ignore` do not count. Its share is of code and
  comments together.
- The median file and the longest function are measured in all their lines.
- The main path of a stage is every module of ours that its __main__.py reaches by imports, with schemas and
  with imports inside functions. An __init__.py counts if it holds code, but is not followed: it imports the
  variants that a package lists (transforms, losses), of which a reader opens one. The number in brackets
  follows those too. Modules that are imported by a name built at run time are not seen.
"""

import argparse
import ast
import io
import statistics
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
CODE_FOLDERS = ("schemas", "stages", "tools")
STAGES = ("ingest", "prepare_dataset", "train", "evaluate", "export")

_DIRECTIVES = ("# noqa", "# type:", "# pragma", "#!")


@dataclass(frozen=True)
class House:
    """What is counted of a tree."""

    num_files: int
    num_code_lines: int
    num_test_files: int
    num_test_lines: int
    num_test_functions: int
    median_lines: int

    longest_function: tuple[int, str]
    """Its lines, and its place."""

    comment_fraction: float
    main_paths: dict[str, tuple[int, int]]
    """Modules that each stage's main path reaches: without and with the variants that packages list."""


def measure_house(root: Path) -> House:
    """Count a tree.

    Raises:
        ValueError: The folder holds no code of darkroom.
    """
    files = [path for folder in CODE_FOLDERS for path in find_modules(root / folder)]
    tests = find_modules(root / "tests")
    if not files:
        raise ValueError(f"{root}: has none of the folders {', '.join(CODE_FOLDERS)}")
    lines = {path: count_lines(path) for path in files}
    num_code_lines = sum(code for code, _ in lines.values())
    num_comments = sum(comments for _, comments in lines.values())
    return House(
        num_files=len(files),
        num_code_lines=num_code_lines,
        num_test_files=len(tests),
        num_test_lines=sum(count_lines(path)[0] for path in tests),
        num_test_functions=sum(node.name.startswith("test_") for path in tests for node in _functions(path)),
        median_lines=round(statistics.median(len(path.read_text("utf-8").splitlines()) for path in files)),
        longest_function=max(
            (node.end_lineno - node.lineno + 1, f"{path.relative_to(root)}:{node.lineno} {node.name}")
            for path in files
            for node in _functions(path)
            if node.end_lineno is not None
        ),
        comment_fraction=num_comments / (num_code_lines + num_comments),
        main_paths={
            stage: (
                len(find_main_path(stage, root=root)),
                len(find_main_path(stage, root=root, with_variants=True)),
            )
            for stage in STAGES
            if (root / "stages" / stage / "__main__.py").exists()
        },
    )


def find_main_path(stage: str, *, root: Path = ROOT, with_variants: bool = False) -> set[Path]:
    """Return the modules with code that a stage's __main__.py reaches by imports, itself among them."""
    start = root / "stages" / stage / "__main__.py"
    return {path for path in walk_imports(start, root=root, follow_packages=with_variants) if has_code(path)}


def walk_imports(
    start: Path, *, root: Path = ROOT, follow_packages: bool = True, doors: tuple[Path, ...] = ()
) -> set[Path]:
    """Return every file of a tree that a file imports, directly or through others, itself among them.

    Args:
        start: Where to begin.
        root: The top of the tree.
        follow_packages: Whether to go on to what an __init__.py imports.
        doors: Files and folders not to enter.
    """
    found: set[Path] = set()
    waiting = [start]
    while waiting:
        path = waiting.pop()
        if path in found or any(path.is_relative_to(door) for door in doors):
            continue
        found.add(path)
        if path.name == "__init__.py" and not follow_packages:
            continue
        waiting += [file for name in imported_names(path) if (file := find_file(name, root=root))]
    return found


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


def find_file(name: str, *, root: Path = ROOT) -> Path | None:
    """Return the tree's file behind a dotted name, or None for another library's or a name in a module."""
    path = root.joinpath(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def find_modules(folder: Path) -> list[Path]:
    """Return every Python file at or below a folder."""
    return sorted(folder.rglob("*.py"))


@cache
def read_tree(path: Path) -> ast.Module:
    """Return a file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def has_code(path: Path) -> bool:
    """Return whether a file holds more than a docstring; only an __init__.py may not."""
    body = read_tree(path).body
    return path.name != "__init__.py" or any(not isinstance(node, ast.Expr) for node in body)


def count_lines(path: Path) -> tuple[int, int]:
    """Return the numbers of a file's code lines and comments."""
    text = path.read_text(encoding="utf-8")
    no_code = _docstring_lines(path)
    num_comments = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            num_comments += not token.string.startswith(_DIRECTIVES)
            if token.line.lstrip().startswith("#"):
                no_code.add(token.start[0])
    lines = enumerate(text.splitlines(), 1)
    return sum(bool(line.strip()) and number not in no_code for number, line in lines), num_comments


def count_tests(root: Path) -> int:
    """Return how many tests pytest collects in a tree, each set of parameters as one."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    return sum("::" in line for line in done.stdout.splitlines())


def describe(house: House, *, num_tests: int | None = None) -> list[tuple[str, str]]:
    """Return what was counted as rows of a table."""
    length, place = house.longest_function
    collected = [("tests collected", f"{num_tests:,}")] if num_tests is not None else []
    return [
        ("files", f"{house.num_files:,}"),
        ("code lines", f"{house.num_code_lines:,}"),
        ("median file, lines", f"{house.median_lines}"),
        ("longest function, lines", f"{length} ({place})"),
        ("comments", f"{house.comment_fraction:.1%}"),
        ("test files", f"{house.num_test_files:,}"),
        ("test lines", f"{house.num_test_lines:,}"),
        ("test functions", f"{house.num_test_functions:,}"),
        *collected,
        *(
            (f"main path of {stage}, modules", f"{num} ({num_all})")
            for stage, (num, num_all) in house.main_paths.items()
        ),
    ]


def _docstring_lines(path: Path) -> set[int]:
    """Return the numbers of the lines that are docstrings, also those below a field."""
    texts = [
        node
        for node in ast.walk(read_tree(path))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]
    return {line for text in texts for line in range(text.lineno, (text.end_lineno or text.lineno) + 1)}


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(read_tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def main() -> None:
    """Print a table for each tree."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.house", description=__doc__.split("\n")[0])
    parser.add_argument("--at", type=Path, action="append", default=[], help="another tree to count too")
    parser.add_argument("--collect", action="store_true", help="also count the tests that pytest collects")
    arguments = parser.parse_args()
    for root in (ROOT, *arguments.at):
        try:
            house = measure_house(root)
        except ValueError as error:
            parser.error(str(error))
        print(root if root != ROOT else "this tree")
        for name, value in describe(house, num_tests=count_tests(root) if arguments.collect else None):
            print(f"  {name:40} {value}")


if __name__ == "__main__":
    main()
