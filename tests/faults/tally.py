"""What the parts of the suites in tests/faults and tests/attack count, and the table of it."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class Tally:
    """A line of the table."""

    name: str
    tried: int = 0
    wrong: list[str] = field(default_factory=list)
    """A line for each case that did not end as it must."""

    note: str = ""

    def count(self, is_right: bool, problem: str) -> None:
        """Count a case."""
        self.tried += 1
        if not is_right:
            self.wrong.append(f"{self.name}: {problem}")


def print_table(tallies: Iterable[Tally]) -> list[str]:
    """Print a line for each part as it ends, and return all problems."""
    problems = []
    print(f"{'what':<40}{'tried':>8}{'wrong':>8}", flush=True)
    for tally in tallies:
        print(f"{tally.name:<40}{tally.tried:>8}{len(tally.wrong):>8}  {tally.note}".rstrip(), flush=True)
        problems += tally.wrong
    return problems
