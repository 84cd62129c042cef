"""What a person probably meant."""

import pytest
from stages.params.spelling import count_slips, find_nearest


@pytest.mark.parametrize(("word", "other", "slips"), [
    ("gamma", "gamma", 0),
    ("gama", "gamma", 1),
    ("gammma", "gamma", 1),
    ("gamna", "gamma", 1),
    ("gmama", "gamma", 1),
    ("gm", "gamma", 3),
    ("ca", "abc", 3),
    ("", "gamma", 5),
    ("gamma", "", 5),
    ("", "", 0),
])  # fmt: skip
def test_count_slips(word: str, other: str, slips: int) -> None:
    """A letter added, left out, replaced or swapped with the next is one slip, in either direction."""
    assert count_slips(word, other) == count_slips(other, word) == slips


@pytest.mark.parametrize(("word", "nearest"), [
    ("adam", "adam"),
    ("adamm", "adam"),
    ("Adam", "adam"),
    ("ADAMW", "adamw"),
    ("adaw", "adamw"),
    ("gray", "grayscale"),
    ("greyscale", "grayscale"),
    ("gg", None),
    ("rmsprop", None),
    ("", None),
    ("l", "lr"),
    ("x", None),
])  # fmt: skip
def test_find_nearest(word: str, nearest: str | None) -> None:
    """A slip or a beginning is recognised, in capitals too; what resembles nothing gets no suggestion."""
    assert find_nearest(word, ["adam", "adamw", "grayscale", "lr", "p"]) == nearest


def test_the_closest_wins() -> None:
    """Among several the fewest slips count, whatever their order."""
    assert find_nearest("step_size", ["stop_side", "step_sizes"]) == "step_sizes"
    assert find_nearest("step_size", ["step_sizes", "stop_side"]) == "step_sizes"
