"""Images that belong together across the split folders of a source."""

import numpy as np
import pytest

from stages.images.image_table import ImageTable
from stages.prepare_dataset.groups import Groups
from stages.prepare_dataset.leaks import find_leaks, handle_leaks
from stages.shared.errors import InputError
from tests.prepare_dataset.tables import groups_of, split_params, table_of

SPLITS = ("train", "train", "val", "test", "test", "train")
TOGETHER = [(0, 2), (2, 3), (1, 5)]


def table_and_groups() -> tuple[ImageTable, Groups]:
    """Return six images, of which 0, 2 and 3 belong together, and 1 and 5."""
    table = table_of([f"{split}/a/{i}.png" for i, split in enumerate(SPLITS)])
    return table, groups_of(table, TOGETHER)


def test_leaks_are_those_further_from_the_test() -> None:
    """The image in test stays; its twins in val and train leak. Twins in one folder do not."""
    assert find_leaks(*table_and_groups()).tolist() == [[0, 3], [2, 3]]


def test_the_first_of_several_twins_is_named() -> None:
    """Of two twins in test, the one that comes first."""
    table = table_of([f"{split}/a/{i}.png" for i, split in enumerate(SPLITS)])
    assert find_leaks(table, groups_of(table, [(0, 4), (3, 4)])).tolist() == [[0, 3]]


def test_no_leaks_without_split_folders() -> None:
    """Where the source gives no splits, nothing can be on two sides."""
    table = table_of([f"a/{i}.png" for i in range(6)])
    assert find_leaks(table, groups_of(table, TOGETHER)).tolist() == []


@pytest.mark.parametrize(
    ("policy", "printed", "left_out"),
    [("ignore", 0, []), ("warn", 2, []), ("exclude", 2, [0, 2])],
)
def test_policies(policy: str, printed: int, left_out: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    """Ignored in silence, told, or told and left out with the reason."""
    table, groups = table_and_groups()
    kept = handle_leaks(table, find_leaks(table, groups), split_params(leaks=policy))
    assert np.flatnonzero(kept.has_status("leak")).tolist() == left_out
    assert kept.has_status("decoded").sum() == 6 - len(left_out)
    assert all(kept.reason[row] == "belongs with test/a/3.png" for row in left_out)
    assert table.has_status("decoded").all(), "the table that was given is unchanged"
    assert len(capsys.readouterr().out.splitlines()) == printed


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
