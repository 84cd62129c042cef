"""What holds for every transform, and for several in order."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from schemas.shared.manifest import ImageForm
from schemas.vision import transforms as schema
from stages.shared.errors import InputError
from stages.vision.transforms import (
    Compose,
    Statistics,
    build_mixing,
    build_transforms,
    compose,
    fill_in_statistics,
    for_training,
    without_random,
)
from stages.vision.transforms.compose import BlockTransform
from stages.vision.transforms.functional import Image
from stages.vision.transforms.geometry import RandomCrop, RandomHorizontalFlip, Resize
from stages.vision.transforms.numbers import Normalize, ToTensor
from tests.vision.completeness import ROOT, read_test
from tests.vision.transforms.samples import (
    EXAMPLES,
    NO_UNIFORMS,
    OURS,
    apply_to,
    count_up,
    draw_images,
    make_schema,
)

OF_IMAGES = [name for name, example in OURS.items() if example.position != "last"]
OF_BATCHES = [name for name, example in OURS.items() if example.position == "last"]
TAIL = ("ToTensor", "Normalize")
CASES = [(name, channels) for name in OF_IMAGES for channels in (1, 3)]


def build_case(name: str, channels: int) -> Compose:
    """Return the example of a transform for images of so many channels, after ToTensor where it has to be."""
    numbers = {"mean": [0.4], "std": [0.1]} if name == "Normalize" and channels == 1 else {}
    example = make_schema(name, **numbers)
    is_later = example.position == "after ToTensor" and name != "ToTensor"
    return build_transforms((EXAMPLES["ToTensor"], example) if is_later else (example,))


@pytest.mark.parametrize(("name", "channels"), CASES)
def test_image_alone_is_changed_as_in_a_batch(name: str, channels: int) -> None:
    """What becomes of an image depends on itself and its number, bit for bit, and not on its batch."""
    images = draw_images(33, (channels, 9, 8))
    transform = build_case(name, channels)
    together = transform(images, samples=count_up(33))
    for number in range(33):
        one = slice(number, number + 1)
        assert torch.equal(transform(images[one], samples=count_up(33)[one]), together[one])
    some = [20, 3, 31, 4, 5]
    assert torch.equal(transform(images[some], samples=count_up(33)[some]), together[some])


@pytest.mark.parametrize("name", [*OF_IMAGES, "RandAugment"])
def test_threads_make_no_difference(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are changed in the same way by one thread and by several, however many come in a block."""
    images = draw_images(24, (3, 20, 28))
    transform = build_case(name, 3)
    alone = transform(images, samples=count_up(24))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(compose, "_MIN_BLOCK_BYTES", 0)
    for block_bytes in (1, 2000, 5000):
        monkeypatch.setattr(compose, "_BLOCK_BYTES", block_bytes)
        assert torch.equal(transform(images, samples=count_up(24)), alone)


@pytest.mark.parametrize(("name", "channels"), CASES)
def test_form_is_what_the_schema_says_and_the_input_stays(name: str, channels: int) -> None:
    """Images come out changed, channels_last and of the schema's form and type; those given stay."""
    images = draw_images(16, (channels, 9, 8))
    before = images.clone()
    changed = build_case(name, channels)(images, samples=count_up(16))
    height_px, width_px, num_channels = EXAMPLES[name].change_form(schema.Form(9, 8, channels))
    assert changed.shape == (16, num_channels, height_px, width_px)
    is_float = EXAMPLES[name].position == "after ToTensor"
    assert changed.dtype == (torch.float32 if is_float else torch.uint8)
    assert changed.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before)
    is_color = name == "RandomGrayscale"
    assert (changed.shape == images.shape and torch.equal(changed, images)) == (is_color and channels == 1)


@pytest.mark.parametrize("transform", schema.TRANSFORMS, ids=lambda transform: transform.__name__)
def test_every_transform_of_the_schema_is_built_and_tested(transform: type[schema.Transform]) -> None:
    """A transform that params.yaml may name is built from its entry, and the test of its module uses it."""
    name, family = transform.__name__, transform.__module__.rpartition(".")[2]
    if name in OF_BATCHES:
        assert build_mixing((EXAMPLES[name],), num_classes=2, seed=0) is not None
    else:
        assert build_mixing((EXAMPLES[name],), num_classes=2, seed=0) is None
        (built,) = build_transforms((EXAMPLES[name],)).transforms
        assert (built.num_uniforms > 0) == transform.random
    test = read_test(f"vision/transforms/test_{family}.py")
    assert re.search(rf"\b{name}\(|\b{name}\b.*make_schema|THEIRS", test)


