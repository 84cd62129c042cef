"""What a part of the suite counts."""

from dataclasses import dataclass, field


@dataclass
class Tally:
    """A line of the table."""

    name: str
    tried: int = 0
    wrong: list[str] = field(default_factory=list)
    """A line for each case that did not end as it must."""

    note: str = ""

    def count(self, is_right: bool, complaint: str) -> None:
        """Count a case."""
        self.tried += 1
        if not is_right:
            self.wrong.append(f"{self.name}: {complaint}")
