"""What the data audit found, as the report tells it.

The stage depends on data/audit/findings.csv alone: the picture beside it may change without a new report.
"""

import csv
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from schemas.audit.finding import ClassKind, FindingRow, ImageKind
from stages.shared.errors import InputError
from stages.shared.files import check_checksum, first_error
from stages.shared.paths import MAKE_PREPARED
from stages.shared.text import printable

MAX_EXAMPLES = 5
_ADVICE = f"re-create it with: {MAKE_PREPARED}"


@dataclass
class KindOfFinding:
    """All findings of one kind."""

    kind: ImageKind | ClassKind
    num_found: int = 0
    num_left_out: int = 0
    num_tested: int = 0
    """Of those that are used, how many are test images."""

    examples: list[FindingRow] = field(default_factory=list)
    """The worst few."""


def read_findings(path: Path, *, tested: Collection[str]) -> list[KindOfFinding]:
    """Return every kind that was found, in the order of the file.

    Args:
        path: The findings.csv that prepare-dataset wrote.
        tested: Paths of the test images in the source.

    Raises:
        InputError: The file is missing or damaged, or is no such table.
    """
    check_checksum(path, made_by=MAKE_PREPARED)
    printed = {printable(name) for name in tested}
    kinds: dict[str, KindOfFinding] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            for record in reader:
                row = FindingRow.model_validate(record)
                kind = kinds.setdefault(row.kind, KindOfFinding(row.kind))
                kind.num_found += 1
                kind.num_left_out += row.became == "left_out"
                kind.num_tested += row.became == "used" and row.path in printed
                if len(kind.examples) < MAX_EXAMPLES:
                    kind.examples.append(row)
            header = reader.fieldnames
    except ValidationError as error:
        raise InputError(f"{path}: {first_error(error)}; {_ADVICE}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read: {printable(str(error))}; {_ADVICE}") from None
    if header != list(FindingRow.model_fields):
        raise InputError(f"{path}: has no header line of {', '.join(FindingRow.model_fields)}; {_ADVICE}")
    return list(kinds.values())
