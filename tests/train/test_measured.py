"""What was measured on this machine."""

import subprocess
import sys
from pathlib import Path

import pytest

from stages.train.measured import recall

QUESTION = {"layers": "a network", "threads": 2}


def test_every_damage_to_the_memory_is_found(tmp_path: Path) -> None:
    """A changed byte or a cut never answers a question: what was asked is measured again."""
    memory = tmp_path / "memory.json"
    recall(memory, QUESTION, measure=lambda: "bfloat16")
    whole = memory.read_bytes()
    damaged = [whole[:at] + bytes([whole[at] ^ 2]) + whole[at + 1 :] for at in range(0, len(whole), 2)]
    for data in (*damaged, *(whole[:length] for length in range(0, len(whole), 9)), b"[]", b"{}", b"3"):
        memory.write_bytes(data)
        assert recall(memory, QUESTION, measure=lambda: "again") == "again"


ASKER = """
import sys, time
from pathlib import Path
from stages.train.measured import recall

def measure():
    print("measures", flush=True)
    sys.stdin.readline()
    return sys.argv[2]

print(recall(Path(sys.argv[1]), {"threads": 2}, measure=measure), flush=True)
"""


def test_of_two_that_ask_at_once_one_measures(tmp_path: Path) -> None:
    """The second process waits, and has the answer of the first."""
    memory = tmp_path / "new" / "memory.json"

    def ask(answer: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", ASKER, str(memory), answer]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    with ask("first") as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "measures\n"
        with ask("second") as second:
            with pytest.raises(subprocess.TimeoutExpired):  # it would measure, or answer
                second.wait(timeout=2)
            first.communicate("go on\n")
            assert second.communicate("go on\n")[0] == "first\n"