def read_list(*entries: object) -> schema.Transforms:
    """Return the transforms of a list as params.yaml has it."""
    with_arguments = [
        {"Normalize": {"mean": [0.5], "std": [0.5]}} if e == "Normalize" else e for e in entries
    ]
    read: schema.Transforms = TypeAdapter(schema.Transforms).validate_python(with_arguments)
    return read


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["ToTensor"], "each of them once"),
        (["ToTensor", *TAIL], "each of them once"),
        (["Normalize", "ToTensor"], "ToTensor must come before Normalize"),
        (["RandomErasing", *TAIL], "RandomErasing must come after ToTensor"),
        ([*TAIL, "RandomHorizontalFlip"], "RandomHorizontalFlip must come before ToTensor"),
        ([*TAIL, "RandAugment"], "RandAugment must come before ToTensor"),
        (["ToTensor", "TrivialAugmentWide", "Normalize"], "TrivialAugmentWide must come before ToTensor"),
        (["ToTensor", "MixUp", "Normalize"], "MixUp must come at the end of the list"),
        ([*TAIL, "MixUp", "RandomErasing"], "MixUp must come at the end of the list"),
        (["FiveCrop", *TAIL], "FiveCrop, which makes several images out of one"),
        ([{"Pad": {"padding": 3}}, *TAIL], "Pad, which makes images of another shape"),
        ([*TAIL, {"CutMix": {"alpha": 0.0}}], "greater than 0"),
    ],
)
def test_list_in_a_wrong_order_is_refused(entries: list[object], message: str) -> None:
    """Bytes, then floats, then normalized ones, then whole batches: the message names what is misplaced."""
    with pytest.raises(ValidationError, match=message):
        read_list(*entries)


def test_list_may_go_on_after_normalize() -> None:
    """RandomErasing may stand on both sides of Normalize; MixUp and CutMix are last."""
    for tail in (["Normalize", "RandomErasing"], ["RandomErasing", "Normalize"]):
        entries = ["TrivialAugmentWide", "ToTensor", *tail, "CutMix", "MixUp"]
        assert [transform.name for transform in read_list(*entries)] == entries


def test_lists_of_training_and_of_all_else() -> None:
    """Random steps are training's; in_training: false makes a step validation's, testing's and use's only."""
    only_tested = {"CenterCrop": {"height_px": 8, "width_px": 6, "in_training": False}}
    always = {"Resize": {"height_px": 8, "width_px": 6}}
    read = read_list({"RandomCrop": {"padding": 1}}, only_tested, always, *TAIL, "MixUp")
    names = [transform.name for transform in for_training(read)]
    assert names == ["RandomCrop", "Resize", "ToTensor", "Normalize", "MixUp"]
    assert [transform.name for transform in without_random(read)] == ["CenterCrop", "Resize", *TAIL]


def test_form_of_the_network_s_input_follows_the_list() -> None:
    """The network is built for what comes out of the transforms, not for the prepared images."""
    image = ImageForm(color="grayscale", height_px=28, width_px=30, resize="squish")
    read = read_list(
        {"RandomResizedCrop": {"height_px": 20, "width_px": 24}},
        {"Resize": {"height_px": 22, "width_px": 26, "in_training": False}},
        {"CenterCrop": {"height_px": 20, "width_px": 24, "in_training": False}},
        *TAIL,
    )
    after = schema.image_after(image, read)
    assert (after.height_px, after.width_px) == (20, 24)
    assert schema.change_form(schema.Form(28, 30, 1), read, training=True) == (20, 24, 1)


OWN_SCHEMA = """
from typing import Literal

from schemas.vision.transforms.transform import Transform


class Blank(Transform):
    \"\"\"Make the images one grey.\"\"\"

    random = True
    name: Literal["Blank"]

    grey: int = 7
    \"\"\"The grey.\"\"\"
"""
OWN_MODULE = """
import numpy as np


class Blank:
    num_uniforms = 1

    def __init__(self, *, grey):
        self._grey = grey

    def __call__(self, image, numbers):
        return np.full_like(image, self._grey)
"""


