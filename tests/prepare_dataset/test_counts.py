"""What is printed about the prepared images."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from schemas.prepare_dataset.prepare_metrics import PrepareMetrics
from schemas.shared.manifest import FileRecord, ImageForm, Manifest, SplitCounts, SplitName
from stages.prepare_dataset.counts import print_summary
from stages.prepare_dataset.leaks import find_leaked
from stages.prepare_dataset.split import Assignment
from tests.prepare_dataset.tables import Pairs, groups_of, table_of

NAMES: tuple[SplitName, ...] = ("train", "val", "test")
FILE = FileRecord(name="x", num_bytes=1, sha256="0" * 64)


def summarize(
    counts: Mapping[str, tuple[int, int, int]],
    capsys: pytest.CaptureFixture[str],
    *,
    shares: Sequence[float] = (0.7, 0.1, 0.2),
    copies: Pairs = (),
    is_told: bool = True,
) -> str:
    """Return what is printed about so many images of each class in train, val and test."""
    paths, splits = [], []
    for label, of_class in counts.items():
        for code, number in enumerate(of_class):
            paths += [f"{label}/{code}-{i}.png" for i in range(number)]
            splits += [code] * number
    table = table_of(paths)
    groups, codes = groups_of(table, copies=copies), np.array(splits, dtype=np.int8)
    totals = np.bincount(codes, minlength=3).tolist()
    asked = {name: (totals[i], shares[i] * len(paths)) for i, name in enumerate(NAMES)}
    metrics = PrepareMetrics.model_validate(
        {
            **dict.fromkeys(PrepareMetrics.model_fields, 0),
            "num_classes": len(counts),
            **{f"num_{name}": total for name, total in zip(NAMES, totals, strict=True)},
            "imbalance": 1.0,
            "fingerprint": "0" * 16,
        }
    )
    manifest = Manifest(
        version=3,
        classes=tuple(counts),
        image=ImageForm(color="grayscale", height_px=1, width_px=1, resize="squish"),
        num_images=len(paths),
        counts=SplitCounts(
            **{name: tuple(each[i] for each in counts.values()) for i, name in enumerate(NAMES)}
        ),
        mean=(0.5,),
        std=(0.5,),
        image_shards=(FILE,),
        rows=FILE,
        labels=FILE,
        splits=FILE,
        index=FILE,
    )
    leaked = find_leaked(groups, codes) if is_told else None
    print_summary(metrics, manifest, groups, Assignment(codes, 0, asked), leaked)
    return capsys.readouterr().out


def test_classes_are_named_with_their_counts(capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that was taken for a class is seen at once; what no terminal shows is written out."""
    out = summarize({"ants": (70, 10, 20), "train\n": (700, 100, 200)}, capsys)
    assert "prepare-dataset: images of each class: ants: 100, train\\n: 1,000\n" in out
    assert "warning" not in out


def test_of_many_classes_the_largest_and_smallest_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A thousand classes are one line."""
    out = summarize({f"c{i:02}": (70 + i, 10, 20) for i in range(30)}, capsys)
    assert "images of the largest classes: c29: 129, c28: 128," in out
    assert "of the smallest: c04: 104, c03: 103, c02: 102, c01: 101, c00: 100\n" in out


@pytest.mark.parametrize(("num_train", "is_told"), [(140, False), (20, True)])
def test_shares_far_from_those_asked_for(
    num_train: int, is_told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training on a third of the images is not passed over."""
    out = summarize({"a": (num_train, 20, 40), "b": (num_train, 20, 40)}, capsys)
    told = "shares are far from those asked for: 25 % train (asked for: 70 %), 25 % val (asked for: 10 %)"
    assert (told in out) is is_told


def test_a_class_most_of_which_is_one_group(capsys: pytest.CaptureFixture[str]) -> None:
    """All shares are met, but not those of one class: it is named."""
    out = summarize({"a": (480, 2, 18), "b": (350, 50, 100), "c": (350, 50, 100)}, capsys)
    assert "warning: class a has 480 train, 2 val, 18 test: most of its images belong together" in out
    assert "shares are far" not in out


@pytest.mark.parametrize(
    ("num_test", "copies", "told"),
    [
        (100, (), ""),
        (98, (), "98 images: even if all are classified correctly, the accuracy may be as low as 96 %"),
        (2, (), "2 images: even if all are classified correctly, the accuracy may be as low as 16 %"),
        (100, [(24, row) for row in range(25, 74)], "100 images in 51 groups: even if all"),
        (100, [(24, row) for row in range(25, 74)], "as low as 39 %"),
    ],
)
def test_few_test_images(num_test: int, copies: Pairs, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A perfect result on two images proves next to nothing: the lower end of its interval is named."""
    counts = (20, 4, num_test // 2)
    out = summarize({"a": counts, "b": counts}, capsys, shares=(0.4, 0.1, 0.5), copies=copies)
    assert told in out if told else "warning: the test split has" not in out


@pytest.mark.parametrize("is_told", [True, False])
def test_test_images_known_from_training(is_told: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """They are counted, beside what to do, unless split.leaks says to ignore them."""
    out = summarize({"a": (70, 10, 120), "b": (70, 10, 120)}, capsys, shares=(0.35, 0.05, 0.6),
                    copies=[(0, 80), (0, 81)], is_told=is_told)  # fmt: skip
    assert ("warning: 2 of 240 test images have a copy in training or validation; " in out) is is_told
