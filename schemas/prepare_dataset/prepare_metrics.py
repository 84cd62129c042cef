"""What prepare-dataset counted: data/metrics/prepare.json."""

from schemas.shared.fields import Count, PositiveCount
from schemas.shared.schema import Schema


class PrepareMetrics(Schema):
    """Images by what became of them."""

    num_classes: PositiveCount
    train: PositiveCount
    val: PositiveCount
    test: PositiveCount
    undecodable: Count
    not_an_image: Count