def test_own_transform_works_by_name(tmp_path: Path) -> None:
    """A class in a new file of each of two folders is a transform of params.yaml; no other file changes."""
    for folder in ("schemas", "stages"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "schemas/vision/transforms/blank.py").write_text(OWN_SCHEMA)
    (tmp_path / "stages/vision/transforms/blank.py").write_text(OWN_MODULE)
    params = (ROOT / "params.yaml").read_text().replace("- ToTensor\n", "- Blank: { grey: 9 }\n- ToTensor\n")
    (tmp_path / "params.yaml").write_text(params)
    program = """if True:
        import torch
        from stages.params.read import read_params
        from stages.shared.errors import InputError
        from stages.vision.transforms import build_transforms
        blank = [transform for transform in read_params().transforms if transform.name == "Blank"]
        images = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
        print(build_transforms(blank)(images, samples=torch.zeros(1).numpy()))
        try:
            read_params("wrong.yaml")
        except InputError as error:
            print(error)
    """
    (tmp_path / "wrong.yaml").write_text(params.replace("grey: 9", "gray: 9"))
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "9, 9" in run.stdout, run.stderr
    assert "Blank.gray: unknown key; did you mean" in run.stdout


@pytest.mark.parametrize(
    ("change", "made"),
    [
        (lambda image, numbers: image * numbers[0], r"float64 \(5, 9, 3\)"),
        (lambda image, numbers: image.astype(np.int64), r"int64 \(5, 9, 3\)"),
        (lambda image, numbers: image[..., 0], r"uint8 \(5, 9\)"),
        (lambda image, numbers: image[..., :2], r"uint8 \(5, 9, 2\)"),
        (lambda image, numbers: image[: 1 + int(numbers[0] * 5)], r"uint8 .*, all of one size"),
    ],
)
def test_what_a_transform_makes_of_an_image_is_checked(
    change: Callable[[Image, Sequence[float]], Image], made: str
) -> None:
    """Where it is no picture, or has another size than the others, one line says so."""

    class Vignette:
        num_uniforms = 1

        def __call__(self, image: Image, numbers: Sequence[float]) -> Image:
            return change(image, numbers)

    with pytest.raises(InputError, match=rf"^transforms: Vignette: made {made}"):
        Compose([Vignette()])(draw_images(9), samples=count_up(9))


@pytest.mark.parametrize(
    ("change", "made"),
    [
        (lambda images: images * torch.rand(4, dtype=torch.float64)[:, None, None, None], "float64 (4, "),
        (lambda images: images.to(torch.int64), "int64 (4, "),
        (lambda images: images[:1], "float32 (1, "),
        (lambda images: images[:, 0], "float32 (4, "),
    ],
)
def test_what_a_transform_makes_of_a_batch_is_checked(change: Callable[[Tensor], Tensor], made: str) -> None:
    """Where it returns another type or number of images, one line says so, before a network stops at them."""

    class Jitter:
        num_uniforms = 0

        def __call__(self, images: Tensor, uniforms: Tensor) -> Tensor:
            return change(images)

    with pytest.raises(InputError, match=rf"^transforms: Jitter: made torch\.{re.escape(made)}.*; allowed: "):
        Compose([ToTensor(), Jitter()])(draw_images(4))


def test_compose_applies_transforms_in_order() -> None:
    """Pictures before ToTensor, numbers from it on, each after the one before, in channels_last memory."""
    images = draw_images(4)
    composed = build_transforms(tuple(EXAMPLES[name] for name in ("Resize", *TAIL)))(images)
    resized = apply_to(Resize(height_px=7, width_px=6), images, NO_UNIFORMS)
    normalize = Normalize(mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3))
    expected = normalize(ToTensor()(resized, NO_UNIFORMS), NO_UNIFORMS)
    torch.testing.assert_close(composed, expected, rtol=0, atol=3e-6)
    assert composed.dtype == torch.float32
    assert composed.is_contiguous(memory_format=torch.channels_last)


def test_what_stands_between_to_tensor_and_normalize_gets_floats() -> None:
    """The two are one step only where nothing is between them: an erased rectangle of 0 is black, -4 here."""
    erase_all = make_schema("RandomErasing", p=1.0, value=0.0)
    listed = (EXAMPLES["ToTensor"], erase_all, EXAMPLES["Normalize"])
    changed = build_transforms(listed)(draw_images(40), samples=count_up(40))
    assert torch.isclose(changed[:, 0].flatten(1).amin(dim=1), torch.tensor(-4.0)).all()


