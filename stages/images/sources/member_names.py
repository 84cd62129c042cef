"""The names that archives give their members."""

import re
from pathlib import PurePosixPath

from stages.shared.errors import InputError
from stages.shared.text import printable

# What a name can hold that makes it another path than it looks, or none inside the archive.
_ODD = re.compile(r"\\|//|/$|(?:^|/)\.{1,2}(?:/|$)|^/|^[A-Za-z]:/")


def tidy_name(name: str, *, place: str) -> str:
    """Return a member's name with forward slashes and no `./`, empty for the archive's own top.

    Raises:
        InputError: The name points outside the archive.
    """
    if not _ODD.search(name):
        return name
    slashed = name.replace("\\", "/")
    parts = PurePosixPath(slashed).parts
    if slashed.startswith("/") or ".." in parts or re.match("[A-Za-z]:/", slashed):
        raise InputError(
            f"{place}: holds {printable(name)}, which climbs out of the archive; "
            "re-create it with paths that stay inside"
        )
    return "/".join(parts) + ("/" if parts and slashed.endswith("/") else "")
