"""Images that belong together across the split folders of a source."""

import numpy as np
import pytest

from schemas.shared.manifest import SplitName
from stages.prepare_dataset.duplicates import join_pairs
from stages.prepare_dataset.found_images import FoundImage
from stages.prepare_dataset.leaks import Leak, find_leaks, take_out_leaks
from stages.prepare_dataset.units import Units
from stages.shared.errors import InputError
from tests.prepare_dataset.samples import found, split_params

SPLITS: tuple[SplitName, ...] = ("train", "train", "val", "test", "test", "train")


def images_and_units() -> tuple[list[FoundImage], Units]:
    """Return six images, of which 0, 2 and 3 belong together, and 1 and 5."""
    images = [FoundImage(f"{split}/a/{i}.png", "", "a", split) for i, split in enumerate(SPLITS)]
    pairs = np.array([[0, 2], [2, 3], [1, 5]])
    return images, Units(join_pairs(6, pairs), [str(i) for i in range(6)], pairs, pairs[:0])


def test_leaks_are_those_further_from_the_test() -> None:
    """The image in test stays; its twins in val and train leak. Twins in one folder do not."""
    assert find_leaks(*images_and_units()) == [Leak(0, 3), Leak(2, 3)]


def test_no_leaks_without_split_folders() -> None:
    """Where all is carved, nothing can stand on two sides."""
    units = images_and_units()[1]
    assert find_leaks([found(f"a/{i}.png") for i in range(6)], units) == []


@pytest.mark.parametrize(
    ("policy", "printed", "left_out"),
    [("ignore", 0, []), ("warn", 2, []), ("exclude", 2, [0, 2])],
)
def test_policies(policy: str, printed: int, left_out: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    """Ignored in silence, told, or told and left out with the reason."""
    images, units = images_and_units()
    taken = take_out_leaks(find_leaks(images, units), images, split_params(leaks=policy), source="raw")
    assert list(taken) == left_out
    assert all(reason == ("leak", "belongs with test/a/3.png") for reason in taken.values())
    assert len(capsys.readouterr().out.splitlines()) == printed


def test_error_names_the_first_few() -> None:
    """A thousand leaks are told in eleven lines, each with what to do."""
    images = [FoundImage(f"{split}/{i}", "", "a", split) for i in range(1000) for split in SPLITS[1:4:2]]
    pairs = np.arange(2000).reshape(-1, 2)
    units = Units(join_pairs(2000, pairs), [""] * 2000, pairs, pairs[:0])
    with pytest.raises(InputError) as caught:
        take_out_leaks(find_leaks(images, units), images, split_params(leaks="error"), source="raw")
    lines = str(caught.value).split("\n")
    assert len(lines) == 11
    assert lines[0] == (
        "raw/train/0: belongs with test/0, which stands in another split; "
        "keep one of them, or set split.leaks: exclude or warn"
    )
    assert lines[-1].startswith("raw: 990 more that belong with an image in another split; ")
