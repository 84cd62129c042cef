"""What was prepared, in numbers and in a few printed lines."""

from collections.abc import Iterator, Sequence

import numpy as np

from schemas.prepare_dataset.prepare_metrics import PrepareMetrics
from schemas.shared.inputs import Fingerprint
from schemas.shared.manifest import SPLIT_NAMES, Manifest
from stages.images.image_table import ImageTable
from stages.prepare_dataset.audit import Findings
from stages.prepare_dataset.groups import Groups
from stages.prepare_dataset.leaks import Mates, count_tested, describe_leaked
from stages.prepare_dataset.split import UNUSED, Assignment
from stages.shared.errors import printable

_NUM_SHOWN = 20
"""Classes printed with their counts; of more, the largest and the smallest few."""

_FEW_TESTED = 100
"""Test images that stand alone; with fewer, even a perfect result leaves more than 3.6 % of doubt."""

_MIN_LACKING = 5
"""Images of one class."""

_TOLERANCE = 0.5
"""Of a split's share: further from it is worth a line."""


def count_images(
    manifest: Manifest,
    table: ImageTable,
    groups: Groups,
    leaks: Mates,
    findings: Findings,
    assignment: Assignment,
    *,
    fingerprint: Fingerprint,
) -> PrepareMetrics:
    """Return the metrics of what was prepared; the table is as the audit left it."""
    return PrepareMetrics(
        num_classes=len(manifest.classes),
        num_train=sum(manifest.counts.train),
        num_val=sum(manifest.counts.val),
        num_test=sum(manifest.counts.test),
        num_copies=len(groups.copies),
        num_near_duplicates=len(np.unique(groups.near[:, 1])),
        num_conflicting_labels=len(findings.images["conflicting_labels"]),
        num_blank=len(findings.images["blank"]),
        num_extreme_size=len(findings.images["extreme_size"]),
        num_extreme_shape=len(findings.images["extreme_shape"]),
        num_tiny_classes=len(findings.classes["tiny_class"]),
        imbalance=findings.imbalance,
        num_excluded_by_audit=int(table.has_status("audit").sum()),
        num_together=_count_together(groups, assignment),
        num_leaks=len(leaks),
        num_moved=assignment.num_moved,
        fingerprint=fingerprint,
    )


def _count_together(groups: Groups, assignment: Assignment) -> int:
    """Return how many images have others of their group beside them, and none in another split."""
    used = np.flatnonzero(assignment.splits != UNUSED)
    keys, splits = groups.first[used], assignment.splits[used]
    low = np.full(len(groups.first), len(SPLIT_NAMES), dtype=np.int8)
    high = np.full(len(groups.first), UNUSED, dtype=np.int8)
    np.minimum.at(low, keys, splits)
    np.maximum.at(high, keys, splits)
    return int(((np.bincount(keys, minlength=len(low)) > 1) & (low == high))[keys].sum())


def print_summary(
    metrics: PrepareMetrics,
    manifest: Manifest,
    groups: Groups,
    assignment: Assignment,
    leaked: Mates | None,
) -> None:
    """Print what was prepared and what the user should know about the split.

    Args:
        metrics: What was counted.
        manifest: The prepared images.
        groups: Which images belong together.
        assignment: The split of each.
        leaked: Images of val and test with a mate in training; None if nobody is to be told.
    """
    counts = f"{metrics.num_train:,} train, {metrics.num_val:,} val, {metrics.num_test:,} test"
    num_images = metrics.num_train + metrics.num_val + metrics.num_test
    lines = [
        f"{num_images:,} images of {metrics.num_classes} classes: {counts}",
        _list_classes(manifest),
        *_describe_together(metrics),
        *_warn_of_shares(assignment),
        *_warn_of_classes(manifest, assignment),
        *_warn_of_leaks(metrics, assignment, leaked),
        *_warn_of_few_tested(groups, assignment),
    ]
    if metrics.num_moved:
        lines.append(
            f"moved {metrics.num_moved:,} into a split that had none of their class; "
            "such an image may move back when its class grows"
        )
    for line in lines:
        print(f"prepare-dataset: {line}")


