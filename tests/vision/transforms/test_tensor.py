"""ToTensor and Normalize are torchvision's."""

import torch
from torchvision.transforms.functional import to_tensor
from torchvision.transforms.v2 import functional as reference

from stages.vision.transforms.tensor import Normalize, ToTensor
from tests.vision.transforms.samples import NO_DRAWS, draw_images


def test_to_tensor_scales_as_torchvision_does() -> None:
    """All 256 bytes become torchvision's floats, and the bytes stay as they are."""
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    before = images.clone()
    scaled = ToTensor()(images, NO_DRAWS)
    assert torch.equal(scaled[0], to_tensor(images[0].permute(1, 2, 0).numpy()))
    assert scaled.min() == 0
    assert scaled.max() == 1
    assert torch.equal(images, before)


def test_normalize_is_that_of_torchvision() -> None:
    """Each channel loses its mean and is divided by its standard deviation; the input stays as it is."""
    images = draw_images(4).float() / 255
    before = images.clone()
    mean, std = [0.1, 0.5, 0.9], [0.3, 0.2, 1e-3]
    assert torch.equal(
        Normalize(mean=mean, std=std)(images, NO_DRAWS), reference.normalize(images, mean, std)
    )
    assert torch.equal(images, before)
