"""Networks, one module each, found by the name in `network.name`."""

from importlib import import_module

from torch import nn

from schemas.shared.image import ImageForm
from schemas.vision.network import ChosenNetwork
from stages.shared.errors import InputError
from stages.shared.text import printable


def build_network(network: ChosenNetwork, *, image: ImageForm, num_classes: int) -> nn.Module:
    """Return a new network for images of this form, with `num_classes` logits.

    Its initial weights come from torch's global random numbers. The module `stages.vision.networks.<name>`
    must hold `build(arguments, *, image, num_classes)`, where arguments is the block `network.<name>`.

    Raises:
        InputError: The network does not fit into memory.
    """
    module = import_module(f"{__name__}.{network.name}")
    try:
        built = module.build(network.arguments, image=image, num_classes=num_classes)
    except (RuntimeError, MemoryError) as error:
        reason = printable(str(error).splitlines()[0])
        raise InputError(f"network.{network.name}: cannot be built: {reason}; make it smaller") from None
    assert isinstance(built, nn.Module)
    return built
