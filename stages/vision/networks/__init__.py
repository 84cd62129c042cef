"""Networks, one module each, found by the name in `network.name`."""

from importlib import import_module

from torch import nn

from schemas.shared.image import ImageForm
from schemas.vision.network import ChosenNetwork
from stages.shared.errors import InputError
from stages.shared.text import printable
from stages.vision.weights import Weights


def build_network(network: ChosenNetwork, *, image: ImageForm, num_classes: int) -> nn.Module:
    """Return a new network for images of this form, with `num_classes` logits.

    Its initial weights come from torch's global random numbers; nothing is fetched. The module
    `stages.vision.networks.<name>` must hold `build(arguments, *, image, num_classes)`, where arguments is
    the block `network.<name>`. The network's last child is its head: it alone turns features into logits.

    Raises:
        InputError: The network does not fit into memory, or takes no such images.
    """
    module = import_module(f"{__name__}.{network.name}")
    try:
        built = module.build(network.arguments, image=image, num_classes=num_classes)
    except InputError:
        raise
    except (RuntimeError, ValueError, TypeError, AssertionError, MemoryError) as error:
        reason = _first_line(error)
        raise InputError(
            f"network.{network.name}: cannot be built: {reason}; change its parameters"
        ) from None
    assert isinstance(built, nn.Module)
    return built


def fetch_weights(network: ChosenNetwork, *, image: ImageForm) -> Weights | None:
    """Return the weights that `network.<name>.weights` names, or None where it names none.

    They are those that the module's `fetch_weights(arguments, *, image)` returns.

    Raises:
        InputError: They cannot be had: no internet, or no such weights.
    """
    weights = getattr(network.arguments, "weights", "none")
    if weights == "none":
        return None
    module = import_module(f"{__name__}.{network.name}")
    try:
        fetched: Weights = module.fetch_weights(network.arguments, image=image)
    except (
        Exception
    ) as error:  # of the network, of a file system, of the library: all say that there are none
        raise InputError(
            f"network.{network.name}.weights: {weights}: cannot be fetched: {_first_line(error)}; "
            "connect to the internet, or give a file of them as network.weights_file"
        ) from None
    return fetched


def _first_line(error: BaseException) -> str:
    return printable((str(error) or type(error).__name__).splitlines()[0])
