"""YAML's syntax errors in words that do not need its grammar."""

import re
from typing import NamedTuple

import yaml

from stages.params.problems import shorten

LINE_BREAK = re.compile(r"\r\n?|\n")


class _Wording(NamedTuple):
    """What PyYAML says, whether the mistake is where the construct begins, and what we say."""

    theirs: str
    at_start: bool
    ours: str


_COLON = "a key needs a colon and a space behind it, as in 'lr: 0.1'"
_INDENTATION = "does not fit the lines above; check the indentation and the quotes"
_QUOTE = "the quote here is never closed"
_ESCAPE = "in double quotes \\ begins an escape, and this is none; use single quotes"
_DASH = "unexpected '- '; a list begins on a line of its own"
_SYNTAX = (
    _Wording("could not find expected ':'", True, _COLON),
    _Wording("expected <block end>", False, _INDENTATION),
    _Wording("expected '<document start>'", False, _INDENTATION),
    _Wording("expected ',' or '}'", True, "the { here is never closed, or a comma is missing"),
    _Wording("expected ',' or ']'", True, "the [ here is never closed, or a comma is missing"),
    _Wording("but found '<stream end>'", True, "the file ends where a value should be"),
    _Wording("found unexpected end of stream", True, _QUOTE),
    _Wording("found unexpected document separator", True, _QUOTE),
    _Wording("sequence entries are not allowed", False, _DASH),
    _Wording("found unknown escape character", False, _ESCAPE),
    _Wording("expected escape sequence of", False, _ESCAPE),
)


def explain_syntax(error: yaml.MarkedYAMLError, text: str) -> tuple[int, str]:
    """Return the line where text breaks the rules of YAML, and what to do."""
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    problem = error.problem or "cannot be read"
    lines = LINE_BREAK.split(text)
    here = lines[line - 1] if line <= len(lines) else ""
    if "\t" in here[: len(here) - len(here.lstrip())] or "'\\t'" in problem:
        return line, "found a tab; YAML indents and separates with spaces"
    if found := re.match(r"found character '(.)' that cannot start any token", problem):
        return line, f"text that starts with {found[1]} goes in quotes"
    if "mapping values are not allowed" in problem:
        return _explain_colon(line, lines)
    for wording in _SYNTAX:
        if wording.theirs in problem:
            if wording.at_start and error.context_mark:
                line = error.context_mark.line + 1
            return line, wording.ours
    return line, f"is no YAML: {shorten(problem, limit=100)}"


def _explain_colon(line: int, lines: list[str]) -> tuple[int, str]:
    """Tell a colon too many from one that is missing in the line above, which YAML then takes for text."""
    above = line - 1
    while above and lines[above - 1].split("#")[0].strip() in ("", "---"):
        above -= 1
    before = lines[above - 1].split(" #")[0].rstrip() if above else ""
    if above and not re.search(r":( |$)", before):
        return above, _COLON
    return line, "unexpected ': '; check the indentation, and put text that holds ': ' in quotes"
