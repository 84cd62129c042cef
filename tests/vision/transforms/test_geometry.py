"""Crops, resizing and flips do to images what torchvision does to them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from schemas.vision.transforms import Form
from stages.vision.transforms import Compose
from stages.vision.transforms.geometry import (
    AlternatingHorizontalFlip,
    CenterCrop,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomVerticalFlip,
    Resize,
)
from tests.vision.transforms.samples import (
    LARGEST,
    NO_UNIFORMS,
    apply_to,
    draw,
    draw_images,
    make_schema,
    spread_evenly,
)

SHAPES = [(1, 8, 8), (3, 5, 9), (3, 9, 4), (1, 1, 7)]


@pytest.mark.parametrize("padding", [0, 1, 2, 11])
@pytest.mark.parametrize("shape", SHAPES)
def test_random_crop_cuts_what_torchvision_cuts(shape: tuple[int, int, int], padding: int) -> None:
    """Every place of the window gives torchvision's pad and crop, also with more padding than image."""
    places = 2 * padding + 1
    along = spread_evenly(places)[:, 0]
    uniforms = torch.cartesian_prod(along, along).reshape(-1, 2)
    images = draw_images(len(uniforms), shape)
    cropped = apply_to(RandomCrop(padding=padding), images, uniforms)
    for number, (image, found) in enumerate(zip(images, cropped, strict=True)):
        top, left = divmod(number, places)
        padded = reference.pad(image, [padding])
        expected = reference.crop(padded, top=top, left=left, height=shape[1], width=shape[2])
        assert torch.equal(found, expected)


@pytest.mark.parametrize("padding", [0, 1, 2, 3, 4, 7, 8, 16, 33, 100])
def test_random_crop_stays_inside_the_padding(padding: int) -> None:
    """The smallest and the largest random number reach the two ends of the padded image, and never beyond."""
    side = 2 * padding + 1
    image = torch.zeros(2, 1, side, side, dtype=torch.uint8)
    image[:, :, padding, padding] = 255  # the centre, which each end moves to a corner
    uniforms = torch.tensor([[0.0, 0.0], [LARGEST, LARGEST]], dtype=torch.float64)
    first, last = apply_to(RandomCrop(padding=padding), image, uniforms)
    assert first[0, -1, -1] == 255
    assert last[0, 0, 0] == 255


@pytest.mark.parametrize("padding_mode", ["constant", "edge", "reflect", "symmetric"])
@pytest.mark.parametrize("padding", [3, (1, 2), (1, 2, 3, 0)])
def test_random_crop_pads_as_torchvision_does(padding: int | tuple[int, ...], padding_mode: str) -> None:
    """Every way to pad, and every way to say how much, gives torchvision's pad, crop and fill."""
    images, uniforms = draw_images(30, (3, 8, 9)), draw(30, 2)
    fill = (10.0, 20.0, 30.0) if padding_mode == "constant" else 0.0
    crop = RandomCrop(padding=padding, height_px=6, width_px=5, fill=fill, padding_mode=padding_mode)
    cropped = apply_to(crop, images, uniforms)
    sides = [padding] if isinstance(padding, int) else list(padding)
    for image, found, (down, across) in zip(images, cropped, uniforms.tolist(), strict=True):
        values = list(fill) if isinstance(fill, tuple) else fill
        padded = reference.pad(image, sides, fill=values, padding_mode=padding_mode)
        top, left = int(down * (padded.shape[1] - 5)), int(across * (padded.shape[2] - 4))
        assert torch.equal(found, reference.crop(padded, top=top, left=left, height=6, width=5))


