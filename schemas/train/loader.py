"""The `loader` section: how batches are made."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.shared.fields import BatchCount, Schema, Workers


class Loader(Schema):
    """Arguments of the DataLoader."""

    batch_size: BatchCount
    """Images per step."""

    shuffle: bool
    """Use another random order of the training images in every epoch."""

    sampling: Literal["uniform", "balanced", "one_batch"]
    """Every image once; every class equally often, in as many images; or, for debugging, one batch over
    and over, which any working network learns by heart if no transform is random.
    """

    num_workers: Workers
    """Processes that prepare batches ahead; 0 prepares them in the loop. The result does not depend on it."""

    prefetch_factor: Annotated[int, Field(ge=1, le=1024)]
    """Batches each worker keeps ready; without workers it has no effect."""
