"""What stays together: groups by name, copies, near duplicates, and all of them joined."""

import signal
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from schemas.prepare_dataset.split import Split
from stages.images.image_table import ImageTable
from stages.prepare_dataset import groups
from stages.prepare_dataset.groups import Groups, join_groups
from stages.prepare_dataset.split import split_images
from stages.shared.errors import InputError
from tests.prepare_dataset.tables import concatenate, groups_of, other_files, split_params, table_of, texts

PATHS = ["cat/ann-1.png", "cat/ann-2.png", "dog/ann-3.png", "dog/bob-1.png", "dog/9.png"]


def join(table: ImageTable, split: Split, *, wrapper: str = "") -> Groups:
    return join_groups(table, split, wrapper=wrapper)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        (None, [None] * 5),
        ("[a-z]+-", ["ann-", "ann-", "ann-", "bob-", None]),
        (r"/([a-z]+)-\d", ["ann", "ann", "ann", "bob", None]),
        (r"^(\w+)/([a-z]*)", ["cat\0ann", "cat\0ann", "dog\0ann", "dog\0bob", "dog\0"]),
        ("^(c)?", ["c", "c", "", "", ""]),
    ],
)
def test_names(pattern: str | None, names: list[str | None]) -> None:
    """The text that is found is the group, or what the parentheses hold; a path without it has no group."""
    assert join(table_of(PATHS), split_params(group=pattern)).names.tolist() == names


def test_a_pattern_does_not_see_what_wraps_everything() -> None:
    """A folder and an archive of it have the same groups."""
    wrapped = table_of([f"top/{path}" for path in PATHS])
    groups = join(wrapped, split_params(group="^(c)?"), wrapper="top/")
    assert groups.names.tolist() == ["c", "c", "", "", ""]


@pytest.mark.parametrize(
    ("pattern", "found_text"),
    [("zebra", "finds nothing in any path"), (".+", "finds another text in each path")],
)
def test_pattern_of_no_use(pattern: str, found_text: str) -> None:
    """A pattern that joins nothing is a mistake, told with a path to look at."""
    with pytest.raises(InputError, match=rf"^split.group: .*{found_text}, as in cat/ann-1.png; "):
        join(table_of(PATHS), split_params(group=pattern))


@pytest.mark.timeout(30)
def test_a_pattern_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is stopped, with the key, the pattern and the path it was at, and no alarm is left behind."""
    monkeypatch.setattr(groups, "_SEARCH_SECONDS", 0.2)
    before = signal.getsignal(signal.SIGVTALRM)
    endless = f"cat/{'a' * 40}.png"
    with pytest.raises(
        InputError, match=rf"^split.group: \(a\+\)\+_c: takes more than .*at {endless}; write"
    ):
        join(table_of([*PATHS, endless]), split_params(group="(a+)+_c"))
    assert signal.getsignal(signal.SIGVTALRM) is before
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)


def test_a_pattern_that_re_cannot_read() -> None:
    """Thousands of brackets are no traceback."""
    with pytest.raises(ValidationError, match="invalid: maximum recursion depth exceeded"):
        split_params(group="(" * 2000 + ")" * 2000)


def test_groups_may_lose_all_but_one_image() -> None:
    """As when the others cannot be decoded: what is left stands alone, and the pattern is not refused."""
    table = concatenate(
        table_of(["cat/ann-1.png", "cat/bob-1.png"], classes=("cat",)),
        other_files(["cat/ann-2.png"], "undecodable", reason="cut", label=0),
    )
    groups = join(table, split_params(group=r"(\w+)-"))
    assert groups.names.tolist() == ["ann", "ann", "bob"]
    assert groups.sizes.tolist() == [1, 1, 1]


def test_a_column_of_the_table_of_labels_joins() -> None:
    """Images with one text in the column stay together; those without a text stand alone."""
    table = table_of(PATHS, group=texts(["x", "", "x", "y", ""]))
    assert join(table, split_params(group="column")).first.tolist() == [0, 1, 0, 3, 4]


def test_a_column_that_is_not_used_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A column group is not ignored in silence."""
    join(table_of(PATHS, group=texts(["x", "", "x", "y", ""])), split_params())
    assert "the table's column group is not used: set split.group: column" in capsys.readouterr().out


def test_a_column_that_is_missing_is_refused() -> None:
    """Nothing says what belongs together."""
    with pytest.raises(InputError, match=r"^split.group: column: found no groups; "):
        join(table_of(PATHS), split_params(group="column"))