def test_random_crop_pads_where_it_has_to() -> None:
    """pad_if_needed makes a window larger than the image possible, with torchvision's choice of places."""
    images, uniforms = draw_images(40, (3, 5, 9)), draw(40, 2)
    cropped = apply_to(RandomCrop(padding=0, height_px=8, width_px=7, pad_if_needed=True), images, uniforms)
    for image, found, (down, across) in zip(images, cropped, uniforms.tolist(), strict=True):
        padded = reference.pad(image, [0, 3])
        window = {"top": int(down * 4), "left": int(across * 3), "height": 8, "width": 7}
        assert torch.equal(found, reference.crop(padded, **window))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"height_px": 11}, "height_px"),
        ({"width_px": 15, "pad_if_needed": True}, None),
        ({"padding": [1, 2, 3]}, "padding"),
        ({"fill": [1.0, 2.0]}, "fill"),
        ({"padding": 6, "padding_mode": "reflect"}, "padding_mode"),
        ({"padding": 6, "padding_mode": "symmetric"}, None),
        ({"padding": 7, "padding_mode": "symmetric"}, "padding_mode"),
        ({"padding": 40, "padding_mode": "edge"}, None),
    ],
)
def test_random_crop_says_what_cannot_be(arguments: dict[str, Any], problem: str | None) -> None:
    """What does not fit the images is found by the schema, and nothing that torchvision can do is refused."""
    schema = make_schema("RandomCrop", **arguments)
    assert [key for key, _ in schema.find_problems(Form(6, 9, 3))] == ([problem] if problem else [])


@pytest.mark.parametrize(
    ("ratio", "is_refused"),
    [((0.001, 0.01), True), ((50.0, 60.0), True), ((0.001, 0.2), False), ((0.2, 60.0), False)],
)
def test_a_window_without_pixels_is_refused(ratio: tuple[float, float], is_refused: bool) -> None:
    """The schema knows which shapes no window of an image has; all others are cut out."""
    schema = make_schema("RandomResizedCrop", ratio=list(ratio))
    assert bool(list(schema.find_problems(Form(6, 9, 3)))) == is_refused
    crop = RandomResizedCrop(ratio=ratio)
    numbers = np.random.default_rng(0).random((200, crop.num_uniforms)).tolist()
    windows = [crop.choose_window(row, height=6, width=9)[2:] for row in numbers]
    assert (min(min(window) for window in windows) < 1) == is_refused


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_resizing_is_that_of_torchvision(interpolation: str, antialias: bool, channels: int) -> None:
    """Bit for bit, larger and smaller, and the same for one image as for a batch."""
    images = draw_images(6, (channels, 12, 17))
    for height_px, width_px in ((5, 30), (24, 8), (12, 17)):
        resize = Resize(
            height_px=height_px, width_px=width_px, interpolation=interpolation, antialias=antialias
        )
        resized = apply_to(resize, images, NO_UNIFORMS)
        mode = InterpolationMode(interpolation)
        expected = reference.resize(images, [height_px, width_px], interpolation=mode, antialias=antialias)
        assert torch.equal(resized, expected)
        assert torch.equal(apply_to(resize, images[2:3], NO_UNIFORMS)[0], resized[2])


@pytest.mark.parametrize("height_px", [3, 5, 6, 8, 11])
@pytest.mark.parametrize("width_px", [4, 9, 10, 14])
def test_center_crop_is_that_of_torchvision(height_px: int, width_px: int) -> None:
    """Odd and even rests are cut off on the same side, and a smaller image is padded as there."""
    images = draw_images(2, (3, 6, 9))
    cropped = apply_to(CenterCrop(height_px=height_px, width_px=width_px), images, NO_UNIFORMS)
    assert torch.equal(cropped, reference.center_crop(images, [height_px, width_px]))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_random_resized_crop_resizes_its_windows(channels: int, antialias: bool, interpolation: str) -> None:
    """The chosen window, resized, is torchvision's, to a gray level where it is made larger."""
    images, uniforms = draw_images(60, (channels, 12, 17)), draw(60, RandomResizedCrop.num_uniforms)
    crop = RandomResizedCrop(height_px=10, width_px=13, interpolation=interpolation, antialias=antialias)
    sizes = set()
    for image, found, numbers in zip(
        images, apply_to(crop, images, uniforms), uniforms.tolist(), strict=True
    ):
        top, left, rows, columns = crop.choose_window(numbers, height=12, width=17)
        mode = InterpolationMode(interpolation)
        expected = reference.resized_crop(
            image, top, left, rows, columns, size=[10, 13], interpolation=mode, antialias=antialias
        )
        is_larger = interpolation == "bilinear" and rows <= 10 and columns <= 13
        sizes.add(is_larger)
        assert (found.int() - expected.int()).abs().max() <= is_larger
    assert sizes == {interpolation == "bilinear", False}


