"""Any classification model of torchvision.models.

For grayscale images the first convolution takes one channel, its kernels summed over three. The masks of its
dropout and stochastic depth depend on the step and the part of the batch, not on the sample alone.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from schemas.shared.manifest import ImageForm
from schemas.vision.network import Torchvision
from stages.shared.errors import InputError
from stages.vision.networks import check_takes_images
from stages.vision.pretrained import Weights, reset_heads


def build(arguments: Torchvision, *, image: ImageForm, num_classes: int) -> nn.Module:
    """Return the model for images of this form, with random weights.

    Raises:
        InputError: The model does not take images of this form.
    """
    options = _choose_options(arguments, image)
    network: nn.Module = models.get_model(arguments.model, weights=None, num_classes=num_classes, **options)
    reset_heads(network)
    if image.num_channels == 1:
        _take_one_channel(network)
    check_takes_images(network, image=image, place=f"network.torchvision.model: {arguments.model}")
    return network


def fetch_weights(arguments: Torchvision, *, image: ImageForm) -> Weights:
    """Return the weights of torchvision's name, from its cache or the internet; no code in them is run."""
    weights = models.get_model_weights(arguments.model)[arguments.weights]
    state: Weights = weights.get_state_dict(
        progress=False, check_hash=True, map_location="cpu", weights_only=True
    )
    return state


def find_statistics(arguments: Torchvision) -> tuple[Sequence[float], Sequence[float]]:
    """Return mean and standard deviation of the weights' pixels; of the default ones where none are named."""
    weights = models.get_model_weights(arguments.model)[arguments.weights or "DEFAULT"]
    preprocessing = weights.transforms()
    return preprocessing.mean, preprocessing.std


def adapt_weights(
    arguments: Torchvision, weights: Weights, *, network: nn.Module, image: ImageForm
) -> Weights:
    """Return weights with a vision transformer's position embedding interpolated, bicubically."""
    if arguments.model.startswith("vit_"):
        patch_side = int(arguments.model.rpartition("_")[2])
        weights = models.vision_transformer.interpolate_embeddings(image.height_px, patch_side, weights)
    return weights


def _choose_options(arguments: Torchvision, image: ImageForm) -> dict[str, Any]:
    """Return the arguments that some models need beside the number of classes."""
    if arguments.model.startswith("vit_"):
        if image.height_px != image.width_px:
            raise InputError(
                f"network.torchvision.model: {arguments.model} takes square images only; found "
                f"dataset.height_px: {image.height_px} and width_px: {image.width_px}"
            )
        return {"image_size": image.height_px}
    if arguments.model.startswith("maxvit_"):
        return {"input_size": (image.height_px, image.width_px)}
    if arguments.model in ("googlenet", "inception_v3"):
        # Their weights expect pixels in -1..1; transform_input converts ImageNet's mean and std to that.
        is_rescaled = arguments.weights is not None and image.num_channels == 3
        return {"aux_logits": False, "init_weights": True, "transform_input": is_rescaled}
    return {}


@torch.no_grad()
def _take_one_channel(network: nn.Module) -> None:
    """Replace the first convolution, in place, by one that gives what it gives for three equal channels."""
    name, old = next((name, part) for name, part in network.named_modules() if isinstance(part, nn.Conv2d))
    assert old.in_channels == 3, "every classification model of torchvision starts with three channels"
    new = nn.Conv2d(
        1,
        old.out_channels,
        _pair(old.kernel_size),
        stride=_pair(old.stride),
        padding=old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    new.weight.copy_(old.weight.sum(dim=1, keepdim=True))
    if old.bias is not None:
        assert isinstance(new.bias, Tensor)
        new.bias.copy_(old.bias)
    network.set_submodule(name, new)


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    height, width = values
    return height, width
