"""What a person probably meant to type."""

from collections.abc import Iterable
from difflib import SequenceMatcher


def find_nearest(word: str, choices: Iterable[str]) -> str | None:
    """Return the choice that word is a slip of, or None when it resembles none."""
    word = word.lower()
    ranked = sorted(
        (count_slips(word, choice.lower()), -SequenceMatcher(None, word, choice.lower()).ratio(), choice)
        for choice in set(choices)
        if may_resemble(word, choice.lower())
    )
    return ranked[0][2] if ranked else None


def may_resemble(word: str, choice: str) -> bool:
    """Return whether word is choice with a slip in every third letter at most, or the beginning of choice."""
    if len(word) >= 3 and choice.startswith(word):
        return True
    allowed = max(1, len(choice) // 3)
    if abs(len(word) - len(choice)) > allowed:  # spares comparing what cannot be near
        return False
    return count_slips(word, choice) <= min(allowed, len(choice) - 1)


def count_slips(word: str, other: str) -> int:
    """Return how many letters are added, left out, replaced or swapped with the next one.

    Source: the optimal string alignment distance, doi:10.1145/363958.363994.
    """
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(word, start=1):
        current = [row]
        for column, other_letter in enumerate(other, start=1):
            slips = min(
                last[column] + 1, current[column - 1] + 1, last[column - 1] + (letter != other_letter)
            )
            if row > 1 < column and letter == other[column - 2] and word[row - 2] == other_letter:
                slips = min(slips, before[column - 2] + 1)
            current.append(slips)
        before, last = last, current
    return last[-1]
