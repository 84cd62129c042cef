"""Networks, one module each, found by the name in `network.name`.

The module `stages.vision.networks.<name>` holds `build(arguments, *, image, num_classes)`, where arguments is
the block `network.<name>`, and `fetch_weights(arguments, *, image)` if that block has a key `weights`. The
network's last child is its head: it alone turns features into logits.
"""

from importlib import import_module

import torch
from torch import nn

from schemas.shared.manifest import ImageForm
from schemas.vision.network import ChosenNetwork
from stages.shared.errors import InputError, printable
from stages.vision.pretrained import Weights


def build_network(network: ChosenNetwork, *, image: ImageForm, num_classes: int) -> nn.Module:
    """Return a new network for images of this form, with `num_classes` logits.

    Its weights are random, from torch's global generator; nothing is downloaded.

    Raises:
        InputError: The network does not fit into memory, or does not take such images.
    """
    name = f"{__name__}.{network.name}"
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise InputError(
            f"network.name: found {network.name}, and there is no {name.replace('.', '/')}.py yet; write it"
        ) from None
    try:
        built = module.build(network.arguments, image=image, num_classes=num_classes)
    except InputError:
        raise
    except (RuntimeError, ValueError, TypeError, AssertionError, MemoryError) as error:
        raise InputError(
            f"network.{network.name}: cannot be built: {_first_line(error)}; change its parameters"
        ) from None
    assert isinstance(built, nn.Module)
    return built


def fetch_weights(network: ChosenNetwork, *, image: ImageForm) -> Weights | None:
    """Return the pretrained weights that `network.<name>.weights` names, or None if it names none.

    Raises:
        InputError: They cannot be downloaded, or there are no such weights.
    """
    weights = getattr(network.arguments, "weights", None)
    if weights is None:
        return None
    module = import_module(f"{__name__}.{network.name}")
    try:
        fetched: Weights = module.fetch_weights(network.arguments, image=image)
    except Exception as error:  # network, file system and library raise all sorts, and the advice is the same
        raise InputError(
            f"network.{network.name}.weights: {weights}: cannot be fetched: {_first_line(error)}; "
            "connect to the internet, or give a file of them as network.weights_file"
        ) from None
    return fetched


@torch.inference_mode()
def check_takes_images(network: nn.Module, *, image: ImageForm, place: str) -> None:
    """Run two black images through a network, for libraries do not say which sizes their models take.

    Args:
        network: On the CPU; its mode and weights stay as they are.
        image: The form of its images.
        place: The parameter that names the network, for messages.

    Raises:
        InputError: It takes no images of this form, or does not return logits (2, num_classes).
    """
    form = f"images of {image.height_px} x {image.width_px} px"
    was_training = network.training
    try:
        logits = network.eval()(torch.zeros(2, image.num_channels, image.height_px, image.width_px))
    except Exception as error:  # a library's own check may raise anything
        raise InputError(
            f"{place}: takes no {form} ({_first_line(error)}); choose another size by dataset.height_px and "
            "width_px or transforms, or another model"
        ) from None
    network.train(was_training)
    if not isinstance(logits, torch.Tensor) or logits.dim() != 2 or len(logits) != 2:
        raise InputError(f"{place}: gives no logits for each image of {form}; choose a classification model")


def _first_line(error: BaseException) -> str:
    return printable((str(error) or type(error).__name__).splitlines()[0])
