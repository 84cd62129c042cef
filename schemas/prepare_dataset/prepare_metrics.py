"""What prepare-dataset counted: data/metrics/prepare.json."""

from schemas.shared.fields import Count, NonNegative, PositiveCount
from schemas.shared.inputs import Fingerprint
from schemas.shared.schema import Schema


class PrepareMetrics(Schema):
    """Images by what became of them."""

    num_classes: PositiveCount
    num_train: PositiveCount
    num_val: PositiveCount
    num_test: PositiveCount
    num_undecodable: Count
    num_not_an_image: Count
    """Files not called as images are."""

    num_outside_classes: Count
    """Images outside the class folders."""

    num_not_in_table: Count
    """Images that the table does not name."""

    num_hidden: Count
    """Files whose names, or whose folders' names, begin with a dot."""

    num_system_files: Count
    """Files that operating systems leave behind, such as Thumbs.db and all in __MACOSX."""

    num_copies: Count
    """Images whose file is the same, byte for byte, as that of one before them."""

    num_near_duplicates: Count
    """Images that look like one before them, copies not counted."""

    num_conflicting_labels: Count
    """Images whose copies or near duplicates stand in another class."""

    num_blank: Count
    num_extreme_size: Count
    num_extreme_shape: Count

    num_tiny_classes: Count

    imbalance: NonNegative
    """Images of the largest class for one of the smallest."""

    num_excluded_by_audit: Count

    num_together: Count
    """Images that stay on one side with another one: by group, copy or likeness."""

    num_leaks: Count
    """Images in a split folder that belong with one in a folder closer to the test."""

    num_moved: Count
    """Images moved to another split than they had drawn, because it had none of a class."""

    fingerprint: Fingerprint
    """Of what the stage was run on: parameters, code and data."""
