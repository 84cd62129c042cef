"""What a YAML file says, and on which line it says it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from stages.params.problems import KeyPath, Problem
from stages.params.yaml12_scalars import Scalar


@dataclass
class Node:
    """A value and the line it is set on: the line of its key, or of its place in a list."""

    line: int
    value: "Scalar | list[Node] | dict[str, Node]"

    def to_plain(self) -> Any:
        """Return the value as dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: node.to_plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.to_plain() for node in self.value]
        return self.value

    def child(self, key: str | int) -> "Node | None":
        """Return the node at a key or list place, if there is one."""
        if isinstance(self.value, dict):
            return self.value.get(key) if isinstance(key, str) else None
        if isinstance(self.value, list):
            return self.value[key] if isinstance(key, int) and key < len(self.value) else None
        return None

    def measure(self) -> tuple[int, int]:
        """Return how many values there are in this one, itself included, and how deep they are nested."""
        if not isinstance(self.value, dict | list):
            return 1, 1
        sizes = [child.measure() for child in _children(self.value)]
        return 1 + sum(count for count, _ in sizes), 1 + max((depth for _, depth in sizes), default=0)


def _children(value: "list[Node] | dict[str, Node]") -> "Iterable[Node]":
    return value.values() if isinstance(value, dict) else value


@dataclass
class Document:
    """What a YAML file says, as far as it could be read."""

    root: Node | None
    """None when the file cannot be read to its end; problems then say why."""

    problems: list[Problem] = field(default_factory=list)
    """What this reader refuses."""

    disputed: list[Problem] = field(default_factory=list)
    """Scalars that DVC takes for something else, or may; a file that DVC reads too should have none."""

    @property
    def data(self) -> Any:
        """The values as dicts, lists, str, int, float, bool and None; made anew at each call."""
        return None if self.root is None else self.root.to_plain()

    def line_of(self, path: KeyPath) -> int:
        """Return the line of the key or list item at path, or of the nearest one above it that exists."""
        for end in range(len(path), 0, -1):
            if (node := self.find(path[:end])) is not None:
                return node.line
        return 1

    def find(self, path: KeyPath) -> Node | None:
        """Return the node at path, if there is one."""
        node = self.root
        for key in path:
            if node is None:
                return None
            node = node.child(key)
        return node

    def is_section(self, path: KeyPath) -> bool:
        """Return whether there is a mapping at path."""
        node = self.find(path)
        return node is not None and isinstance(node.value, dict)

    def move(self, old: KeyPath, new: KeyPath) -> None:
        """Give the value at one key to another; the line stays, and a section is made where there is none."""
        moved = self._section(old[:-1]).pop(str(old[-1]))
        if self.find(new[:-1]) is None:
            self._section(new[:-2])[str(new[-2])] = Node(moved.line, {})
        self._section(new[:-1])[str(new[-1])] = moved

    def _section(self, path: KeyPath) -> "dict[str, Node]":
        node = self.find(path)
        assert node is not None, path
        assert isinstance(node.value, dict), path
        return node.value
