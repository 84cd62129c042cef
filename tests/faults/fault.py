"""Ways to stop a run, and how they are drawn."""

import random
import signal
from dataclasses import dataclass
from pathlib import Path

AT_FILE_EVENT = Path(__file__).parent / "at_file_event"
_WAYS = {
    (number, target): 8
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
    for target in ("stage", "dvc", "group")
} | {(signal.SIGINT, "dvc"): 1}
"""Who gets which signal, and how often; DVC ignores SIGINT while a stage runs."""
_FORCED = ("--force", "--single-item", "train")  # DVC's run cache has the undisturbed result
COMMANDS = {
    "repro": (("repro", *_FORCED),),
    "exp run": (("exp", "run", *_FORCED),),
    "--temp": (("exp", "run", "--temp", *_FORCED),),
    "queue": (("exp", "run", "--queue", *_FORCED), ("queue", "start")),
}
_SHARES = {"repro": 7, "exp run": 5, "--temp": 5, "queue": 3}


@dataclass(frozen=True)
class Fault:
    """One way to stop one run."""

    command: str
    """A key of COMMANDS."""

    number: signal.Signals
    target: str
    """Who gets the signal."""

    when: str
    """`file`: at a file event; `run`: in all of dvc's time; `training`: in the stage's, after its imports."""

    at: float
    """The number of the file event, or the part of that time that has passed."""

    def __str__(self) -> str:
        place = f"file event {self.at:.0f}" if self.when == "file" else f"{self.at:.0%} of {self.when}"
        return f"{self.command}, {self.number.name} to {self.target} at {place}"


def draw_command(generator: random.Random, *, after_all: bool = False) -> str:
    """Return a command; for the run that is left alone, mostly the cheapest."""
    shares = _SHARES | {"repro": 20, "queue": 1} if after_all else _SHARES
    return generator.choices(list(shares), weights=list(shares.values()))[0]


def draw_fault(generator: random.Random, *, num_events: int, event: int | None = None) -> Fault:
    """Return a way to stop a run, at a file event if one is given."""
    when = "file" if event else generator.choices(("file", "training", "run"), weights=(5, 3, 2))[0]
    at = float(event or generator.randint(1, num_events)) if when == "file" else generator.random()
    number, target = generator.choices(list(_WAYS), weights=list(_WAYS.values()))[0]
    return Fault(draw_command(generator), number, target, when=when, at=at)
