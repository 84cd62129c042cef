"""What prepare-dataset counted: data/counts/prepare.json."""

from schemas.shared.fields import Count, NonNegative, PositiveCount, Schema
from schemas.shared.inputs import Fingerprint


class PrepareMetrics(Schema):
    """Images by what became of them."""

    num_classes: PositiveCount
    num_train: PositiveCount
    num_val: PositiveCount
    num_test: PositiveCount

    num_copies: Count
    """Images whose file is the same, byte for byte, as that of an earlier one."""

    num_near_duplicates: Count
    """Images that look like an earlier one, copies not counted."""

    num_conflicting_labels: Count
    """Images with a copy or near duplicate in another class."""

    num_blank: Count
    num_extreme_size: Count
    num_extreme_shape: Count
    num_tiny_classes: Count

    imbalance: NonNegative
    """Images in the largest class divided by images in the smallest."""

    num_excluded_by_audit: Count

    num_together: Count
    """Images that stay in one split with another one: by split.group, as copies or as near duplicates."""

    num_leaks: Count
    """Images in a split folder that belong with one in a folder closer to the test."""

    num_moved: Count
    """Images moved to a split that would otherwise have none of their class."""

    fingerprint: Fingerprint
    """Of what the stage was run on: parameters, code and data."""
