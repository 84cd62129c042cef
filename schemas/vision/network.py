"""The `network` section: which network, and its shape."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.shared.fields import Items, WholeNumber
from schemas.shared.schema import Schema


class Cnn(Schema):
    """Plain convolutional network: blocks of Conv2d, ReLU and max pooling, then one linear layer."""

    channels: Annotated[Items[Annotated[int, Field(ge=1, le=4096)]], Field(min_length=1, max_length=12)]
    """Output channels of each block; every block halves height and width."""

    kernel_size: Annotated[Literal[1, 3, 5, 7, 9, 11], WholeNumber]
    """Side of the convolution kernels in pixels; odd, so that padding keeps height and width."""

    dropout: Annotated[float, Field(ge=0, lt=1)]
    """Share of the flattened features dropped before the linear layer, in training only."""


class Network(Schema):
    """The network and the parameters of every network there is; `name` chooses."""

    name: Literal["cnn"]
    """Which network is trained; the block of that name holds its shape."""

    cnn: Cnn

    def chosen(self) -> "ChosenNetwork":
        """Return the network that `name` chooses, without the parameters of the others."""
        return ChosenNetwork(name=self.name, arguments=getattr(self, self.name))


class ChosenNetwork(Schema):
    """One network and its own parameters: what a checkpoint keeps, whatever networks there are later."""

    name: Literal["cnn"]
    arguments: Cnn