def make_alike(table: ImageTable, row: int, other: int, *, bits: int = 0) -> None:
    """Make an image look like another one."""
    table.phash[row] = table.phash[other] ^ np.uint64(bits)
    table.frequencies[row] = table.frequencies[other]


def test_names_copies_and_near_duplicates_are_joined() -> None:
    """A chain of all three kinds is one group."""
    table = table_of([*PATHS, "dog/x.png"])
    table.sha256[3] = table.sha256[1]
    make_alike(table, 3, 1)
    make_alike(table, 5, 1, bits=1)
    groups = join(table, split_params(group=r"/([a-z]+)-", near_duplicate_bits=2))
    assert groups.first.tolist() == [0, 0, 0, 0, 4, 0]
    assert groups.copies.tolist() == [[1, 3]]
    assert groups.near.tolist() == [[1, 5]]
    assert groups.sizes.tolist() == [5, 5, 5, 5, 1, 5]


def test_near_duplicates_can_be_left_alone() -> None:
    """With null only copies of a file stay together."""
    table = table_of(PATHS[:3])
    make_alike(table, 1, 0)
    make_alike(table, 2, 0)
    assert join(table, split_params()).first.tolist() == [0, 1, 2]
    assert join(table, split_params(near_duplicate_bits=0)).first.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("pairs", "pattern", "ties", "advice"),
    [
        (
            {"near": [(0, 1), (1, 2)]},
            None,
            "near duplicates",
            "set split.near_duplicate_bits lower or to null",
        ),
        ({"copies": [(0, 1), (0, 2)]}, None, "copies of a file", "remove images that belong together"),
        ({}, "^cat|^dog", "split.group", "write another split.group"),
    ],
)
def test_a_group_is_described(
    pairs: dict[str, list[tuple[int, int]]], pattern: str | None, ties: str, advice: str
) -> None:
    """By size, example, what joins it, and what would divide it."""
    table = table_of(PATHS)
    names = join(table, split_params(group=pattern)).names
    rows = [row for row in range(5) if names[row] == names[0] and pattern] or [0, 1, 2]
    text = replace(groups_of(table, **pairs), names=names).describe(table, rows)
    assert (
        f"{len(rows)} images, such as cat/ann-1.png and {PATHS[rows[-1]]}, stand together as one group"
        in text
    )
    assert f"joined by {ties}, and" in text
    assert text.partition("; ")[2].startswith(advice)


@pytest.mark.parametrize(
    ("num_alike", "step", "joined", "is_told"), [(30, 2, 30, False), (31, 2, 1, True), (31, 0, 31, False)]
)
def test_auto_takes_fewer_bits_where_a_class_is_one_chain(
    num_alike: int, step: int, joined: int, is_told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """8 bits, but 2 where more than half of a class would be a chain of images most of which differ.

    Each is 4 bits from the next one, and 12 from those further on; a film that stands still is no chain.
    """
    table = table_of([f"{label}/{i}.png" for label in "ab" for i in range(60)])
    for row in range(1, num_alike):
        turned = 0b111111 << step * row
        make_alike(table, row, 0, bits=(turned | turned >> 64) & (1 << 64) - 1)
    groups = join(table, split_params(near_duplicate_bits="auto"))
    assert groups.sizes.max() == joined
    assert ("31 of the 60 images of one class would be one chain" in capsys.readouterr().out) is is_told


def test_renaming_moves_no_image() -> None:
    """The split is a function of the file's bytes: other names, in another order, change nothing."""
    table = table_of([f"{'ab'[i % 2]}/{i}.png" for i in range(60)])
    names = texts([f"{'ab'[i % 2]}/new-{i}.png" for i in range(60)])
    renamed = table.with_columns(path=names).take(np.arange(60)[::-1])
    split = split_params()
    splits = [
        split_images(
            some, join(some, split), split, classes=("a", "b"), kept=np.arange(2), given=()
        ).splits.tolist()
        for some in (table, renamed)
    ]
    assert splits[0] == splits[1][::-1]


def test_the_split_of_a_named_group_is_a_function_of_its_name() -> None:
    """More images in a group, or a near duplicate of one of them, move none of it."""
    table = table_of(PATHS)
    groups = join(table, split_params(group=r"/([a-z]+)-"))
    keys = [groups.key(table, row) for row in range(5)]
    assert keys[:4] == ["group ann", "group ann", "group ann", "group bob"]
    assert keys[4] == f"file {table.sha256[4].tobytes().hex()}"
