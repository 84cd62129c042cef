"""What a network of another library makes of images of a form, tried out before training."""

import torch
from torch import nn

from schemas.shared.image import ImageForm
from stages.shared.errors import InputError
from stages.shared.text import printable


@torch.inference_mode()
def refuse_other_images(network: nn.Module, *, image: ImageForm, place: str) -> None:
    """Run two black images through the network.

    Raises:
        InputError: It takes no images of this form, or does not give logits (2, num_classes).
    """
    form = f"images of {image.height_px} x {image.width_px} px"
    was_training = network.training
    try:
        logits = network.eval()(torch.zeros(2, image.num_channels, image.height_px, image.width_px))
    except Exception as error:  # a library's own check may raise anything
        reason = printable((str(error) or type(error).__name__).splitlines()[0])
        raise InputError(
            f"{place}: takes no {form} ({reason}); choose another size by dataset.height_px and width_px "
            "or transforms, or another model"
        ) from None
    network.train(was_training)
    if not isinstance(logits, torch.Tensor) or logits.dim() != 2 or len(logits) != 2:
        raise InputError(f"{place}: gives no logits for each image of {form}; choose a classification model")
