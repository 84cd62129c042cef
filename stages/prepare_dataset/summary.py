"""What was prepared, in a few printed lines."""

from schemas.prepare_dataset.prepare_metrics import PrepareMetrics
from stages.shared.paths import PREPARED


def print_summary(metrics: PrepareMetrics, *, name: str, num_read: int, num_decoded: int) -> None:
    """Print what was prepared and what was left out.

    Args:
        metrics: The figures.
        name: The source.
        num_read: Images that were read.
        num_decoded: Those of them that no earlier run had decoded.
    """
    num_images = metrics.num_train + metrics.num_val + metrics.num_test
    counts = f"{metrics.num_train:,} train, {metrics.num_val:,} val, {metrics.num_test:,} test"
    lines = [f"{num_images:,} images of {metrics.num_classes} classes from {name}: {counts}"]
    if num_decoded < num_read:
        lines.append(f"decoded {num_decoded:,} of {num_read:,}; an earlier run had decoded the others")
    if metrics.num_undecodable or metrics.num_not_an_image:
        lines.append(
            f"left out {metrics.num_undecodable:,} that cannot be decoded and "
            f"{metrics.num_not_an_image:,} that are no images; {PREPARED / 'index.csv'} names each"
        )
    if metrics.num_together:
        lines.append(
            f"{metrics.num_together:,} stay on one side with another: "
            f"{metrics.num_copies:,} copies, {metrics.num_near_duplicates:,} near duplicates, and groups"
        )
    if metrics.num_leaks:
        lines.append(f"{metrics.num_leaks:,} belong with an image in a split folder closer to the test")
    if metrics.num_moved:
        lines.append(
            f"moved {metrics.num_moved:,} into a split that had drawn none of their class; "
            "such an image may move back when its class grows"
        )
    for line in lines:
        print(f"prepare-dataset: {line}")
