"""Errors that a user can act on, how a stage ends by one, and text from outside made safe to print."""

import errno
import io
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from stages.shared.stopping import STOPPED, Stopped, is_stop_requested, watch_for_stops

_Builder = TypeVar("_Builder")

_CANNOT_MAP = (
    "; the file system, as some network mounts, cannot map files into memory: move the project to another"
)
_JOINERS = "\u200c\u200d"  # part of words in Persian, of emoji; they hide nothing

_NO_MEMORY = "there is too little memory for this process; free some, or raise its limit (ulimit -v)"
_UNMAPPED = ("failed to map segment", "annot allocate memory")
"""What the dynamic loader says of a library for which there is no memory."""


def printable(text: str) -> str:
    r"""Return text in one line that UTF-8 can hold, every other character as an escape.

    Newlines, control and direction marks become escapes like \n, bytes of a file name that are not UTF-8
    escapes like \udce9.
    """
    if text.isprintable():
        return text  # as nearly all are, and there are as many as images
    return "".join(
        char if char.isprintable() or char in _JOINERS else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def shorten(text: str, *, limit: int = 60) -> str:
    """Return text on one line, control characters as escapes, with at most limit characters."""
    escaped = printable(text[: limit + 1])
    return escaped if len(escaped) <= limit else escaped[: limit - 3] + "..."


def describe_error(error: BaseException) -> str:
    """Return the first line of what a library says of foreign bytes, which it may quote: escaped, short."""
    return shorten((str(error) or type(error).__name__).splitlines()[0], limit=300)


_FORMULA_STARTS = ("=", "+", "-", "@")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def path_for_csv(path: str) -> str:
    """Return a path on one line that is no formula to a spreadsheet: `./=a.jpg` names the file `=a.jpg`.

    Quotes around a cell do not help, and no other way to write it is read as the path by all other programs.
    """
    text = printable(path)
    return f"./{text}" if text.lstrip().startswith(_FORMULA_STARTS) else text


def is_formula(text: str) -> bool:
    """Return whether a spreadsheet may take a text for a formula: `=1+1` and `-ve`, but neither -1 nor +."""
    text = text.strip()
    return text.startswith(_FORMULA_STARTS) and any(map(str.isalnum, text)) and not _NUMBER.fullmatch(text)


class InputError(ValueError):
    """Something a user gave is wrong; the message names the place, what was found and what to do.

    A message may hold several lines, one for each thing that is wrong.
    """


def find_builder(builders: Mapping[str, _Builder], name: str, *, key: str, module: str) -> _Builder:
    """Return the code of a variant that params.yaml names.

    Args:
        builders: Of every variant, by its name.
        name: What params.yaml says.
        key: Where it says so, as in `optimizer.name`.
        module: The file that holds the builders.

    Raises:
        InputError: The schema knows the name already, and the code does not yet.
    """
    if name not in builders:
        raise InputError(f"{key}: found {name}, which {module} does not build yet; add it to _BUILDERS there")
    return builders[name]


def run_stage(main: Callable[[], None], *, description: str | None = None) -> None:
    """Run a stage and leave the process: status 0, 1 with one clear line for bad input, 75 if it was stopped.

    Only InputError, a lack of memory and the operating system's refusals are caught: a traceback means a bug
    of ours, never a bad file.

    Args:
        main: The stage, or a command.
        description: For what takes no arguments: what `--help` prints. Anything else is refused, status 2.
    """
    _read_names_as_utf8()
    if description is not None:
        _check_arguments(sys.argv[1:], description)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr is: a class may be called café
    try:
        with watch_for_stops():
            _run(main)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(STOPPED)
    except Exception as error:
        message = explain_end_of_stage(error)
        if message is None:
            raise
        _stop(message)


def explain_end_of_stage(error: Exception) -> str | None:
    """Return what to say of an error that ends a stage; None for a bug of ours, which needs its traceback."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        reason = error.strerror or str(error) or type(error).__name__
        cannot_map = error.errno == errno.ENODEV or f"os error {errno.ENODEV})" in reason  # Rust's words
        return printable(f"{place}{reason}{_CANNOT_MAP if cannot_map else ''}")
    is_unmapped = isinstance(error, ImportError) and any(text in str(error) for text in _UNMAPPED)
    return _NO_MEMORY if is_unmapped or isinstance(error, MemoryError) else None


def _read_names_as_utf8() -> None:
    """Begin again, as the same process, in a locale in which Python takes file names for anything but UTF-8.

    Names would differ from those that the manifest, DVC and other machines have, and a path that is printed
    would not lead back to its file. LC_ALL=C alone is not such a locale; with PYTHONUTF8=0 it is.
    """
    if sys.getfilesystemencoding() != "utf-8":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _check_arguments(arguments: list[str], description: str) -> None:
    """Answer `--help`, and refuse arguments: the stage would run without them, as if they were followed."""
    if not arguments:
        return
    if {"-h", "--help"} & set(arguments):
        print(description.strip())
        sys.exit(0)
    name = description.partition(":")[0]
    print(
        f"{name}: found {printable(' '.join(arguments))}; allowed: no arguments; parameters are set in "
        "params.yaml, or by: dvc exp run -S",
        file=sys.stderr,
    )
    sys.exit(2)


def _run(main: Callable[[], None]) -> None:
    """Run a stage; whatever a request to stop becomes on its way up through others' code, it is one."""
    try:
        main()
    except Exception:
        if not is_stop_requested():
            raise
        raise Stopped("stopped; nothing was published") from None


def _stop(message: str) -> None:
    print(message, file=sys.stderr)
    # DVC removes the outputs of a stage before it runs it; the previous ones are safe in its cache.
    if "DVC_ROOT" in os.environ and Path("dvc.lock").exists():
        print("dvc checkout brings back the outputs of the last good run", file=sys.stderr)
    sys.exit(1)
