"""The base of every schema, and types that several schemas use for their fields."""

import re
import shlex
import unicodedata
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    Strict,
)
from pydantic_core import CoreSchema, core_schema


class Schema(BaseModel):
    """A record that accepts exactly its own keys, with values of exactly the right type.

    Unknown keys are refused, nothing is converted ("1" is no number, true is no 1), numbers are finite,
    and a record never changes once it is made.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
    )


_Item = TypeVar("_Item")

Items = Annotated[tuple[_Item, ...], Strict(False)]
"""A list in YAML or JSON, a tuple in Python; the items themselves stay strict."""

Pair = Annotated[tuple[_Item, _Item], Strict(False)]
"""A list of exactly two."""

Count = Annotated[int, Field(ge=0, le=10**15)]
PositiveCount = Annotated[int, Field(ge=1, le=10**15)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
ProperFraction = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
BatchCount = Annotated[int, Field(ge=1, le=2**20)]
Workers = Annotated[int, Field(ge=0, le=256)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _hide_what_only_equals(value: object) -> object:
    return value if type(value) is int else object()


SidePx = Annotated[int, Field(ge=1, le=4096)]
"""Of an image."""

WholeNumber = BeforeValidator(_hide_what_only_equals)
"""Belongs beside a Literal of whole numbers, which by itself takes true for 1 and 3.0 for 3."""


@dataclass(frozen=True)
class Meaning:
    """Belongs beside text with a pattern: says what is allowed, in words that a message can end in.

    Without it a message could only show the pattern.
    """

    words: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let every error of the type be this one."""
        return core_schema.custom_error_schema(
            handler(source),
            "meaning",
            custom_error_message="{error}",
            custom_error_context={"error": f"allowed: {self.words}"},
        )


def _check_one_line(text: str) -> str:
    # Halves of surrogate pairs, which YAML can spell, are in no name of a file.
    if re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", text):
        raise ValueError("allowed: text on one line, without control characters")
    return text


OneLine = AfterValidator(_check_one_line)
"""Belongs beside a text that messages quote."""


MAX_CLASS_NAME = 2000
"""Characters of a class name: a folder's name has at most 255 bytes, escaped at most 1,530."""

_ACTED_ON = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"  # part of words in Persian, of emoji


def _check_printable(text: str) -> str:
    if not text.isascii() or not text.isprintable():
        for char in text:
            if unicodedata.category(char) in _ACTED_ON and char not in _JOINERS:
                raise ValueError(
                    f"allowed: text without characters like \\u{ord(char):04x}, which a terminal acts on"
                )
    return text


ClassName = Annotated[str, Field(min_length=1, max_length=MAX_CLASS_NAME), AfterValidator(_check_printable)]
"""As ingest writes it, with what a terminal acts on as escapes."""


def _check_path(text: str) -> str:
    if text != text.strip():
        raise ValueError("allowed: a path without spaces before or after it")
    if text.split("/", maxsplit=1)[0] == "~":
        raise ValueError("allowed: a path without ~, which only a shell knows; write the home folder out")
    if "://" in text:
        _check_is_no_url(text)
    if re.match(r"[A-Za-z]:[\\/]", text):
        raise ValueError("allowed: a path of Linux or macOS; in WSL, C:\\ is /mnt/c/")
    return text


def _check_is_no_url(text: str) -> None:
    """Check that text is not what DVC takes for a dependency elsewhere, whose bytes no stage can read.

    Raises:
        ValueError: The text is a URL of any kind.
    """
    scheme, _, place = text.partition("://")
    if scheme == "file":
        raise ValueError(f"allowed: a path; write {place}")
    if re.fullmatch("[A-Za-z][A-Za-z0-9+.-]*", scheme):
        name = place.rstrip("/").rpartition("/")[2]
        here = f"data/{name}" if "." in name else "data/raw"
        raise ValueError(
            f"allowed: a path on this machine; write {here}, after: "
            f"dvc import-url {shlex.quote(text)} {shlex.quote(here)}"
        )


PlainPath = AfterValidator(_check_path)
"""Belongs beside a path that DVC is given as well."""
