"""What was prepared, in a few printed lines."""

from schemas.prepare_dataset.prepare_metrics import PrepareMetrics
from stages.shared.paths import PREPARED

_LARGE_UNIT_FRACTION = 0.1
"""Of all images: what larger units do to the shares of the splits is worth a line."""


def print_summary(
    metrics: PrepareMetrics, *, name: str, num_read: int, num_decoded: int, num_largest_unit: int
) -> None:
    """Print what was prepared and what was left out.

    Args:
        metrics: The figures.
        name: The source.
        num_read: Images that were read.
        num_decoded: Those of them that no earlier run had decoded.
        num_largest_unit: Images of the largest unit that the split keeps together.
    """
    num_images = metrics.num_train + metrics.num_val + metrics.num_test
    counts = f"{metrics.num_train:,} train, {metrics.num_val:,} val, {metrics.num_test:,} test"
    lines = [f"{num_images:,} images of {metrics.num_classes} classes from {name}: {counts}"]
    if num_decoded < num_read:
        lines.append(f"decoded {num_decoded:,} of {num_read:,}; an earlier run had decoded the others")
    left_out = {
        "cannot be decoded": metrics.num_undecodable,
        "are no images": metrics.num_not_an_image,
        "stand outside the class folders": metrics.num_outside_classes,
        "are not in the table": metrics.num_not_in_table,
    }
    if any(left_out.values()):
        numbers = ", ".join(f"{number:,} that {what}" for what, number in left_out.items() if number)
        lines.append(f"left out {numbers}; {PREPARED / 'index.csv'} names each")
    if metrics.num_hidden or metrics.num_system_files:
        lines.append(
            f"passed over {metrics.num_hidden:,} hidden files and "
            f"{metrics.num_system_files:,} that operating systems leave behind"
        )
    if metrics.num_together:
        lines.append(
            f"{metrics.num_together:,} stay on one side of the split with another image, as copies "
            f"({metrics.num_copies:,}), near duplicates ({metrics.num_near_duplicates:,}) or by split.group"
        )
    if num_largest_unit > _LARGE_UNIT_FRACTION * num_images:
        lines.append(
            f"warning: {num_largest_unit:,} images belong together, by split.group or as chains of near "
            "duplicates, so one split has them all and the shares may be far from those asked for; "
            f"{PREPARED / 'index.csv'} names them in column group; another split.group, or fewer "
            "split.near_duplicate_bits or none, divides them"
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
