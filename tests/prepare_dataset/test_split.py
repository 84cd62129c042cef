"""Every class in every split, the wanted shares, and the same split every time."""

from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.prepare_dataset.split import Split
from schemas.shared.manifest import SPLIT_NAMES, SplitName
from stages.prepare_dataset.collect import FoundImage
from stages.prepare_dataset.split import split_images
from stages.shared.errors import InputError

ONE_GIVEN: frozenset[SplitName] = frozenset(("train", "test"))
ALL_GIVEN: frozenset[SplitName] = frozenset(SPLIT_NAMES)

sizes = st.lists(st.integers(3, 40), min_size=2, max_size=4)
fractions = st.tuples(st.floats(0.01, 0.97), st.floats(0.01, 0.97)).filter(lambda pair: sum(pair) < 0.99)


def found(path: str) -> FoundImage:
    """Return the image at `<class>/<file>`."""
    return FoundImage(path=path, key=path, label=path.split("/", maxsplit=1)[0], split=None)


def images_of(sizes: Sequence[int]) -> list[FoundImage]:
    """Return so many images of classes a, b, c, ..."""
    return [found(f"{chr(97 + j)}/{i}.png") for j, size in enumerate(sizes) for i in range(size)]


def given_image(split: SplitName, label: str, number: int = 0) -> FoundImage:
    path = f"{split}/{label}/{number}.png"
    return FoundImage(path=path, key=path, label=label, split=split)


def divide(
    images: Sequence[FoundImage],
    val: float = 0.2,
    test: float = 0.2,
    *,
    seed: int = 0,
    given: frozenset[SplitName] = frozenset(),
    classes: Sequence[str] = (),
) -> dict[str, SplitName]:
    """Return the split of each path."""
    labels = classes or sorted({image.label for image in images})
    split = Split(val_fraction=val, test_fraction=test, seed=seed)
    return dict(
        zip(
            (image.path for image in images),
            split_images(images, split, classes=labels, given=given),
            strict=True,
        )
    )


def refusal(
    images: Sequence[FoundImage], *, given: frozenset[SplitName] = frozenset(), classes: Sequence[str] = ()
) -> list[str]:
    """Return the lines a split is refused with."""
    with pytest.raises(InputError) as caught:
        divide(images, given=given, classes=classes)
    lines = str(caught.value).split("\n")
    assert all(line.startswith("dataset.source: ") and line.isprintable() for line in lines)
    return lines


@given(sizes, fractions)
def test_every_class_in_every_split(sizes: list[int], fractions: tuple[float, float]) -> None:
    """Three images of a class are enough for every split to have one."""
    assigned = divide(images_of(sizes), *fractions)
    counts = Counter((path[0], split) for path, split in assigned.items())
    assert all(counts[chr(97 + j), split] >= 1 for j in range(len(sizes)) for split in SPLIT_NAMES)


@given(sizes, fractions)
def test_shares(sizes: list[int], fractions: tuple[float, float]) -> None:
    """Each class's share is the fraction to the nearest image, or two where room for the others is needed."""
    assigned = divide(images_of(sizes), *fractions)
    for j, size in enumerate(sizes):
        counts = Counter(split for path, split in assigned.items() if path.startswith(chr(97 + j)))
        assert abs(counts["val"] - size * fractions[0]) < 2
        assert abs(counts["test"] - size * fractions[1]) < 2


@given(st.integers(10, 100), st.floats(0.1, 0.4), st.floats(0.1, 0.4))
def test_shares_of_larger_classes(size: int, val: float, test: float) -> None:
    """With ten images or more and enough left to train on, shares are exact to half an image."""
    counts = Counter(divide(images_of([size, 3]), val, test)[f"a/{i}.png"] for i in range(size))
    assert counts["val"] == round(size * val)
    assert counts["test"] == round(size * test)


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
    assigned = divide(images_of([6, 4]))
    assert [path for path, split in assigned.items() if split == "test"] == ["a/0.png", "b/2.png"]
    assert [path for path, split in assigned.items() if split == "val"] == ["a/4.png", "b/3.png"]


def test_split_does_not_depend_on_the_wrapper() -> None:
    """An archive of a folder is split as the folder is."""
    images = images_of([9, 9])
    wrapped = [FoundImage(f"w/{image.path}", image.key, image.label, None) for image in images]
    assert divide(wrapped) == {f"w/{path}": split for path, split in divide(images).items()}


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
    num_val = min(max(1, round(num_train * fractions[0])), num_train - 1)
    assert Counter(assigned.values()) == {
        "test": 2 * num_test,
        "val": 2 * num_val,
        "train": 2 * (num_train - num_val),
    }


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
