"""Paths in one piece of memory are the paths that went in."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.images.packed_paths import PackedPaths, sort_members

paths = st.lists(st.text(st.characters(codec=None)))
names = st.lists(st.text(st.characters(codec=None, exclude_characters="\0"), max_size=3))


@given(paths)
def test_it_is_the_list_it_was_made_of(texts: list[str]) -> None:
    """By iteration, by place, by slice, taken apart and pickled, lone surrogates included."""
    packed = PackedPaths(iter(texts))
    assert len(packed) == len(texts)
    assert list(packed) == [packed[i] for i in range(len(texts))] == texts
    assert list(packed[1:3]) == texts[1:3]
    rows = np.arange(len(texts))[::-2]
    assert list(packed.take(rows)) == texts[::-1][::2]
    assert list(pickle.loads(pickle.dumps(packed.take(rows)))) == texts[::-1][::2]
    is_even = np.arange(len(texts)) % 2 == 0
    assert list(packed.take(is_even)) == texts[::2]


@given(st.sets(st.text(st.characters(codec=None), max_size=3)), st.data())
def test_find(texts: set[str], data: st.DataObject) -> None:
    """Every path is found in whatever order it is asked for, and no other."""
    ordered = sorted(texts)
    packed = PackedPaths(ordered)
    for text in data.draw(st.permutations(ordered)):
        assert packed.find(text) == ordered.index(text)
    other = data.draw(st.text(max_size=3))
    if other not in texts:
        with pytest.raises(KeyError):
            packed.find(other)


@given(names)
def test_members_are_sorted_and_the_last_of_a_name_stays(texts: list[str]) -> None:
    """As a dict would keep them."""
    packed, rows = sort_members(PackedPaths(texts), np.arange(len(texts)))
    expected = dict(sorted({text: row for row, text in enumerate(texts)}.items()))
    assert dict(zip(packed, rows.tolist(), strict=True)) == expected
    assert list(packed) == list(expected)