def apply(
    *,
    samples: Sequence[int] = range(40),
    seed: int = 0,
    epoch: int = 0,
    placed: Sequence[BlockTransform] = (),
) -> Tensor:
    """Return what a random crop makes of copies of one image."""
    images = draw_images(1).expand(len(samples), -1, -1, -1)
    compose = Compose([*placed, RandomCrop(padding=2)], seed=seed)
    return compose(images, samples=np.array(samples), epoch=epoch)


def test_random_numbers_follow_the_sample() -> None:
    """A sample is changed the same way in every batch and at every index in it; samples differ."""
    together = apply()
    assert torch.equal(apply(samples=[7, 3, 30]), together[[7, 3, 30]])
    assert len({image.numpy().tobytes() for image in together}) > 10


def test_random_numbers_follow_epoch_seed_and_position() -> None:
    """Another epoch, seed or position in the list changes what becomes of images."""
    nothing = RandomHorizontalFlip(p=0.0)
    once = apply()
    assert torch.equal(apply(), once)
    for other in (apply(epoch=1), apply(seed=1), apply(placed=[nothing])):
        assert not torch.equal(other, once)


def test_each_transform_has_random_numbers_of_its_own() -> None:
    """Two equal transforms in one list do not do the same twice: flips cancel for half of the images."""
    images = draw_images(200)
    flips = Compose([RandomHorizontalFlip(p=0.5), RandomHorizontalFlip(p=0.5)])
    flipped = flips(images, samples=count_up(200))
    unchanged = (flipped == images).flatten(1).all(dim=1).sum().item()
    assert 70 < unchanged < 130


def test_random_numbers_are_uniform() -> None:
    """Crops of many samples reach each of the 25 places about equally often (chi-square, p = 0.0002)."""
    image = torch.zeros(5000, 1, 5, 5, dtype=torch.uint8)
    image[:, :, 2, 2] = 1
    counts = Compose([RandomCrop(padding=2)])(image, samples=count_up(5000)).sum(dim=0).flatten()
    assert ((counts - 200.0) ** 2 / 200).sum() < 56


def test_statistics_of_the_data_set_are_filled_in() -> None:
    """`dataset` becomes the measured numbers; numbers that were given, and all else, stay."""
    crop, to_tensor = EXAMPLES["RandomCrop"], EXAMPLES["ToTensor"]
    normalize = schema.Normalize(name="Normalize", mean="dataset", std=(0.5,))
    measured = Statistics((0.25,), (0.75,))
    filled = fill_in_statistics((crop, to_tensor, normalize), dataset=measured, weights=never)
    assert filled == (crop, to_tensor, schema.Normalize(name="Normalize", mean=(0.25,), std=(0.5,)))
    normalize = schema.Normalize(name="Normalize", mean=(0.5,), std="dataset")
    filled = fill_in_statistics((to_tensor, normalize), dataset=measured, weights=never)
    assert filled == (to_tensor, schema.Normalize(name="Normalize", mean=(0.5,), std=(0.75,)))


def test_statistics_of_the_weights_are_filled_in() -> None:
    """`weights` becomes what the network's library says, and may stand beside `dataset`."""
    expected, measured = Statistics((0.485,), (0.229,)), Statistics((0.25,), (0.75,))
    normalize = schema.Normalize(name="Normalize", mean="weights", std="dataset")
    (filled,) = fill_in_statistics((normalize,), dataset=measured, weights=lambda: expected)
    assert filled == schema.Normalize(name="Normalize", mean=(0.485,), std=(0.75,))


def never() -> Statistics:
    """Stand for weights that nobody asks for."""
    pytest.fail("asked for the statistics of weights")


def test_flat_channel_is_refused() -> None:
    """A measured standard deviation of 0 cannot be divided by; the message names the key and the channel."""
    normalize = schema.Normalize(name="Normalize", mean="dataset", std="dataset")
    with pytest.raises(InputError, match=r"params\.yaml: transforms: Normalize\.std: .* channel 1 "):
        fill_in_statistics((normalize,), dataset=Statistics((0.5, 0.5, 0.5), (0.1, 0.0, 0.0)), weights=never)
