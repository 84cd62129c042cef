"""Networks, one module each, found by the name in `network.name`.

The module `stages.vision.networks.<name>` holds `build(arguments, *, image, num_classes)`, where arguments is
the block `network.<name>`, and `fetch_weights(arguments, *, image)` and `find_statistics(arguments)` if that
block has a key `weights`. It may hold `adapt_weights(arguments, weights, *, network, image)`, which fits
weights to another size of image. The network's last child is its head: it alone turns features into logits.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from schemas.shared.manifest import ImageForm
from schemas.vision.network import ChosenNetwork
from stages.shared.errors import InputError, describe_error
from stages.vision.pretrained import Weights
from stages.vision.transforms import Statistics


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
            f"network.{network.name}: cannot be built: {describe_error(error)}; change its parameters"
        ) from None
    assert isinstance(built, nn.Module)
    _avoid_onednn_crash(built)
    return built


class TooManyParameters(Exception):
    """A network is larger than it may be."""


@contextmanager
def limit_parameters(max_count: int) -> Iterator[None]:
    """Have a network that is built in the block have at most so many parameters, also those it replaces.

    The first parameter beyond is not filled, so that it takes no memory yet.

    Raises:
        TooManyParameters: It has more.
    """
    num_left = max_count

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal num_left
        num_left -= 0 if parameter is None else parameter.numel()
        if num_left < 0:
            raise TooManyParameters

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def _avoid_onednn_crash(network: nn.Module) -> None:
    """Change, in place, how convolutions are computed whose gradient oneDNN writes beyond its memory.

    Those of 1 x 1 with a stride and fewer than 16 input channels, for channels_last images: the process dies
    by a signal, or hangs. On a CPU with AVX2 that takes fewer than 8 channels, with AVX-512 images of about
    50 px. They are changed on every machine, so that a checkpoint means the same on all; weights and their
    names stay as they are.
    Measured in docs/decisions/034-onednn-crash.md; https://github.com/uxlfoundation/oneDNN/issues/6035.
    """
    for part in network.modules():
        if (
            isinstance(part, nn.Conv2d)
            and part.kernel_size == (1, 1)
            and max(part.stride) > 1
            and part.in_channels < 16
            and part.groups == 1
            and part.padding in ((0, 0), "valid")
        ):
            part.register_forward_pre_hook(partial(_subsample, stride=part.stride))
            part.stride = (1, 1)


def _subsample(convolution: nn.Module, images: tuple[Tensor], *, stride: tuple[int, ...]) -> tuple[Tensor]:
    """Return the pixels of images (N, C, H, W) that a 1 x 1 convolution of this stride reads."""
    height_stride, width_stride = stride
    return (images[0][:, :, ::height_stride, ::width_stride],)


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
            f"network.{network.name}.weights: {weights}: cannot be fetched: {describe_error(error)}; "
            f"connect to the internet, or give a file of them as network.weights_file, with network."
            f"{network.name}.weights: null"
        ) from None
    return fetched


def find_statistics(network: ChosenNetwork, *, image: ImageForm) -> Statistics:
    """Return the mean and standard deviation of pixels that a library's pretrained weights expect.

    For grayscale images the means over the three channels, as a kernel's sum over its channels has it.

    Raises:
        InputError: The library does not know the model or its weights.
    """
    module = import_module(f"{__name__}.{network.name}")
    try:
        mean, std = module.find_statistics(network.arguments)
    except InputError:
        raise
    except Exception as error:  # libraries raise all sorts
        raise InputError(
            f"network.{network.name}: what its weights expect is not known: {describe_error(error)}; "
            "give numbers as mean and std of Normalize"
        ) from None
    if image.color == "grayscale":
        mean, std = (sum(mean) / 3,), (sum(std) / 3,)
    return Statistics(tuple(mean), tuple(std))


def adapt_weights(
    network: ChosenNetwork, weights: Weights, *, built: nn.Module, image: ImageForm
) -> tuple[Weights, list[str]]:
    """Fit weights of images of another size to a network, where its library can.

    Args:
        network: The choice of params.yaml.
        weights: By the names that the network's library gives them; left unchanged.
        built: The network.
        image: The form of its images.

    Returns:
        The weights, and the names of those that have another shape now, such as a vision transformer's
        position embedding.
    """
    adapt = getattr(import_module(f"{__name__}.{network.name}"), "adapt_weights", None)
    if adapt is None:
        return weights, []
    try:
        adapted: Weights = adapt(network.arguments, dict(weights), network=built, image=image)
    except Exception:  # weights of another model; what does not fit is said when they are loaded
        return weights, []
    own = {name: tensor.shape for name, tensor in built.state_dict().items()}

    def count_fitting(tensors: Weights) -> int:
        return sum(own.get(name) == tensor.shape for name, tensor in tensors.items())

    # A library may take weights that fit already for others, and change them.
    if count_fitting(adapted) <= count_fitting(weights):
        return weights, []
    resized = [name for name in adapted if name in weights and adapted[name].shape != weights[name].shape]
    return adapted, resized


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
            f"{place}: takes no {form} ({describe_error(error)}); choose another size by dataset.height_px "
            "and width_px or transforms, or another model"
        ) from None
    network.train(was_training)
    if not isinstance(logits, torch.Tensor) or logits.dim() != 2 or len(logits) != 2:
        raise InputError(f"{place}: gives no logits for each image of {form}; choose a classification model")
