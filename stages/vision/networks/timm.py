"""Any model of timm, an optional library.

For grayscale images timm itself sums the kernels of the first layer. The masks of its dropout and stochastic
depth depend on the step and the part of the batch, not on the sample alone.
"""

import logging
import sys
from collections.abc import Sequence
from typing import Any

from torch import nn

from schemas.shared.manifest import ImageForm
from schemas.vision.network import Timm
from stages.shared.errors import InputError
from stages.vision.networks import check_takes_images
from stages.vision.pretrained import Weights, reset_heads


def build(arguments: Timm, *, image: ImageForm, num_classes: int) -> nn.Module:
    """Return the model for images of this form, with random weights.

    Raises:
        InputError: timm is not installed, or the model does not take images of this form.
    """
    network = _create(arguments, image=image, num_classes=num_classes, pretrained=False)
    reset_heads(network)
    check_takes_images(network, image=image, place=f"network.timm.model: {arguments.model}")
    return network


def fetch_weights(arguments: Timm, *, image: ImageForm) -> Weights:
    """Return the weights of timm's tag, adapted to the images, from its cache or the internet."""
    # Without a network it says so twelve times in a minute, and then raises an error that says it again.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    weights: Weights = _create(arguments, image=image, pretrained=True).state_dict()
    return weights


def find_statistics(arguments: Timm) -> tuple[Sequence[float], Sequence[float]]:
    """Return mean and standard deviation of pixels; where no weights are named, those of timm's default."""
    import timm

    known = timm.get_pretrained_cfg(_full_name(arguments), allow_unregistered=False)
    assert known is not None, "it raises an error for a name that it does not know"
    return known.mean, known.std


def adapt_weights(arguments: Timm, weights: Weights, *, network: nn.Module, image: ImageForm) -> Weights:
    """Return weights as timm itself changes those that it loads: resized, and by its own names."""
    adapt = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    adapted: Weights = adapt(weights, network) if adapt else weights
    return adapted


def _create(
    arguments: Timm, *, image: ImageForm, pretrained: bool, num_classes: int | None = None
) -> nn.Module:
    try:
        import timm
    except ImportError:
        raise InputError(
            "network.name: timm: the library is not installed; install it with: pip install timm"
        ) from None
    name = _full_name(arguments)
    options: dict[str, Any] = {"in_chans": image.num_channels, "num_classes": num_classes}
    known = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if known is not None and known.fixed_input_size:
        options["img_size"] = (image.height_px, image.width_px)
    network: nn.Module = timm.create_model(name, pretrained=pretrained, **options)
    return network


def _full_name(arguments: Timm) -> str:
    return arguments.model if arguments.weights is None else f"{arguments.model}.{arguments.weights}"
