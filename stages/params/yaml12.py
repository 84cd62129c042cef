"""YAML as version 1.2 reads it (the core schema), with the line of every key.

PyYAML scans and parses. Its resolver is left out: it follows YAML 1.1, where `1e-3` is text and `on` is true.
The pure Python scanner is used on every machine, so that errors read alike everywhere: 4 ms for params.yaml.
"""

import copy
import re
import stat
from pathlib import Path
from typing import Any

import yaml

from stages.params.problems import KeyPath, Problem, format_problems, shorten
from stages.params.yaml12_document import Document, Node
from stages.params.yaml12_scalars import Scalar, dispute, resolve_plain
from stages.params.yaml12_syntax import LINE_BREAK, explain_syntax
from stages.shared.errors import InputError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_VALUES = 25_000

_CONFLICT_MARKER = re.compile(r"^(<{7}|={7}|>{7}|\|{7})(?= |\r?$)", re.MULTILINE)
# Line breaks of YAML 1.1 that 1.2 dropped (NEL, LS, PS) are out too: no two programs agree on what they mean.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def read_yaml(path: str | Path) -> Document:
    """Read a file that has no problem of any kind.

    Raises:
        InputError: One line for each problem.
    """
    document = read_document(path)
    if document.problems:
        raise InputError(format_problems(path, document.problems))
    return document


def read_document(path: str | Path) -> Document:
    """Read a file, and leave it to the caller to raise for what is wrong inside.

    Raises:
        InputError: The file cannot be opened, or is none that could be a parameter file.
    """
    data = _read_bytes(path)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        message = f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
        return Document(None, [Problem(1 + data.count(b"\n", 0, error.start), (), message)])
    return parse_yaml(text)


def _read_bytes(path: str | Path) -> bytes:
    """Return the contents of a regular file of a sensible size."""
    name = shorten(str(path), limit=200)
    try:
        status = Path(path).stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputError(f"{name}: is a folder; give the path of a file")
        # Opening a pipe that nobody writes to would wait for ever.
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{name}: is not a regular file; give the path of a file")
        if status.st_size > MAX_BYTES:
            raise InputError(
                f"{name}: has {status.st_size} bytes; allowed: at most {MAX_BYTES}; is it the right file?"
            )
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(
            f"{name}: does not exist; run from the folder that holds it, or give its path"
        ) from None
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror}") from None
    except InputError:
        raise
    except ValueError as error:  # a NUL in the path
        raise InputError(f"{name}: cannot be read: {error}") from None


def parse_yaml(text: str) -> Document:
    """Read the text of a file."""
    text = text.removeprefix("\ufeff")  # a byte order mark, as some editors on Windows leave it
    if found := _CONFLICT_MARKER.search(text):
        message = "git left a merge conflict here; keep one side and delete the marks"
        return Document(None, [Problem(_line_at(text, found.start()), (), message)])
    if found := _UNPRINTABLE.search(text):
        message = f"found the character {shorten(found[0])}, which no text file holds; delete it"
        return Document(None, [Problem(_line_at(text, found.start()), (), message)])
    composer = _Composer(text)
    try:
        root = composer.compose_document()
    except _Unreadable as error:
        return Document(None, [*composer.problems, error.problem])
    return Document(root, composer.problems, composer.disputed)


class _Unreadable(Exception):
    """The rest of the file cannot be read."""

    def __init__(self, line: int, message: str) -> None:
        self.problem = Problem(line, (), message)