@pytest.mark.parametrize(
    ("height", "width", "scale", "ratio"),
    [
        (32, 32, (0.08, 1.0), (0.75, 4 / 3)),
        (20, 45, (0.3, 0.9), (0.5, 2.0)),
        (40, 16, (0.9, 1.0), (1.0, 1.2)),
        (16, 90, (0.8, 1.0), (0.75, 4 / 3)),
    ],
)
def test_random_resized_crop_has_torchvisions_distribution(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> None:
    """Places and sides of windows have torchvision's distribution (Kolmogorov-Smirnov), fitting or not."""
    crop = RandomResizedCrop(scale=scale, ratio=ratio)
    drawn_numbers = draw(3000, crop.num_uniforms).tolist()
    ours = np.array([crop.choose_window(numbers, height=height, width=width) for numbers in drawn_numbers])
    theirs = v2.RandomResizedCrop(8, scale=scale, ratio=ratio)
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [theirs.make_params([image]) for _ in range(3000)]
    assert_same_distribution(ours, [list(one.values()) for one in drawn])
    assert (ours[:, 0] + ours[:, 2] <= height).all()
    assert (ours[:, 1] + ours[:, 3] <= width).all()


def assert_same_distribution(ours: np.ndarray, theirs: Sequence[Sequence[float]]) -> None:
    """Compare columns by the Kolmogorov-Smirnov test; seeds are fixed: it passes always or never."""
    for column, other in zip(ours.T, np.array(theirs).T, strict=True):
        assert stats.ks_2samp(column, other).pvalue > 1e-3


def test_image_is_the_size_of_what_comes_in() -> None:
    """Without numbers, images keep their height and width, whatever these are."""
    images = draw_images(3, (3, 7, 11))
    assert (
        apply_to(RandomResizedCrop(), images, draw(3, RandomResizedCrop.num_uniforms)).shape == images.shape
    )
    assert make_schema("RandomResizedCrop", height_px="image", width_px=5).change_form(Form(7, 11, 3)) == (
        7,
        5,
        3,
    )


SHAPES = [(1, 8, 8), (3, 5, 9), (3, 9, 4), (1, 1, 7)]


@pytest.mark.parametrize("p", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_flips_are_those_of_torchvision(shape: tuple[int, int, int], p: float) -> None:
    """Images whose random number is below p are flipped, all others stay; p is the fraction flipped."""
    images, uniforms = draw_images(20, shape), spread_evenly(20)
    across = apply_to(RandomHorizontalFlip(p=p), images, uniforms)
    down = apply_to(RandomVerticalFlip(p=p), images, uniforms)
    for number, image in enumerate(images):
        is_flipped = number < 20 * p
        assert torch.equal(across[number], reference.horizontal_flip(image) if is_flipped else image)
        assert torch.equal(down[number], reference.vertical_flip(image) if is_flipped else image)


@pytest.mark.parametrize("p", [0.0, 0.5])
def test_flips_leave_out_their_limit(p: float) -> None:
    """A random number of exactly p does not flip: p = 0 never does, though the number may be 0."""
    images, uniforms = draw_images(1), torch.tensor([[p]], dtype=torch.float64)
    assert torch.equal(apply_to(RandomHorizontalFlip(p=p), images, uniforms), images)
    assert torch.equal(apply_to(RandomVerticalFlip(p=p), images, uniforms), images)


def test_alternating_flips_flip_every_image_in_every_other_epoch() -> None:
    """The first epoch flips about half of the images, the next one all others, and so on."""
    images = draw_images(200, (1, 2, 9))
    alternate = Compose([AlternatingHorizontalFlip()], seed=3)

    def find_flipped(epoch: int) -> list[bool]:
        changed = alternate(images, samples=np.arange(200), epoch=epoch)
        return [torch.equal(after, before.flip(2)) for after, before in zip(changed, images, strict=True)]

    first, second, third = (find_flipped(epoch) for epoch in range(3))
    assert 70 < sum(first) < 130
    assert second == [not is_flipped for is_flipped in first]
    assert third == first
