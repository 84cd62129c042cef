"""A parameter file as DVC reads it, with the line of every value and what is wrong with it.

Hides ruamel.yaml, the parser with which DVC reads params.yaml to decide what runs again: a stage computes
with the values that DVC compares, because the same code built them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from stages.shared.errors import InputError, shorten

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys and list places that lead to a value; empty for the file as a whole."""

MAX_BYTES = 64 * 1024  # params.yaml has 6,000; ruamel.yaml takes a second for 64 KiB of brackets and commas
MAX_DEPTH = 32
MAX_VALUES = 25_000  # aliases of aliases can stand for billions
MAX_BITS = 1000  # a float holds no larger number, and Python writes none out that has more than 4,300 digits
MAX_LINES = 50

_ADVICE = {
    "'\\t'": "indent with spaces, not tabs",
    "cannot start any token": "put text that starts like this in quotes",
    "escape": "put text that holds a backslash in single quotes",
    "':'": "a key needs a colon and a space, as in 'lr: 0.1', and a bracket its end",
    "mapping values": "check the indentation here, and the colon and space after the key above",
    "stream": "a quote or bracket is never closed",
    "another document": "keep one document and delete the '---' between them",
    "undefined alias": "write the value out",
    "constructor for the tag": "delete the tag",
    "maximum depth": "write it flatter",
}
"""What to do about a syntax error, by what ruamel.yaml says of it; the first match counts."""


class Problem(NamedTuple):
    """One thing that is wrong, on a line counted from 1."""

    line: int
    path: KeyPath
    message: str


@dataclass
class Document:
    """What a YAML file says, as far as it could be read."""

    data: Any = None
    """Dicts, lists and scalars; None if the file cannot be read to its end."""

    lines: dict[KeyPath, int] = field(default_factory=dict)
    """The line of every key and list item."""

    problems: list[Problem] = field(default_factory=list)

    def line_of(self, path: KeyPath) -> int:
        """Return the line of the key or list item at path, or of the nearest one above it that exists."""
        known = (path[:end] for end in range(len(path), 0, -1) if path[:end] in self.lines)
        return self.lines.get(next(known, ()), 1)

    def rename(self, old: KeyPath, new: KeyPath) -> None:
        """Give a key of a section another name; what is below it keeps its lines."""
        section = self.data
        for key in old[:-1]:
            section = section[key]
        section[new[-1]] = section.pop(old[-1])
        moved = {path: line for path, line in self.lines.items() if path[: len(old)] == old}
        self.lines |= {(*new, *path[len(old) :]): line for path, line in moved.items()}


def read_document(path: str | Path) -> Document:
    """Read a file, and leave it to the caller to raise for what is wrong inside.

    Raises:
        InputError: The file cannot be opened, or cannot be a parameter file.
    """
    name = shorten(str(path), limit=200)
    path = Path(path)
    if not path.is_file():  # opening a pipe that nobody writes to would wait forever
        advice = "run from the folder that holds it, or give its path"
        raise InputError(f"{name}: there is no such file; {advice}")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise InputError(f"{name}: has {size} bytes; allowed: at most {MAX_BYTES}")
    data = path.read_bytes()
    try:
        return parse_yaml(data.decode())
    except UnicodeDecodeError as error:
        message = f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
        return Document(problems=[Problem(1 + data.count(b"\n", 0, error.start), (), message)])


def parse_yaml(text: str) -> Document:
    """Read the text of a file."""
    document = Document()
    yaml = YAML(typ="safe", pure=True)  # as dvc.utils.serialize does; pure: the C parser is an extra
    yaml.Constructor = _Constructor
    yaml.constructor.document = document
    yaml.constructor.allow_duplicate_keys = True  # each is a problem, which need not hide the others
    yaml.max_depth = MAX_DEPTH
    try:
        document.data = yaml.load(text)
    except _Unreadable as error:
        document.problems.append(Problem(*error.args))
    except ReaderError as error:
        message = f"found the character {shorten(chr(error.character))}, which no text file holds; delete it"
        document.problems.append(Problem(1 + text.count("\n", 0, error.position), (), message))
    except MarkedYAMLError as error:
        document.problems.append(_explain_syntax(error))
    except (ArithmeticError, LookupError, ValueError) as error:  # as for "\\UFFFFFFFF"
        message = f"DVC cannot read the line: {shorten(str(error))}"
        document.problems.append(Problem(yaml.reader.line + 1, (), message))
    return document


