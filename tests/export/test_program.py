"""The program's preprocessing gives the network what `stages.vision.transforms` gives it."""

import numpy as np
import pytest
import torch
from torch import nn

from schemas.shared.manifest import ImageForm
from schemas.vision import transforms as schema
from schemas.vision.checkpoint import Checkpoint
from schemas.vision.transforms import CenterCrop, Normalize, Resize, ToTensor, image_after
from stages.export.program import Program, build_steps
from stages.shared.errors import InputError
from stages.vision.checkpoint import restore_network
from stages.vision.inference import compute_batch_logits, compute_probabilities
from stages.vision.networks import build_network
from stages.vision.transforms import build_transforms
from tests.vision.documents import TINY_CNN, make_checkpoint

FORM = ImageForm(color="rgb", height_px=23, width_px=31, resize="squish")


def checkpoint_with(*pictures: schema.Transform, image: ImageForm = FORM) -> Checkpoint:
    normalize = Normalize(name="Normalize", mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    return make_checkpoint({}, image=image, preprocessing=(*pictures, ToTensor(name="ToTensor"), normalize))


def random_images(form: ImageForm, count: int = 3) -> torch.Tensor:
    shape = (count, form.height_px, form.width_px, form.num_channels)
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize(
    ("height_px", "width_px"), [(11, 13), (23, 64), (40, 31), (7, 90), (1, 1), (22, 30), (5, 3)]
)
def test_resizing_gives_the_same_bytes(
    height_px: int, width_px: int, antialias: bool, interpolation: schema.transform.Interpolation
) -> None:
    """Smaller, larger, along one side and both: not one byte differs from torch's own resizing."""
    resize = Resize(
        name="Resize",
        height_px=height_px,
        width_px=width_px,
        interpolation=interpolation,
        antialias=antialias,
    )
    check_same_pixels(checkpoint_with(resize))


@pytest.mark.parametrize(("height_px", "width_px"), [(23, 31), (10, 10), (11, 12), (40, 12), (24, 50)])
def test_cropping_gives_the_same_bytes(height_px: int, width_px: int) -> None:
    """Odd and even margins, and padding where the image is smaller."""
    check_same_pixels(checkpoint_with(CenterCrop(name="CenterCrop", height_px=height_px, width_px=width_px)))


def test_photographs_are_resized_and_cropped_as_in_evaluation() -> None:
    """256 px to 240, then 224 in the middle: sums of many pixels stay exact."""
    check_same_pixels(
        checkpoint_with(
            Resize(name="Resize", height_px=240, width_px=232),
            CenterCrop(name="CenterCrop", height_px=224, width_px=224),
            image=FORM.model_copy(update={"height_px": 256, "width_px": 256}),
        )
    )


def check_same_pixels(checkpoint: Checkpoint) -> None:
    images = random_images(checkpoint.image).permute(0, 3, 1, 2)
    expected = build_transforms(checkpoint.preprocessing)(images)
    steps = nn.Sequential(*build_steps(checkpoint)[:-1])
    scaled = build_transforms(checkpoint.preprocessing[-2:])(steps(images.float()).byte())
    torch.testing.assert_close(scaled, expected, rtol=0, atol=0)
    # Normalizing may be fused to one rounding, or not.
    program = nn.Sequential(*build_steps(checkpoint))
    torch.testing.assert_close(program(images.float()), expected, rtol=0, atol=1e-6)


def test_the_program_gives_probabilities_and_embeddings() -> None:
    """Those of the checkpoint, at its temperature, and the values that its last layer takes."""
    image = ImageForm(color="grayscale", height_px=6, width_px=9, resize="pad")
    network = build_network(TINY_CNN, image=image, num_classes=2)
    checkpoint = make_checkpoint(network.state_dict(), image=image)
    network = restore_network(checkpoint, network.state_dict()).eval()
    images = random_images(image)
    probabilities, embeddings = Program(checkpoint, network).eval()(images)
    pixels = build_transforms(checkpoint.preprocessing)(images.permute(0, 3, 1, 2))
    logits = compute_batch_logits(network, pixels, device=torch.device("cpu"), numerics=checkpoint.numerics)
    expected = compute_probabilities(logits, checkpoint.calibration).float()
    torch.testing.assert_close(probabilities, expected, rtol=0, atol=1e-6)
    head = [part for part in network.modules() if isinstance(part, nn.Linear)][-1]
    torch.testing.assert_close(head(embeddings), logits, rtol=0, atol=1e-5)


def test_an_unknown_transform_is_refused() -> None:
    """A transform of the user's own has no counterpart in a graph, and the message says which are allowed."""

    class Invert(schema.Transform):
        random = False
        name: str = "Invert"

    checkpoint = checkpoint_with()
    changed = checkpoint.model_copy(update={"preprocessing": (Invert(), *checkpoint.preprocessing)})
    with pytest.raises(InputError, match=r"found Invert, which cannot be exported; allowed beside random"):
        build_steps(changed)


def test_the_size_after_preprocessing_is_the_networks() -> None:
    """Steps follow one another: a crop of a resized image is cut from the resized one."""
    checkpoint = checkpoint_with(
        Resize(name="Resize", height_px=16, width_px=20),
        CenterCrop(name="CenterCrop", height_px=12, width_px=14),
    )
    pixels = nn.Sequential(*build_steps(checkpoint))(random_images(FORM).permute(0, 3, 1, 2).float())
    after = image_after(FORM, checkpoint.preprocessing)
    assert pixels.shape[2:] == (after.height_px, after.width_px) == (12, 14)
