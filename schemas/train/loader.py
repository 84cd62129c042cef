"""The `loader` section: how batches are made."""

from schemas.shared.fields import Count, PositiveCount
from schemas.shared.schema import Schema


class Loader(Schema):
    """Arguments of the DataLoader."""

    batch_size: PositiveCount
    """Images per step."""

    shuffle: bool
    """Draw the training images in a new order every epoch."""

    num_workers: Count
    """Processes that prepare batches ahead; 0 prepares them in the loop. The result does not depend on it."""

    prefetch_factor: PositiveCount
    """Batches each worker keeps ready; without workers it has no effect."""