def _list_classes(manifest: Manifest) -> str:
    """Name the classes with their numbers of images, the first and the last by size if there are many."""
    counts = np.sum([getattr(manifest.counts, name) for name in SPLIT_NAMES], axis=0)

    def name(labels: Sequence[int]) -> str:
        return ", ".join(f"{printable(manifest.classes[label])}: {counts[label]:,}" for label in labels)

    if len(counts) <= _NUM_SHOWN:
        return f"images of each class: {name(range(len(counts)))}"
    by_size = np.argsort(-counts, kind="stable").tolist()
    few = _NUM_SHOWN // 4
    return f"images of the largest classes: {name(by_size[:few])}; of the smallest: {name(by_size[-few:])}"


def _describe_together(metrics: PrepareMetrics) -> Iterator[str]:
    if metrics.num_together:
        yield (
            f"images that stay in one split with copies, near duplicates or others of their split.group: "
            f"{metrics.num_together:,}"
        )


def _warn_of_shares(assignment: Assignment) -> Iterator[str]:
    num_images = sum(found for found, _ in assignment.shares.values())
    far = {
        name: f"{found / num_images:.0%} {name} (asked for: {wanted / num_images:.0%})"
        for name, (found, wanted) in assignment.shares.items()
        if abs(found - wanted) > _TOLERANCE * wanted
    }
    if far:
        yield (
            f"warning: the shares are far from those asked for: {', '.join(far.values())}; every split needs "
            "an image of every class, and images that belong together are never divided; more images help"
        )


def _warn_of_classes(manifest: Manifest, assignment: Assignment) -> Iterator[str]:
    """Name a class that lacks most of a held-out share, since most of its images are one group."""
    if len(assignment.shares) < len(SPLIT_NAMES):  # the source gives the others, of any size
        return
    num_images = sum(found for found, _ in assignment.shares.values())
    counts = np.array([getattr(manifest.counts, name) for name in SPLIT_NAMES])
    wanted = np.array([assignment.shares[name][1] / num_images for name in SPLIT_NAMES])[:, None]
    lacking = wanted * counts.sum(axis=0) - counts
    is_short = (lacking > _TOLERANCE * (counts + lacking)) & (lacking >= _MIN_LACKING)
    labels = np.flatnonzero(is_short.any(axis=0))
    if len(labels):
        label = labels[np.argmax(lacking.max(axis=0)[labels])]
        found = ", ".join(
            f"{number:,} {name}" for name, number in zip(SPLIT_NAMES, counts[:, label], strict=True)
        )
        others = f", and {len(labels) - 1:,} more classes like it" if len(labels) > 1 else ""
        yield (
            f"warning: class {printable(manifest.classes[label])} has {found}{others}: most of its "
            "images belong together in one group and train; see column group of data/prepared/index.csv"
        )


def _warn_of_leaks(metrics: PrepareMetrics, assignment: Assignment, leaked: Mates | None) -> Iterator[str]:
    if leaked is None or not len(leaked):
        return
    counts = count_tested(leaked, assignment.splits)
    what = (
        describe_leaked(counts, metrics.num_test)
        if sum(counts.values())
        else (
            f"{len(leaked):,} val images have a copy, a near duplicate or an image of their group in training"
        )
    )
    yield f"warning: {what}; the report has the accuracy without them; split.leaks: exclude trains without"


def _warn_of_few_tested(groups: Groups, assignment: Assignment) -> Iterator[str]:
    """Say what a test split of few images, or of few that do not belong together, is worth."""
    is_tested = assignment.splits == SPLIT_NAMES.index("test")
    number, num_images = len(np.unique(groups.first[is_tested])), int(is_tested.sum())
    if number < _FEW_TESTED:
        # Clopper and Pearson 1934: the lower end of the 95 % interval where all are correct.
        low = 0.025 ** (1 / number)
        together = "" if number == num_images else f" in {number} group{'' if number == 1 else 's'}"
        yield (
            f"warning: the test split has {num_images} image{'' if num_images == 1 else 's'}{together}: even "
            f"if all are classified correctly, the accuracy may be as low as {low:.0%}"
        )
