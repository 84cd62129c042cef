"""Data and text to try the YAML reader with, and what it means to be the same."""

import math
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

# Text that a parameter file may hold: no control characters, whose treatment is ruamel.yaml's affair.
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=30)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | TEXT
# Plain text that numbers, dates and other words with a meaning are made of.
TRICKY = st.text("0123456789.eE+-_xobTZ:~=<nulaifNtrs", min_size=1, max_size=12)
# No key begins with a colon: ruamel.yaml writes it in braces without quotes, and cannot read that.
KEYS = (TEXT | TRICKY).filter(lambda key: not key.startswith(":"))
DATA = st.recursive(
    SCALARS | TRICKY,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
YAML_LIKE = st.text("ab01:-[]{}#&*!|>'\"%@`?,.~_=<\\ \n\t", max_size=40)


def repeatable(max_examples: int = 100) -> settings:
    """Return settings that try the same examples in every run, however slow the machine."""
    return settings(max_examples=max_examples, derandomize=True, database=None, deadline=None)


def same(left: Any, right: Any) -> bool:
    """Return whether two values are equal and of the same types; NaN equals NaN, and 0.0 is not -0.0."""
    if isinstance(left, dict):
        return (
            isinstance(right, dict)
            and list(left) == list(right)
            and all(same(left[k], right[k]) for k in left)
        )
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and isinstance(right, float):
        return math.isnan(left) == math.isnan(right) and (repr(left) == repr(right))
    return type(left) is type(right) and bool(left == right)
