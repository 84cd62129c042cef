"""Images that belong together across the split folders of a source."""

import numpy as np
import pytest

from schemas.shared.manifest import LeakRelation
from stages.images.image_table import ImageTable
from stages.prepare_dataset.groups import Groups
from stages.prepare_dataset.leaks import (
    RELATIONS,
    Mates,
    count_tested,
    find_leaked,
    find_leaks,
    handle_leaks,
)
from stages.prepare_dataset.split import UNUSED
from stages.shared.errors import InputError
from tests.prepare_dataset.tables import groups_of, split_params, table_of

SPLITS = ("train", "train", "val", "test", "test", "train")
TOGETHER = [(0, 2), (2, 3), (1, 5)]


def table_and_groups() -> tuple[ImageTable, Groups]:
    """Return six images, of which 0, 2 and 3 belong together, and 1 and 5."""
    table = table_of([f"{split}/a/{i}.png" for i, split in enumerate(SPLITS)])
    return table, groups_of(table, TOGETHER)


def pairs_of(mates: Mates) -> list[tuple[int, int]]:
    return list(zip(mates.rows.tolist(), mates.mates.tolist(), strict=True))


def relations_of(mates: Mates) -> list[LeakRelation]:
    return [RELATIONS[code] for code in mates.relations]


def test_leaks_are_those_further_from_the_test() -> None:
    """The image in test stays; its twins in val and train leak. Twins in one folder do not."""
    assert pairs_of(find_leaks(*table_and_groups())) == [(0, 3), (2, 3)]


def test_the_first_of_several_twins_is_named() -> None:
    """Of two twins in test, the one that comes first."""
    table = table_of([f"{split}/a/{i}.png" for i, split in enumerate(SPLITS)])
    assert pairs_of(find_leaks(table, groups_of(table, [(0, 4), (3, 4)]))) == [(0, 3)]


def test_a_copy_is_named_before_a_near_duplicate_and_that_before_a_group() -> None:
    """Whatever comes first: the mate is the one that says most."""
    table = table_of(
        ["train/a/0.png", "train/a/1.png", "train/a/2.png", *(f"test/a/{i}.png" for i in range(4))]
    )
    groups = groups_of(table, [(0, 3), (1, 3), (2, 3)], near=[(0, 4), (1, 4), (4, 6)], copies=[(0, 5)])
    leaks = find_leaks(table, groups)
    assert pairs_of(leaks) == [(0, 5), (1, 4), (2, 3)]
    assert relations_of(leaks) == ["copy", "near_duplicate", "group"]
    assert [leaks.describe(table, number) for number in range(3)] == [
        "is the same file as test/a/2.png",
        "looks like test/a/1.png",
        "belongs with test/a/0.png",
    ]


def test_copies_of_a_near_duplicate_are_near_duplicates() -> None:
    """Near pairs name the first copy of a file; what it looks like, its copies look like."""
    table = table_of(["train/a/0.png", "train/a/1.png", "test/a/0.png", "test/a/1.png"])
    leaks = find_leaks(table, groups_of(table, near=[(0, 2)], copies=[(0, 1), (2, 3)]))
    assert (pairs_of(leaks), relations_of(leaks)) == ([(0, 2), (1, 2)], ["near_duplicate"] * 2)


def test_images_that_are_left_out_leak_nothing() -> None:
    """A broken or excluded file is on no side."""
    table, groups = table_and_groups()
    assert pairs_of(find_leaks(table.leave_out({3: "blank"}, "audit"), groups)) == [(0, 2)]


def test_no_leaks_without_split_folders() -> None:
    """Where the source gives no splits, nothing can be on two sides."""
    table = table_of([f"a/{i}.png" for i in range(6)])
    assert pairs_of(find_leaks(table, groups_of(table, TOGETHER))) == []


def test_test_images_with_a_mate_in_training() -> None:
    """They are counted by what they share; those of val count for themselves, files not used for nobody."""
    table = table_of([f"a/{i}.png" for i in range(8)])
    groups = groups_of(table, [(2, 6)], copies=[(0, 4), (0, 3)], near=[(1, 5)])
    splits = np.array([0, 1, 0, 1, 2, 2, 2, 2], dtype=np.int8)
    leaked = find_leaked(groups, splits)
    assert pairs_of(leaked) == [(3, 0), (4, 0), (5, 1), (6, 2)]
    counts = count_tested(leaked, splits)
    assert counts == {"copy": 1, "near_duplicate": 1, "group": 1}
    splits[0] = UNUSED
    assert pairs_of(find_leaked(groups, splits)) == [(4, 3), (5, 1), (6, 2)]


@pytest.mark.parametrize(("policy", "left_out"), [("ignore", []), ("warn", []), ("exclude", [0, 2])])
def test_policies(policy: str, left_out: list[int]) -> None:
    """Kept, or left out with the reason."""
    table, groups = table_and_groups()
    kept = handle_leaks(table, find_leaks(table, groups), split_params(leaks=policy))
    assert np.flatnonzero(kept.has_status("leak")).tolist() == left_out
    assert kept.has_status("decoded").sum() == 6 - len(left_out)
    assert all(kept.reason[row] == "belongs with test/a/3.png" for row in left_out)
    assert table.has_status("decoded").all(), "the table that was given is unchanged"


def test_error_names_the_first_few() -> None:
    """A thousand leaks are told in eleven lines, each with what to do."""
    table = table_of([f"{split}/a/{i}" for i in range(1000) for split in ("train", "test")])
    groups = groups_of(table, [(row, row + 1) for row in range(0, 2000, 2)])
    with pytest.raises(InputError) as caught:
        handle_leaks(table, find_leaks(table, groups), split_params(leaks="error"))
    lines = str(caught.value).split("\n")
    assert len(lines) == 11
    assert lines[0] == (
        "train/a/0: belongs with test/a/0, which is in another split; "
        "keep one of them, or set split.leaks: exclude or warn"
    )
    assert lines[-1].startswith("990 more that belong with an image in another split; ")
