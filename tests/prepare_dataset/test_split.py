"""Every class in every split, shares on average, nothing that belongs together apart, nothing that moves."""

from collections import Counter
from collections.abc import Iterable, Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.prepare_dataset.split import Split
from schemas.shared.manifest import SPLIT_NAMES, SplitName
from stages.prepare_dataset.duplicates import join_pairs
from stages.prepare_dataset.found_images import FoundImage
from stages.prepare_dataset.split import Division, draw_side, refuse_small_classes, split_images
from stages.prepare_dataset.units import Units
from stages.shared.errors import InputError
from tests.prepare_dataset.samples import found, in_columns, split_params

ONE_GIVEN: frozenset[SplitName] = frozenset(("train", "test"))
ALL_GIVEN: frozenset[SplitName] = frozenset(SPLIT_NAMES)

sizes = st.lists(st.integers(3, 40), min_size=2, max_size=4)
fractions = st.tuples(st.floats(0.01, 0.97), st.floats(0.01, 0.97)).filter(lambda pair: sum(pair) < 0.99)


def images_of(sizes: Sequence[int]) -> list[FoundImage]:
    """Return so many images of classes a, b, c, ..."""
    return [found(f"{chr(97 + j)}/{i}.png") for j, size in enumerate(sizes) for i in range(size)]


def given_image(split: SplitName, label: str, number: int = 0) -> FoundImage:
    path = f"{split}/{label}/{number}.png"
    return FoundImage(path=path, key=path, label=label, split=split)


def units_of(images: Sequence[FoundImage], together: Iterable[Sequence[str]] = ()) -> Units:
    """Return the units of images that all differ, but for those whose paths stand together."""
    row = {image.path: i for i, image in enumerate(images)}
    pairs = [(row[paths[0]], row[path]) for paths in together for path in paths[1:]]
    joined = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    none = joined[:0]
    return Units(join_pairs(len(images), joined), [f"file {image.path}" for image in images], none, none)


def divide(
    images: Sequence[FoundImage],
    val: float = 0.2,
    test: float = 0.2,
    *,
    seed: int = 0,
    given: frozenset[SplitName] = frozenset(),
    classes: Sequence[str] = (),
    together: Iterable[Sequence[str]] = (),
    folds: int = 1,
    fold: int = 0,
) -> dict[str, SplitName]:
    """Return the split of each path."""
    split = split_params(val_fraction=val, test_fraction=test, seed=seed, folds=folds, fold=fold)
    division = divide_units(images, units_of(images, together), split, given=given, classes=classes)
    return sides_of(images, division)


def divide_units(
    images: Sequence[FoundImage],
    units: Units,
    split: Split,
    *,
    given: frozenset[SplitName] = frozenset(),
    classes: Sequence[str] = (),
) -> Division:
    labels = classes or sorted({image.label for image in images})
    return split_images(in_columns(images, labels), units, split, classes=labels, given=given)


def sides_of(images: Sequence[FoundImage], division: Division) -> dict[str, SplitName]:
    """Return the split of each path."""
    return {
        image.path: SPLIT_NAMES[code] for image, code in zip(images, division.splits.tolist(), strict=True)
    }


def refusal(
    images: Sequence[FoundImage], *, given: frozenset[SplitName] = frozenset(), classes: Sequence[str] = ()
) -> list[str]:
    """Return the lines a source is refused with from its paths alone; after decoding it is refused too."""
    with pytest.raises(InputError):
        divide(images, given=given, classes=classes)
    columns = in_columns(images, classes)
    with pytest.raises(InputError) as caught:
        refuse_small_classes(columns, split_params(), classes=columns.classes, given=given)
    lines = str(caught.value).split("\n")
    assert all(line.startswith("dataset.source: ") and line.isprintable() for line in lines)
    return lines


def moved(before: dict[str, SplitName], after: dict[str, SplitName]) -> set[str]:
    """Return the paths that are in both and changed sides."""
    return {path for path in before.keys() & after.keys() if before[path] != after[path]}


@given(sizes, fractions)
def test_every_class_in_every_split(sizes: list[int], fractions: tuple[float, float]) -> None:
    """Three images of a class are enough for every split to have one."""
    assigned = divide(images_of(sizes), *fractions)
    counts = Counter((path[0], split) for path, split in assigned.items())
    assert all(counts[chr(97 + j), split] >= 1 for j in range(len(sizes)) for split in SPLIT_NAMES)


@pytest.mark.parametrize(("val", "test"), [(0.1, 0.2), (0.3, 0.3), (0.05, 0.6)])
def test_shares(val: float, test: float) -> None:
    """Each class meets its shares on average: 4,000 draws are within four standard deviations of them."""
    assigned = divide(images_of([4000, 4000]), val, test)
    for label in "ab":
        counts: Counter[str] = Counter(split for path, split in assigned.items() if path.startswith(label))
        for split, share in (("val", val), ("test", test)):
            assert abs(counts[split] - 4000 * share) < 4 * (4000 * share * (1 - share)) ** 0.5


