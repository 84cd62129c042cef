"""What an unquoted scalar means in YAML 1.2, what DVC makes of it, and how to write one that all read alike.

DVC reads YAML with ruamel.yaml, which departs from the core schema of 1.2 in a few scalars: to it, `1_000` is
a number, `2024-01-01` a date and `.5e3` text.
"""

import re
from collections.abc import Iterable
from typing import Any, TypeAlias

import yaml

from stages.params.problems import shorten

Scalar: TypeAlias = str | int | float | bool | None

_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_WHOLE = re.compile(r"(?P<decimal>[-+]?[0-9]+)|0o(?P<octal>[0-7]+)|0x(?P<hexadecimal>[0-9a-fA-F]+)")
_BASES = {"decimal": 10, "octal": 8, "hexadecimal": 16}
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"[-+]?\.(inf|Inf|INF)")
_NAN = re.compile(r"\.(nan|NaN|NAN)")

# Copied from ruamel.yaml's resolver; a test compares the two, scalar by scalar.
_NUMBER_TO_DVC = re.compile(
    r"(?=[-+.0-9])[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|[0-9_]+|[0-9][0-9_]*\.[0-9_]*([eE][-+]?[0-9]+)?"
    r"|[0-9][0-9_]*[eE][-+]?[0-9]+|\.[0-9_]+([eE][-+][0-9]+)?)"
)
_DATE_TO_DVC = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(\.[0-9]*)?"
    r"([ \t]*(Z|[-+][0-9]{1,2}(:[0-9]{2})?))?"
)
_TEXT_TO_DVC = re.compile(r"[-+]?\.[0-9]+[eE][0-9]+")
_MARK_TO_DVC = re.compile(r"=|<<")


def resolve_plain(text: str) -> Scalar:
    """Return what an unquoted scalar means in YAML 1.2.

    Raises:
        OverflowError: A whole number that 64 bits do not hold.
    """
    if text in _WORDS:
        return _WORDS[text]
    if whole := _WHOLE.fullmatch(text):
        kind = str(whole.lastgroup)
        # Python refuses to convert thousands of digits, and says so with a ValueError.
        number = int(whole[kind], _BASES[kind]) if len(text) < 100 else 2**64
        if not -(2**63) <= number < 2**63:
            raise OverflowError(text)
        return number
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITY.fullmatch(text):
        return float("-inf" if text.startswith("-") else "inf")
    return float("nan") if _NAN.fullmatch(text) else text


def dispute(text: str, value: Scalar) -> str | None:
    """Return what DVC makes of an unquoted scalar and what to do, or None where it reads the same value."""
    shown = shorten(text)
    if isinstance(value, str):
        if _NUMBER_TO_DVC.fullmatch(text):
            return (
                f"found {shown}, text in YAML 1.2 but a number to DVC; put it in quotes, or write it plainly"
            )
        if _DATE_TO_DVC.fullmatch(text):
            return f"found {shown}, text in YAML 1.2 but a date to DVC; put it in quotes"
        if _MARK_TO_DVC.fullmatch(text):
            return f"found {shown}, text in YAML 1.2 but not to DVC; put it in quotes"
    elif _TEXT_TO_DVC.fullmatch(text):
        return f"found {shown}, a number in YAML 1.2 but text to DVC; write {value!r}"
    return None


def format_yaml(data: Any) -> str:
    """Return data as YAML that versions 1.1 and 1.2 and DVC read alike, laid out like params.yaml."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


class _Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.2 or DVC would take for something else, besides what YAML 1.1 would."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Indent lists below their key."""
        super().increase_indent(flow, False)

    def represent_sequence(
        self, tag: str, sequence: Iterable[Any], flow_style: bool | None = None
    ) -> yaml.SequenceNode:
        """Put plain lists, and the arguments in a list of transforms, on one line."""
        node = super().represent_sequence(tag, sequence, flow_style)
        node.flow_style = all(isinstance(item, yaml.ScalarNode) for item in node.value)
        for item in node.value:
            for _, inner in item.value if isinstance(item, yaml.MappingNode) else ():
                inner.flow_style = True
        return node

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Escape what is no character to read; PyYAML leaves it bare in single quotes."""
        style = None if data.isprintable() else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile("|".join(f"(?:{p.pattern})$" for p in (_FLOAT, _WHOLE, _NUMBER_TO_DVC, _DATE_TO_DVC))),
    list("-+.0123456789"),
)
