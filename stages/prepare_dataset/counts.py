"""What was prepared, in numbers and in a few printed lines."""

import numpy as np

from schemas.prepare_dataset.prepare_metrics import PrepareMetrics
from schemas.shared.inputs import Fingerprint
from schemas.shared.manifest import Manifest
from stages.images.image_table import ImageTable
from stages.prepare_dataset.audit import Findings
from stages.prepare_dataset.groups import Groups
from stages.prepare_dataset.leaks import Leaks
from stages.shared.paths import PREPARED

_LARGE_GROUP_FRACTION = 0.1
"""Of all images: a larger group can take the splits far from their shares, which is worth a line."""


def count_images(
    manifest: Manifest,
    table: ImageTable,
    groups: Groups,
    leaks: Leaks,
    findings: Findings,
    *,
    num_moved: int,
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
        num_together=int((groups.sizes > 1).sum()),
        num_leaks=len(leaks),
        num_moved=num_moved,
        fingerprint=fingerprint,
    )


def print_summary(metrics: PrepareMetrics, *, num_in_largest_group: int) -> None:
    """Print what was prepared and what the user should know about the split."""
    num_images = metrics.num_train + metrics.num_val + metrics.num_test
    counts = f"{metrics.num_train:,} train, {metrics.num_val:,} val, {metrics.num_test:,} test"
    lines = [f"{num_images:,} images of {metrics.num_classes} classes: {counts}"]
    if metrics.num_together:
        lines.append(
            f"{metrics.num_together:,} stay in one split with another image, as copies "
            f"({metrics.num_copies:,}), near duplicates ({metrics.num_near_duplicates:,}) or by split.group"
        )
    if num_in_largest_group > _LARGE_GROUP_FRACTION * num_images:
        lines.append(
            f"warning: {num_in_largest_group:,} images belong together, by split.group or as chains of near "
            "duplicates, so one split has them all and the shares may be far from those asked for; column "
            f"group of {PREPARED / 'index.csv'} names them; to divide them, set another split.group, or set "
            "split.near_duplicate_bits lower or to null"
        )
    if metrics.num_leaks:
        lines.append(f"{metrics.num_leaks:,} belong with an image in a split folder closer to the test")
    if metrics.num_moved:
        lines.append(
            f"moved {metrics.num_moved:,} into a split that had none of their class; "
            "such an image may move back when its class grows"
        )
    for line in lines:
        print(f"prepare-dataset: {line}")