class _Composer:
    """Builds the nodes of one document from PyYAML's events."""

    def __init__(self, text: str) -> None:
        self.problems: list[Problem] = []
        self.disputed: list[Problem] = []
        self._text = text
        self._loader = yaml.SafeLoader(text)
        self._anchors: dict[str, Node | None] = {}
        self._num_values = 0

    def compose_document(self) -> Node:
        """Return the one document of the file."""
        self._next_event()
        start = self._next_event()
        if isinstance(start, yaml.StreamEndEvent):
            raise _Unreadable(1, "is empty; write it, or bring it back with git restore")
        if start.tags or start.version not in (None, (1, 2)):
            self._report(start, (), "directives such as %YAML and %TAG are not read; delete the line")
        root = self._compose(self._next_event(), (), line=None)
        self._next_event()
        end = self._next_event()
        if not isinstance(end, yaml.StreamEndEvent):
            raise _Unreadable(_line_of(end), "a second document begins here; keep one and delete its '---'")
        return root

    def _next_event(self) -> Any:
        try:
            return self._loader.get_event()  # type: ignore[no-untyped-call]
        except yaml.MarkedYAMLError as error:
            raise _Unreadable(*explain_syntax(error, self._text)) from None
        except (ValueError, OverflowError):  # PyYAML passes the number in "\UFFFFFFFF" to chr()
            raise _Unreadable(self._loader.line + 1, "an escape such as \\U names no character") from None

    def _report(self, event: Any, path: KeyPath, message: str) -> None:
        self.problems.append(Problem(_line_of(event), path, message))

    def _compose(self, event: Any, path: KeyPath, *, line: int | None) -> Node:
        """Return the value that begins with event; line is that of its key."""
        node = Node(_line_of(event) if line is None else line, None)
        self._count(1, len(path), event)
        if event.anchor is not None:
            self._check_anchor(event, path)
        if isinstance(event, yaml.AliasEvent):
            return self._copy_anchored(event, path, node)
        if event.tag is not None:
            tag = str(event.tag).replace("tag:yaml.org,2002:", "!!")
            self._report(event, path, f"found the tag {shorten(tag)}; tags are not read, delete it")
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        if isinstance(event, yaml.MappingStartEvent):
            node.value = self._compose_mapping(path, in_braces=bool(event.flow_style))
        elif isinstance(event, yaml.SequenceStartEvent):
            items: list[Node] = []
            while not isinstance(item := self._next_event(), yaml.SequenceEndEvent):
                items.append(self._compose(item, (*path, len(items)), line=None))
            node.value = items
        else:
            node.value = self._read_scalar(event, path)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _compose_mapping(self, path: KeyPath, *, in_braces: bool) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        while not isinstance(event := self._next_event(), yaml.MappingEndEvent):
            line = _line_of(event)
            key = self._read_key(event, path)
            value = self._next_event()
            node = self._compose(value, (*path, "?" if key is None else key), line=line)
            if key is None:
                continue
            if key in entries:
                message = f"is there twice, first on line {entries[key].line}; delete one"
                self.problems.append(Problem(line, (*path, key), message))
            else:
                entries[key] = node
                # ruamel.yaml takes the colon of {a:} for a part of the key.
                if in_braces and isinstance(value, yaml.ScalarEvent) and not (value.value or value.style):
                    message = f"found {shorten(key)} with no value in braces, which DVC may read otherwise"
                    self.disputed.append(Problem(line, (*path, key), f"{message}; write null"))
        return entries

    def _read_key(self, event: Any, path: KeyPath) -> str | None:
        """Return a key, or None when it is none that a parameter could have."""
        if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and not event.style:
            self._report(event, path, "merge keys (<<) are not read; write the keys out")
            return None
        key = self._compose(event, (*path, "?"), line=None).value
        if isinstance(key, str):
            return key
        shown = "nothing" if key is None else "a list or mapping" if isinstance(key, list | dict) else key
        message = f"found {str(shown).lower()} where a key should be; put it in quotes, or delete it"
        self._report(event, path, message)
        return None

    def _read_scalar(self, event: Any, path: KeyPath) -> Scalar:
        text: str = event.value
        if event.style:
            if any(char == "\0" or "\ud800" <= char <= "\udfff" for char in text):
                self._report(
                    event, path, f"found {shorten(text)}; text cannot hold \\0 or half a surrogate pair"
                )
            if event.style in "|>":
                # ruamel.yaml takes a comment below a block for a part of it.
                message = (
                    f"found a block of text ({event.style}), which DVC may read otherwise; put it in quotes"
                )
                self.disputed.append(Problem(_line_of(event), path, message))
            return text
        try:
            value = resolve_plain(text)
        except OverflowError:
            message = f"found {shorten(text)}; a whole number has to fit in 64 bits"
            self._report(event, path, message)
            return None
        if (other := dispute(text, value)) is not None:
            self.disputed.append(Problem(_line_of(event), path, other))
        return value

    def _check_anchor(self, event: Any, path: KeyPath) -> None:
        """Refuse names like &a:b, which end at the colon for PyYAML and after it for DVC."""
        name = f"{'*' if isinstance(event, yaml.AliasEvent) else '&'}{event.anchor}"
        end = self._text.index(name, event.start_mark.index) + len(name)
        if self._text[end : end + 1] in tuple(":?%@`"):
            self._report(event, path, f"a space has to follow {shorten(name)}")

    def _copy_anchored(self, event: Any, path: KeyPath, node: Node) -> Node:
        """Return a copy of the value that an alias names, so that no two places share one node."""
        if event.anchor not in self._anchors:
            self._report(
                event, path, f"*{shorten(event.anchor)} names no anchor above it; write the value out"
            )
            return node
        anchored = self._anchors[event.anchor]
        if anchored is None:
            self._report(event, path, f"*{shorten(event.anchor)} is inside the value it names; write it out")
            return node
        num_values, depth = anchored.measure()
        self._count(num_values - 1, len(path) + depth - 1, event)
        return Node(node.line, copy.deepcopy(anchored.value))

    def _count(self, num_values: int, depth: int, event: Any) -> None:
        """Stop at what no parameter file needs, before it costs time or memory."""
        self._num_values += num_values
        if depth > MAX_DEPTH:
            raise _Unreadable(
                _line_of(event), f"is nested more than {MAX_DEPTH} levels deep; write it flatter"
            )
        if self._num_values > MAX_VALUES:
            raise _Unreadable(_line_of(event), f"holds more than {MAX_VALUES} values; is it the right file?")


def _line_of(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _line_at(text: str, position: int) -> int:
    return 1 + len(LINE_BREAK.findall(text, 0, position))
