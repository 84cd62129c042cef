"""What stays together: groups by name, copies, near duplicates, and all of them joined."""

from collections.abc import Sequence

import numpy as np
import pytest
from stages.prepare_dataset.fingerprint import MEASURED, Measured

from schemas.prepare_dataset.split import Split
from stages.prepare_dataset.duplicates import join_pairs
from stages.prepare_dataset.found_images import FoundImage
from stages.prepare_dataset.split import draw_side, split_images
from stages.prepare_dataset.units import Units, find_groups, join_units, refuse_group_without_use
from stages.shared.errors import InputError
from tests.prepare_dataset.samples import details_of, found, in_columns, split_params

PATHS = ["cat/ann-1.png", "cat/ann-2.png", "dog/ann-3.png", "dog/bob-1.png", "dog/9.png"]


def distinct(num_images: int) -> Measured:
    """Return fingerprints of images that have nothing in common."""
    rows = np.zeros(num_images, dtype=MEASURED)
    generator = np.random.default_rng(num_images)
    rows["fingerprint"]["sha256"] = generator.integers(0, 256, (num_images, 32))
    rows["fingerprint"]["phash"] = generator.integers(0, 2**63, num_images)
    rows["details"]["shape"] = generator.integers(-30, 31, (num_images, 64))
    return rows


def join(images: Sequence[FoundImage], rows: Measured, split: Split) -> Units:
    return join_units(images, rows["fingerprint"], details_of(rows), split)


@pytest.mark.parametrize(
    ("pattern", "groups"),
    [
        ("none", [None] * 5),
        ("[a-z]+-", ["ann-", "ann-", "ann-", "bob-", None]),
        (r"/([a-z]+)-\d", ["ann", "ann", "ann", "bob", None]),
        (r"^(\w+)/([a-z]*)", ["cat\0ann", "cat\0ann", "dog\0ann", "dog\0bob", "dog\0"]),
        ("^(c)?", ["c", "c", "", "", ""]),
    ],
)
def test_groups(pattern: str, groups: list[str | None]) -> None:
    """The text that is found is the group, or what the parentheses hold; a path without it has no group."""
    assert list(find_groups([found(path) for path in PATHS], split_params(group=pattern))) == groups


@pytest.mark.parametrize(
    ("pattern", "found_text"),
    [("zebra", "finds nothing in any path"), (".+", "finds another text in each path")],
)
def test_pattern_of_no_use(pattern: str, found_text: str) -> None:
    """A pattern that joins nothing is a mistake, told with a path to look at."""
    with pytest.raises(InputError, match=rf"^split.group: .*{found_text}, as in cat/ann-1.png; "):
        refuse_group_without_use([found(path) for path in PATHS], split_params(group=pattern))


def test_groups_may_lose_all_but_one_image() -> None:
    """As when the others cannot be decoded: what is left stands alone, and nothing is refused."""
    images = [found(path) for path in ("cat/ann-1.png", "cat/bob-1.png")]
    assert find_groups(images, split_params(group=r"(\w+)-")).pair().tolist() == []


def test_units_join_groups_copies_and_near_duplicates() -> None:
    """A chain of all three kinds is one unit."""
    rows = distinct(6)
    rows["fingerprint"]["sha256"][3] = rows["fingerprint"]["sha256"][1]
    rows["fingerprint"]["phash"][5] = rows["fingerprint"]["phash"][3] ^ np.uint64(1)
    rows["details"]["shape"][5] = rows["details"]["shape"][3]
    images = [found(path) for path in (*PATHS, "dog/x.png")]
    rows["fingerprint"]["phash"][1], rows["details"]["shape"][1] = (
        rows["fingerprint"]["phash"][3],
        rows["details"]["shape"][3],
    )
    units = join(images, rows, split_params(group=r"/([a-z]+)-", near_duplicate_bits=2))
    assert units.first.tolist() == [0, 0, 0, 0, 4, 0]
    assert units.copies.tolist() == [[1, 3]]
    assert units.near.tolist() == [[1, 5]]
    assert units.members == {0: [0, 1, 2, 3, 5]}


def test_near_duplicates_can_be_left_alone() -> None:
    """With `none` only copies of a file stay together."""
    rows = distinct(3)
    rows["fingerprint"]["phash"][:], rows["details"]["shape"][:] = (
        rows["fingerprint"]["phash"][0],
        rows["details"]["shape"][0],
    )
    images = [found(path) for path in PATHS[:3]]
    assert join(images, rows, split_params()).first.tolist() == [0, 1, 2]
    assert join(images, rows, split_params(near_duplicate_bits=0)).first.tolist() == [0, 0, 0]


def test_units_of_some_images() -> None:
    """What a removed image joined stays joined, under its first remaining image."""
    pairs = np.array([[0, 2], [2, 4], [1, 3]])
    units = Units(join_pairs(5, pairs), list("abcde"), pairs[:1], pairs[1:])
    some = units.of(np.array([False, True, True, True, True]))
    assert some.first.tolist() == [0, 1, 0, 1]
    assert list(some.keys) == ["b", "c", "d", "e"]
    assert some.copies.tolist() == []
    assert some.near.tolist() == [[1, 3], [0, 2]]


def test_renaming_moves_no_image() -> None:
    """The side is drawn by the file's bytes: other names, in another order, change nothing."""
    rows = distinct(60)
    images = [found(f"{'ab'[i % 2]}/{i}.png") for i in range(60)]
    renamed = [found(f"{'ab'[i % 2]}/new-{i}.png") for i in reversed(range(60))]
    split = split_params()
    sides = [
        split_images(
            in_columns(some), join(some, order, split), split, classes="ab", given=frozenset()
        ).splits
        for some, order in ((images, rows), (renamed, rows[::-1].copy()))
    ]
    assert sides[0].tolist() == sides[1].tolist()[::-1]


def test_a_group_draws_by_its_name() -> None:
    """More images in a group, or a near duplicate of one of them, move none of it."""
    split = split_params(group=r"/([a-z]+)-")
    units = join([found(path) for path in PATHS], distinct(5), split)
    assert list(units.keys)[:4] == ["group ann", "group ann", "group ann", "group bob"]
    assert units.keys[4].startswith("file ")
    assert draw_side("group ann", split, given=frozenset()) in ("train", "val", "test")
