"""Where a network's first weights came from, and what of them fitted."""

from schemas.shared.fields import Count, Items, Sha256
from schemas.shared.schema import Schema


class InitialWeights(Schema):
    """Weights that were trained before, as they were laid over a new network."""

    source: str
    """The library and its name for the weights, or the file's name without its folder."""

    sha256: Sha256
    """Of the file, or of the weights that the library gave."""

    num_loaded: Count
    """Tensors that fitted."""

    summed: Items[str]
    """First layers for three channels, summed into one for grayscale images."""

    other_shape: Items[str]
    """Names of both, but of another shape, as the head's for other classes; new in the network."""

    only_in_network: Items[str]
    """Names the weights lack; new in the network."""

    only_in_weights: Items[str]
    """Names the network lacks; left out."""
