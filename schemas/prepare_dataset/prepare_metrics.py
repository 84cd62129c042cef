"""What prepare-dataset counted: data/metrics/prepare.json."""

from schemas.shared.fields import Count, PositiveCount
from schemas.shared.schema import Schema


class PrepareMetrics(Schema):
    """Images by what became of them."""

    num_classes: PositiveCount
    num_train: PositiveCount
    num_val: PositiveCount
    num_test: PositiveCount
    num_undecodable: Count
    num_not_an_image: Count