def format_problems(file: str | Path, problems: Sequence[Problem]) -> str:
    """Return lines like `params.yaml:31: loss.gama: unknown key; did you mean loss.gamma?`."""
    name = shorten(str(file), limit=200)
    lines = [
        f"{name}:{line}: {f'{format_path(path)}: ' if path else ''}{message}"
        for line, path, message in sorted(problems, key=lambda problem: problem.line)
    ]
    # A list of a thousand bad weights is one mistake, not a thousand lines.
    if len(lines) > MAX_LINES:
        lines[MAX_LINES - 1 :] = [f"{name}: and {len(lines) - MAX_LINES + 1} more"]
    return "\n".join(lines)


def format_path(path: KeyPath) -> str:
    """Return the dotted key, as `dvc exp run -S` takes it: `transforms.0.RandomCrop.padding`."""
    return ".".join(shorten(str(key), limit=40) for key in path)


class _Unreadable(Exception):
    """Stops the reading; its arguments are those of the problem."""


class _Constructor(SafeConstructor):
    """DVC's constructor, which here sees the nodes first, and names the line of what it cannot build."""

    document: Document

    def get_single_data(self) -> Any:
        """Return the data of the one document there is."""
        root = self.composer.get_single_node()
        if root is None:
            raise _Unreadable(1, (), "is empty; write it, or bring it back with git restore")
        _walk(self.document, root, (), 1)
        return self.construct_document(root)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """Return the value of a node; an impossible one is 2024-13-01."""
        try:
            value = super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            message = f"found {shorten(str(node.value))}, which DVC cannot read: {shorten(str(error))}"
            raise _Unreadable(node.start_mark.line + 1, (), message) from None
        if isinstance(value, int) and value.bit_length() > MAX_BITS:  # of 0xfff..., which YAML has, too
            message = f"found {shorten(str(node.value))}; allowed: numbers of at most 300 digits"
            raise _Unreadable(node.start_mark.line + 1, (), message)
        return value


def _walk(document: Document, node: Any, path: KeyPath, line: int) -> None:
    """Note the lines of a node and all below it, and stop at what no parameter file needs."""
    if len(path) > MAX_DEPTH:  # as an alias inside the value it names
        raise _Unreadable(line, (), f"is nested more than {MAX_DEPTH} levels deep; write it flatter")
    if len(document.lines) > MAX_VALUES:
        raise _Unreadable(line, (), f"holds more than {MAX_VALUES} values; is it the right file?")
    document.lines[path] = line
    if isinstance(node, SequenceNode):
        for place, item in enumerate(node.value):
            _walk(document, item, (*path, place), item.start_mark.line + 1)
    elif isinstance(node, MappingNode):
        for key, value in node.value:
            line, inner = key.start_mark.line + 1, (*path, key.value)
            if key.tag != "tag:yaml.org,2002:str":
                shown = shorten(key.value) if isinstance(key.value, str) else "a list or section"
                advice = "write the keys out" if shown == "<<" else "write text, or put it in quotes"
                raise _Unreadable(line, (), f"found {shown} where a key should be; {advice}")
            if inner in document.lines:
                message = f"is there twice, first on line {document.lines[inner]}; delete one"
                document.problems.append(Problem(line, inner, message))
            else:
                _walk(document, value, inner, line)


def _explain_syntax(error: MarkedYAMLError) -> Problem:
    """Quote ruamel.yaml, at the line where the mistake begins: that of a quote which is never closed."""
    begins_above = str(error.context).startswith(("while scanning a", "while parsing a flow"))
    mark = (error.context_mark if begins_above else None) or error.problem_mark
    problem = str(error.problem).removeprefix("but ").partition(", if necessary")[0]
    advice = next((advice for words, advice in _ADVICE.items() if words in problem), "check the indentation")
    return Problem(mark.line + 1 if mark else 1, (), f"is not valid YAML: {shorten(problem)}; {advice}")
