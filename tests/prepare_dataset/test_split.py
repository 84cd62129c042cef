"""Every class in every split, shares to the image, nothing that belongs together apart, few that move."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from hashlib import sha256
from random import Random

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.prepare_dataset.split import Split
from schemas.shared.manifest import SPLIT_NAMES, SplitName
from stages.images.image_table import ImageTable
from stages.prepare_dataset.groups import Groups
from stages.prepare_dataset.split import Assignment, split_images
from stages.shared.errors import InputError
from tests.prepare_dataset.tables import classes_of, groups_of, split_params, table_of

ONE_GIVEN: frozenset[SplitName] = frozenset(("train", "test"))
ALL_GIVEN: frozenset[SplitName] = frozenset(SPLIT_NAMES)

sizes = st.lists(st.integers(3, 40), min_size=2, max_size=4)
fractions = st.tuples(st.floats(0.01, 0.97), st.floats(0.01, 0.97)).filter(lambda pair: sum(pair) < 0.99)


def paths_of(sizes: Sequence[int]) -> list[str]:
    """Return the paths of so many images of classes a, b, c, ..."""
    return [f"{chr(97 + j)}/{i}.png" for j, size in enumerate(sizes) for i in range(size)]


def given_path(split: SplitName, label: str, number: int = 0) -> str:
    return f"{split}/{label}/{number}.png"


def tabulate(
    paths: Sequence[str], together: Iterable[Sequence[str]] = (), *, classes: Sequence[str] = ()
) -> tuple[ImageTable, Groups]:
    """Return images that all differ, and groups of those whose paths are named together."""
    table = table_of(paths, classes=classes)
    row = {path: i for i, path in enumerate(paths)}
    return table, groups_of(table, [(row[some[0]], row[path]) for some in together for path in some[1:]])


def assign(
    table: ImageTable,
    groups: Groups,
    split: Split,
    *,
    given: Collection[SplitName] = (),
    classes: Sequence[str] = (),
) -> Assignment:
    classes = classes or classes_of(table.path.tolist())
    return split_images(table, groups, split, classes=classes, kept=np.arange(len(classes)), given=given)


def divide(
    paths: Sequence[str],
    val: float = 0.2,
    test: float = 0.2,
    *,
    seed: int = 0,
    given: Collection[SplitName] = (),
    classes: Sequence[str] = (),
    together: Iterable[Sequence[str]] = (),
    folds: int = 1,
    fold: int = 0,
) -> dict[str, SplitName]:
    """Return the split of each path."""
    split = split_params(val_fraction=val, test_fraction=test, seed=seed, folds=folds, fold=fold)
    table, groups = tabulate(paths, together, classes=classes)
    return splits_of(paths, assign(table, groups, split, given=given, classes=classes))


def splits_of(paths: Sequence[str], assignment: Assignment) -> dict[str, SplitName]:
    """Return the split of each path."""
    return {path: SPLIT_NAMES[code] for path, code in zip(paths, assignment.splits.tolist(), strict=True)}


def refusal(
    paths: Sequence[str], *, given: Collection[SplitName] = (), classes: Sequence[str] = ()
) -> list[str]:
    """Return the lines a source is refused with."""
    with pytest.raises(InputError) as caught:
        divide(paths, given=given, classes=classes)
    lines = str(caught.value).split("\n")
    assert all(line.startswith("dataset.source: ") and line.isprintable() for line in lines)
    return lines


def hash_of(path: str) -> int:
    return int.from_bytes(sha256(path.encode()).digest()[:4], "big")


def moved(before: dict[str, SplitName], after: dict[str, SplitName]) -> set[str]:
    """Return the paths that are in both and changed splits."""
    return {path for path in before.keys() & after.keys() if before[path] != after[path]}


@given(sizes, fractions)
def test_every_class_in_every_split(sizes: list[int], fractions: tuple[float, float]) -> None:
    """Three images of a class are enough for every split to have one."""
    assigned = divide(paths_of(sizes), *fractions)
    counts = Counter((path[0], split) for path, split in assigned.items())
    assert all(counts[chr(97 + j), split] >= 1 for j in range(len(sizes)) for split in SPLIT_NAMES)


@given(sizes, fractions, st.integers(0, 2**32 - 1))
def test_shares_to_the_image(sizes: list[int], fractions: tuple[float, float], seed: int) -> None:
    """Of every class a held-out split gets its share, rounded up or down, and one image at least."""
    val, test = fractions
    assume(min(sizes) * (1 - val - test) >= 2)  # else an image of them has to train
    assigned = divide(paths_of(sizes), val, test, seed=seed)
    counts = Counter((path[0], split) for path, split in assigned.items())
    for label, size in zip("abcd", sizes, strict=False):
        assert abs(counts[label, "test"] - size * test) < 1 or counts[label, "test"] == 1
        # What test was given beyond its share, to have one, may be missing elsewhere.
        assert abs(counts[label, "val"] - size * val) < 2 or counts[label, "val"] == 1


def test_rounding_evens_out() -> None:
    """A hundred classes of 12 hold out 20 % and 10 %, though no class can: rounding falls to either side."""
    assigned = Counter(divide([f"{i:03}/{j}.png" for i in range(100) for j in range(12)], 0.1, 0.2).values())
    assert abs(assigned["test"] - 240) < 20
    assert abs(assigned["val"] - 120) < 20


@given(
    num_before=st.integers(20, 200),
    num_added=st.integers(0, 60),
    seed=st.integers(0, 2**32 - 1),
)
def test_adding_images_moves_few(num_before: int, num_added: int, seed: int) -> None:
    """Far fewer images move than are added: each held-out split is still the first of its order.

    Of m images that are added about m * share land in a split, give or take their standard deviation, and as
    many as are too many or too few change sides: of the second split those, and what the first one took.
    """
    before = divide(paths_of([num_before, 25]), seed=seed)
    after = divide(paths_of([num_before + num_added, 25]), seed=seed)
    changed = moved(before, after)
    assert all(path.startswith("a/") for path in changed), "classes do not disturb each other"
    deviation = (num_added * 0.2 * 0.8) ** 0.5
    assert len(changed) <= 3 * (1 + 4 * deviation)


def test_removing_images_moves_few() -> None:
    """A hundred of a thousand images less, and about as many change sides as chance would let differ."""
    before = divide(paths_of([1000, 25]))
    paths = [path for path in before if hash_of(path) % 10 or path[0] == "b"]
    assert len(moved(before, divide(paths))) < 30


def test_number_of_moves_is_what_was_moved() -> None:
    """A split that only large groups could fill gets the smallest one, which is counted."""
    paths = paths_of([12, 60])
    together = [[f"a/{i}.png" for i in range(4 * j, 4 * j + 4)] for j in range(3)]
    table, groups = tabulate(paths, together)
    assignment = assign(table, groups, split_params(val_fraction=0.1))
    counts = Counter(splits_of(paths, assignment)[f"a/{i}.png"] for i in range(12))
    assert (set(counts.values()), assignment.num_moved) == ({4}, 8)


@given(st.lists(st.integers(1, 6), min_size=8, max_size=20), st.integers(0, 2**32 - 1))
def test_what_belongs_together_is_never_divided(group_sizes: list[int], seed: int) -> None:
    """Groups of any number of images, of one class or of two, are in one split each."""
    paths = paths_of([sum(group_sizes), 20])
    names = iter(path for path in paths if path[0] == "a")
    together = [[next(names) for _ in range(number)] for number in group_sizes]
    together[0].append("b/0.png")
    assigned = divide(paths, seed=seed, together=together)
    assert all(len({assigned[path] for path in group}) == 1 for group in together)


def test_class_of_one_group() -> None:
    """Five copies of one picture cannot be divided, and the message says so."""
    paths = paths_of([5, 9])
    with pytest.raises(InputError) as caught:
        divide(paths, together=[[f"a/{i}.png" for i in range(5)]])
    assert "class a: found 5 usable images that stay together in 1 group, by " in str(caught.value)
    assert "give it at least 3 that do not belong together" in str(caught.value)


@given(st.lists(st.integers(1, 9), min_size=10, max_size=40), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_folds_test_every_image_once(group_sizes: list[int], folds: int, seed: int) -> None:
    """Whatever the groups, each image tests in exactly one fold, and each fold has every class."""
    paths = paths_of([sum(group_sizes), 20])
    names = iter(paths)
    together = [[next(names) for _ in range(number)] for number in group_sizes]
    tested: list[str] = []
    for fold in range(folds):
        assigned = divide(paths, 0.1, seed=seed, folds=folds, fold=fold, together=together)
        part = [path for path, split in assigned.items() if split == "test"]
        assert {path[0] for path in part} == {"a", "b"}
        tested += part
    assert sorted(tested) == sorted(paths)


@given(st.lists(st.integers(6, 40), min_size=2, max_size=4), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_folds_are_equal(sizes: list[int], folds: int, seed: int) -> None:
    """The folds of a class of single images differ by one image at most."""
    tested: Counter[tuple[str, int]] = Counter()
    for fold in range(folds):
        for path, split in divide(paths_of(sizes), 0.1, seed=seed, folds=folds, fold=fold).items():
            tested[path[0], fold] += split == "test"
    for label in "abcd"[: len(sizes)]:
        counts = [tested[label, fold] for fold in range(folds)]
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("fold", range(5))
def test_class_of_fewer_images_than_folds(fold: int) -> None:
    """Its images would have to test twice, so all folds are refused, each with the same line."""
    with pytest.raises(InputError) as caught:
        divide(paths_of([4, 20]), folds=5, fold=fold)
    assert str(caught.value).startswith(
        "split.folds: found 5, but class a reaches 4 of the folds, with 4 images;"
    )


def test_a_group_that_starves_the_splits_is_refused() -> None:
    """With less than half of its share left for a split: named by size and what joins it, with what to do."""
    paths = paths_of([50, 50])
    table = table_of(paths)
    row = {path: i for i, path in enumerate(paths)}
    chain = [(i, i + 1) for i in range(45)] + [(45, row["b/0.png"])]
    chain += [(row["b/0.png"] + i, row["b/0.png"] + i + 1) for i in range(45)]
    with pytest.raises(InputError) as caught:
        assign(table, groups_of(table, near=chain), split_params())
    assert str(caught.value) == (
        "split: val would have 2 images where about 20 of 100 are asked for: 92 images, such as a/0.png and "
        "b/45.png, stand together as one group, joined by near duplicates, and a group is never divided; "
        "set split.near_duplicate_bits lower or to null"
    )


def test_a_large_group_trains() -> None:
    """A third of a class in one group is more than a held-out split may have, so the rest is held out."""
    paths = paths_of([60, 60])
    together = [[f"a/{i}.png" for i in range(20)]]
    for seed in range(20):
        assigned = divide(paths, 0.1, 0.2, seed=seed, together=together)
        counts = Counter(split for path, split in assigned.items() if path[0] == "a")
        assert (assigned["a/0.png"], counts["test"], counts["val"]) == ("train", 12, 6)


def test_groups_of_all_classes_are_spread() -> None:
    """Ten patients with images of four classes each: always two test and one validates."""
    paths = [f"{label}/{patient}-{i}.png" for label in "abcd" for patient in range(10) for i in range(3)]
    together = [[path for path in paths if path[2] == str(patient)] for patient in range(10)]
    for seed in range(20):
        counts = Counter(divide(paths, 0.1, 0.2, seed=seed, together=together).values())
        assert (counts["test"], counts["val"]) == (24, 12)


def test_few_images_of_a_class_are_no_mistake() -> None:
    """A hundred classes of five are split 3:1:1, though that is twice the share that val was to have."""
    counts = Counter(divide([f"{i:03}/{j}.png" for i in range(100) for j in range(5)], 0.1, 0.2).values())
    assert counts == {"train": 300, "val": 100, "test": 100}


def test_folds_validate_beside_a_given_test_split() -> None:
    """Where test is given, each part validates once, and test stays test."""
    paths = [given_path("train", label, i) for label in "ab" for i in range(100)]
    paths += [given_path("test", label, i) for label in "ab" for i in range(5)]
    assigned = [divide(paths, folds=4, fold=fold, given=ONE_GIVEN) for fold in range(4)]
    vals = [{path for path, split in each.items() if split == "val"} for each in assigned]
    assert sum(map(len, vals)) == len(set.union(*vals)) == 200
    assert {len(part) for part in vals} == {50}
    assert all(Counter(each.values())["test"] == 10 for each in assigned)


def test_folds_with_nothing_to_rotate() -> None:
    """Folds beside given val and test folders are refused."""
    paths = [given_path(split, label) for split in SPLIT_NAMES for label in "ab"]
    with pytest.raises(InputError, match=r"split.folds: found 3, but the source has a folder for val"):
        divide(paths, folds=3, given=ALL_GIVEN)


@given(sizes, st.randoms())
def test_order_does_not_matter(sizes: list[int], random: Random) -> None:
    """The split belongs to the file, not to its place in the list."""
    paths = paths_of(sizes)
    expected = divide(paths)
    random.shuffle(paths)
    assert divide(paths) == expected


def test_seed() -> None:
    """A seed gives one split, another seed another."""
    paths = paths_of([30, 30])
    assert divide(paths, seed=1) == divide(paths, seed=1)
    assert divide(paths, seed=1) != divide(paths, seed=2)


def test_known_split() -> None:
    """The split is the same on every machine and in every later version."""
    assigned = divide(paths_of([9, 8]))
    by_split = {name: [path for path, split in assigned.items() if split == name] for name in ("val", "test")}
    assert by_split == {
        "val": ["a/0.png", "a/7.png", "b/0.png", "b/3.png"],
        "test": ["a/5.png", "a/6.png", "b/2.png", "b/7.png"],
    }


def test_another_test_fraction_keeps_what_tested() -> None:
    """A larger share adds to the test split and takes nothing out of it."""
    small, large = (divide(paths_of([100, 100]), test=test) for test in (0.2, 0.4))
    assert {path for path in small if small[path] == "test"} < {
        path for path in large if large[path] == "test"
    }


def test_names_that_are_not_utf8() -> None:
    """Half a surrogate pair in a name is as good a name as any."""
    halves = ("\ud800", "\udce9", "\udfff")
    table, groups = tabulate([f"{label}/{half}.png" for label in "ab" for half in halves])
    groups.names[:] = table.path
    assert set(assign(table, groups, split_params()).splits.tolist()) == {0, 1, 2}


@given(st.integers(2, 30), st.integers(1, 5), fractions)
def test_given_splits_are_respected(num_train: int, num_test: int, fractions: tuple[float, float]) -> None:
    """A test folder is the test split, and only val is taken from the images to train on."""
    paths = [given_path("train", label, i) for label in "ab" for i in range(num_train)]
    paths += [given_path("test", label, i) for label in "ab" for i in range(num_test)]
    assigned = divide(paths, *fractions, given=ONE_GIVEN)
    assert {path for path, split in assigned.items() if split == "test"} == {
        path for path in paths if path.startswith("test/")
    }
    for label in "ab":
        of_label = Counter(split for path, split in assigned.items() if path.split("/")[1] == label)
        assert (of_label["test"], of_label["train"] + of_label["val"]) == (num_test, num_train)
        assert min(of_label["train"], of_label["val"]) >= 1


@given(st.lists(st.tuples(st.sampled_from(SPLIT_NAMES), st.sampled_from("ab"))))
def test_nothing_is_moved_where_all_is_given(pairs: list[tuple[SplitName, str]]) -> None:
    """With three folders every image stays where it is."""
    one_of_each = [(split, label) for split in SPLIT_NAMES for label in "ab"]
    paths = [given_path(split, label, i) for i, (split, label) in enumerate(one_of_each + pairs)]
    assert list(divide(paths, given=ALL_GIVEN).values()) == [path.split("/")[0] for path in paths]


@pytest.mark.parametrize(
    ("size", "found_images", "missing"),
    [(1, "1 usable image", "[a-z]+ and [a-z]+"), (2, "2 usable images", "[a-z]+")],
)
def test_class_too_small(size: int, found_images: str, missing: str) -> None:
    """A class of one or two images is refused by name, with the splits it is missing from."""
    (line,) = refusal(paths_of([5, size]))
    assert re.search(f"class b: found {found_images}, none left for {missing};", line)
    assert "give it at least 3, or leave the class out with audit.tiny_class: exclude" in line


def test_class_without_images() -> None:
    """A class folder whose images are missing, or all undecodable, is refused by name."""
    (line,) = refusal(paths_of([5, 5]), classes=("a", "b", "c"))
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
    paths = [given_path(split, "a") for split in SPLIT_NAMES]
    paths += [given_path(split, "b") for split in present]
    (line,) = refusal(paths, given=ALL_GIVEN)
    assert f"class b: found {len(present)} usable" in line
    assert f"none left for {missing}; " in line
    assert advice in line


def test_too_few_to_validate() -> None:
    """Where val is taken from train, one image to train on is one too few."""
    paths = [given_path(split, label) for split in ("train", "test") for label in "ab"]
    lines = refusal(paths, given=ONE_GIVEN)
    assert len(lines) == 2
    assert re.search("none left for (train|val); ", lines[0])
    assert "put more of it into train" in lines[0]


def test_many_classes_too_small() -> None:
    """A thousand small classes are one mistake, not a thousand lines."""
    lines = refusal([f"{i:03}/1.png" for i in range(1000)])
    assert len(lines) == 11
    assert "990 more classes are missing from a split" in lines[-1]
