"""Networks, one module each, found by the name in `network.name`."""

from importlib import import_module

from torch import nn

from schemas.shared.image import ImageForm
from schemas.vision.network import Network


def build_network(network: Network, *, image: ImageForm, num_classes: int) -> nn.Module:
    """Return a new network for images of this form, with `num_classes` logits.

    Its initial weights come from torch's global random numbers. The module `stages.vision.networks.<name>`
    must hold `build(arguments, *, image, num_classes)`, where arguments is the block `network.<name>`.
    """
    module = import_module(f"{__name__}.{network.name}")
    built = module.build(getattr(network, network.name), image=image, num_classes=num_classes)
    assert isinstance(built, nn.Module)
    return built