@example(num_before=1, num_added=18, seed=7596)
@given(num_before=st.integers(1, 60), num_added=st.integers(0, 60), seed=st.integers(0, 2**32 - 1))
def test_adding_images_moves_none(num_before: int, num_added: int, seed: int) -> None:
    """Whatever is added to whatever class, every image that was there stays where it drew to be.

    Now and then 21 images draw nothing for a split (5 of 3,000 seeds): the one that fills it may move back.
    """
    split = split_params(seed=seed, test_fraction=0.3, val_fraction=0.3)
    images = images_of([20 + num_before, 25])
    units = units_of(images)
    before = sides_of(images, divide_units(images, units, split))
    after = divide(
        images_of([20 + num_before + num_added, 25 + num_added // 2, 30]), seed=seed, test=0.3, val=0.3
    )
    drawn = (draw_side(key, split, given=frozenset()) for key in units.keys)
    fills = {path for (path, side), own in zip(before.items(), drawn, strict=True) if side != own}
    assert moved(before, after) <= fills


@given(st.integers(3, 8), st.integers(1, 40))
def test_moves_to_fill_a_split_are_few(size: int, num_added: int) -> None:
    """A class that drew nothing for a split gets one image there; no more than that can ever move back."""
    images = images_of([size, 30])
    division = divide_units(images, units_of(images), split_params())
    larger = images_of([size + num_added, 30])
    after = divide(larger)
    before = sides_of(images, division)
    assert division.num_moved <= 2
    assert len(moved(before, after)) <= division.num_moved
    assert all(path.startswith("a/") for path in moved(before, after))


def test_number_of_moves_is_what_was_moved() -> None:
    """The number that is stated is that of the images that are not where they drew to be."""
    images = images_of([3, 200])
    split = split_params(val_fraction=0.01, test_fraction=0.01)
    units = units_of(images)
    division = divide_units(images, units, split)
    drawn = [draw_side(key, split, given=frozenset()) for key in units.keys]
    sides = sides_of(images, division).values()
    assert division.num_moved == sum(a != b for a, b in zip(sides, drawn, strict=True)) >= 2


@given(st.lists(st.integers(1, 6), min_size=8, max_size=20), st.integers(0, 2**32 - 1))
def test_what_belongs_together_is_never_divided(unit_sizes: list[int], seed: int) -> None:
    """Units of any number of images, of one class or of two, are on one side each."""
    images = images_of([sum(unit_sizes), 20])
    names = iter(image.path for image in images if image.label == "a")
    together = [[next(names) for _ in range(number)] for number in unit_sizes]
    together[0].append("b/0.png")
    assigned = divide(images, seed=seed, together=together)
    assert all(len({assigned[path] for path in unit}) == 1 for unit in together)


def test_class_of_one_unit() -> None:
    """Five copies of one picture cannot be divided, and the message says so."""
    images = images_of([5, 9])
    with pytest.raises(InputError) as caught:
        divide(images, together=[[f"a/{i}.png" for i in range(5)]])
    assert "class a: found 5 usable images that stay together in 1 unit (duplicates, groups)" in str(
        caught.value
    )
    assert "give it at least 3 that do not belong together" in str(caught.value)


@pytest.mark.parametrize("folds", [2, 5, 10])
def test_folds_test_every_image_once(folds: int) -> None:
    """The parts of a cross-validation are disjoint, together everything, and about equal."""
    images = images_of([400, 300])
    tests = [
        {path for path, split in divide(images, folds=folds, fold=fold).items() if split == "test"}
        for fold in range(folds)
    ]
    assert sum(map(len, tests)) == len(set.union(*tests)) == len(images)
    assert all(abs(len(part) - 700 / folds) < 4 * (700 / folds) ** 0.5 for part in tests)


def test_folds_validate_beside_a_given_test_split() -> None:
    """Where test is given, each part validates once, and test stays test."""
    images = [given_image("train", label, i) for label in "ab" for i in range(100)]
    images += [given_image("test", label, i) for label in "ab" for i in range(5)]
    assigned = [divide(images, folds=4, fold=fold, given=ONE_GIVEN) for fold in range(4)]
    vals = [{path for path, split in each.items() if split == "val"} for each in assigned]
    assert sum(map(len, vals)) == len(set.union(*vals)) == 200
    assert all(Counter(each.values())["test"] == 10 for each in assigned)


def test_folds_with_nothing_to_rotate() -> None:
    """Folds beside given val and test folders are refused."""
    images = [given_image(split, label) for split in SPLIT_NAMES for label in "ab"]
    with pytest.raises(InputError, match=r"split.folds: found 3, but the source has a folder for val"):
        divide(images, folds=3, given=ALL_GIVEN)


@given(sizes, st.randoms())
def test_order_does_not_matter(sizes: list[int], random: Random) -> None:
    """The split belongs to the file, not to its place in the list."""
    images = images_of(sizes)
    expected = divide(images)
    random.shuffle(images)
    assert divide(images) == expected


def test_classes_do_not_disturb_each_other() -> None:
    """More images of one class move none of another."""
    before, after = divide(images_of([20, 5])), divide(images_of([20, 50]))
    assert {path: before[path] for path in before if path[0] == "a"} == {
        path: after[path] for path in after if path[0] == "a"
    }


def test_seed() -> None:
    """A seed gives one split, another seed another."""
    images = images_of([30, 30])
    assert divide(images, seed=1) == divide(images, seed=1)
    assert divide(images, seed=1) != divide(images, seed=2)


def test_known_split() -> None:
    """The split is the same on every machine and in every later version."""
    assigned = divide(images_of([9, 8]))
    assert [path for path, split in assigned.items() if split == "test"] == ["a/0.png", "b/5.png"]
    assert [path for path, split in assigned.items() if split == "val"] == [
        "a/2.png",
        "b/1.png",
        "b/2.png",
        "b/7.png",
    ]


def test_another_test_fraction_keeps_what_tested() -> None:
    """A larger share adds to the test split and takes nothing out of it."""
    small, large = (divide(images_of([100, 100]), test=test) for test in (0.2, 0.4))
    assert {path for path in small if small[path] == "test"} < {
        path for path in large if large[path] == "test"
    }


def test_names_that_are_not_utf8() -> None:
    """Half a surrogate pair in a name is as good a name as any."""
    images = [found(f"{label}/{half}.png") for label in "ab" for half in ("\ud800", "\udce9", "\udfff")]
    assert set(divide(images).values()) == set(SPLIT_NAMES)


@given(st.integers(2, 30), st.integers(1, 5), fractions)
def test_given_splits_are_respected(num_train: int, num_test: int, fractions: tuple[float, float]) -> None:
    """A test folder is the test split, and only val is carved out of the images to train on."""
    images = [given_image("train", label, i) for label in "ab" for i in range(num_train)]
    images += [given_image("test", label, i) for label in "ab" for i in range(num_test)]
    assigned = divide(images, *fractions, given=ONE_GIVEN)
    assert {path for path, split in assigned.items() if split == "test"} == {
        image.path for image in images if image.split == "test"
    }
    for label in "ab":
        of_label = Counter(split for path, split in assigned.items() if path.split("/")[1] == label)
        assert (of_label["test"], of_label["train"] + of_label["val"]) == (num_test, num_train)
        assert min(of_label["train"], of_label["val"]) >= 1


@given(st.lists(st.tuples(st.sampled_from(SPLIT_NAMES), st.sampled_from("ab"))))
def test_nothing_is_carved_where_all_is_given(pairs: list[tuple[SplitName, str]]) -> None:
    """With three folders every image stays where it is."""
    one_of_each = [(split, label) for split in SPLIT_NAMES for label in "ab"]
    images = [given_image(split, label, i) for i, (split, label) in enumerate(one_of_each + pairs)]
    assert list(divide(images, given=ALL_GIVEN).values()) == [image.split for image in images]


@pytest.mark.parametrize(
    ("size", "found_images", "missing"),
    [(1, "1 usable image", "train and val"), (2, "2 usable images", "train")],
)
def test_class_too_small(size: int, found_images: str, missing: str) -> None:
    """A class of one or two images is refused by name, with the number it needs."""
    (line,) = refusal(images_of([5, size]))
    assert f"class b: found {found_images}, none left for {missing}" in line
    assert line.endswith("give it at least 3, or remove the class")


def test_class_without_images() -> None:
    """A class folder whose images are missing, or all undecodable, is refused by name."""
    (line,) = refusal(images_of([5, 5]), classes=("a", "b", "c"))
    assert "class c: found no usable images; put some into its folder" in line


@pytest.mark.parametrize(
    ("present", "missing", "advice"),
    [
        (("train", "val"), "test", "put more of it into test"),
        (("train", "test"), "val", "put more of it into val"),
        (("val", "test"), "train", "put more of it into train"),
        (("test",), "train and val", "put more of it into train and val"),
    ],
)
def test_class_missing_from_a_given_split(present: tuple[SplitName, ...], missing: str, advice: str) -> None:
    """A class that one split folder lacks is refused, and the folder named."""
    images = [given_image(split, "a") for split in SPLIT_NAMES]
    images += [given_image(split, "b") for split in present]
    (line,) = refusal(images, given=ALL_GIVEN)
    assert f"class b: found {len(present)} usable" in line
    assert f"none left for {missing}; " in line
    assert advice in line


def test_too_few_to_carve_from() -> None:
    """Where val is carved out of train, one image to train on is one too few."""
    images = [given_image(split, label) for split in ("train", "test") for label in "ab"]
    lines = refusal(images, given=ONE_GIVEN)
    assert len(lines) == 2
    assert "none left for train; " in lines[0]
    assert "put more of it into train" in lines[0]


def test_many_classes_too_small() -> None:
    """A thousand small classes are one mistake, not a thousand lines."""
    lines = refusal([found(f"{i:03}/1.png") for i in range(1000)])
    assert len(lines) == 11
    assert "990 more classes are missing from a split" in lines[-1]
