"""Files of the source that are never read, such as texts beside the images."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Literal, get_args

from schemas.shared.index import IndexRow, Status
from stages.images.packed_paths import PackedPaths
from stages.shared.text import printable

Unused = Literal["not_an_image", "outside_classes", "not_in_table"]
"""Why a file is not used."""

_STATUSES: tuple[Unused, ...] = get_args(Unused)
_NO_CLASS = -1


class UnusedFiles:
    """Files by the million, at 21 bytes for each beyond the text of its path.

    There may be as many as images. The line of each in the index is made when it is asked for.
    """

    def __init__(self, files: Iterable[tuple[str, str, Unused]], *, classes: Sequence[str]) -> None:
        """Take path, label and status of each, in the order of the paths.

        Args:
            files: Read once; the label is empty for a file outside the class folders.
            classes: All class names.
        """
        self._classes = classes
        codes = {label: code for code, label in enumerate(classes)} | {"": _NO_CLASS}
        self._labels, self._statuses = array("i"), array("b")

        def paths() -> Iterator[str]:
            for path, label, status in files:
                self._labels.append(codes[label])
                self._statuses.append(_STATUSES.index(status))
                yield path

        self._paths = PackedPaths(paths())

    def count(self, status: Unused) -> int:
        """Return how many files are not used for one reason."""
        return self._statuses.count(_STATUSES.index(status))

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[IndexRow]:
        for path, code, number in zip(self._paths, self._labels, self._statuses, strict=True):
            status = _STATUSES[number]
            label = "" if code == _NO_CLASS else self._classes[code]
            yield describe_left_out(path, label, status=status, reason=_explain(path, status))


def _explain(path: str, status: Unused) -> str:
    match status:
        case "not_an_image":
            suffix = printable(PurePosixPath(path).suffix)
            return f"{suffix} is no image suffix" if suffix else "has no suffix"
        case "outside_classes":
            return "stands outside the class folders"
        case "not_in_table":
            return "is not in the table"


def describe_left_out(path: str, label: str, *, status: Status, reason: str) -> IndexRow:
    """Return the index line of a file that was never decoded."""
    return IndexRow(
        path=printable(path),
        label=label,
        split="",
        status=status,
        reason=reason,
        group="",
        sha256="",
        phash="",
        height_px="",
        width_px="",
    )
