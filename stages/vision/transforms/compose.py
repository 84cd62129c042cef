"""Transforms in order: of pictures up to ToTensor, of numbers from there on.

A transform of pictures is a function of one uint8 image and of random numbers of its own. Threads share out
the images of a batch in blocks. Transforms of numbers take whole batches, on the device of the network, so
that a GPU is sent bytes. All random numbers of a batch are drawn in advance: the same sample is changed the
same way in the same epoch, whatever the threads, the workers and the rest of its batch.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import takewhile
from os import getpid
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stages.shared.errors import InputError
from stages.vision.rng import draw_uniform
from stages.vision.transforms.functional import Floats, Image
from stages.vision.transforms.numbers import Normalize, ToTensor

_CPU = torch.device("cpu")

_BLOCK_BYTES = 2**18
"""Images that are read and changed together, by one of several threads, while they are in a core's cache."""

_MIN_BLOCK_BYTES = 2**14
"""Size of an image below which a batch is one block. Python then takes longer than the pixels, and only one
thread can run it."""

# Threads share out the images of a batch; OpenCV's own would only compete with them.
cv2.setNumThreads(1)


class PictureTransform(Protocol):
    """One transform of one image.

    A class may set `is_alternating = True`: its random numbers u are then those of epoch 0 in all even
    epochs, and 1 - u in the odd ones.
    """

    num_uniforms: int
    """Random numbers per image; 0 for a transform that is not random."""

    def __call__(self, image: Image, numbers: Sequence[float]) -> Image:
        """Return a changed image, or the one that was given.

        Args:
            image: uint8 (height, width, channels), not to be written into.
            numbers: num_uniforms random numbers in [0, 1).
        """
        ...


class BlockTransform(Protocol):
    """A transform of one image that is written for several of them, each changed by itself."""

    num_uniforms: int

    def change_block(self, images: Image, uniforms: Floats) -> Image:
        """Return changed images uint8 (N, H', W', C).

        Args:
            images: uint8 (N, H, W, C), not to be written into.
            uniforms: float64 (N, num_uniforms) in [0, 1).
        """
        ...


class BatchTransform(Protocol):
    """One transform of numbers, of a whole batch."""

    num_uniforms: int

    def __call__(self, images: Tensor, uniforms: Tensor) -> Tensor:
        """Return transformed images float32 (N, C, H, W), on their device.

        uniforms is float64 (N, num_uniforms) in [0, 1), on the CPU.
        """
        ...


AnyTransform = PictureTransform | BlockTransform | BatchTransform


class Compose:
    """Transforms in order, each with its own random numbers."""

    def __init__(self, transforms: Sequence[AnyTransform], *, seed: int = 0) -> None:
        """Take a list in which all that comes before ToTensor works on pictures."""
        self.transforms = tuple(transforms)
        self._seed = seed
        of_pictures = takewhile(lambda transform: not isinstance(transform, ToTensor), transforms)
        self._num_pictures = len(list(of_pictures))

    def __call__(
        self,
        images: Tensor,
        *,
        samples: npt.NDArray[np.int64] | None = None,
        epoch: int = 0,
        device: torch.device = _CPU,
    ) -> Tensor:
        """Return the images as the network takes them.

        Args:
            images: uint8 (N, C, H, W), on the CPU.
            samples: int64 (N,), the index of each image in its split; needed if a transform is random.
            epoch: Epoch, counted from 0, that the random numbers are for.
            device: Where the network is.

        Returns:
            float32 (N, C, H', W'), channels_last, where ToTensor is in the list.
        """
        source = images.permute(0, 2, 3, 1).numpy()
        pictures = self.change_pictures(
            lambda block: source[block], num_images=len(source), samples=samples, epoch=epoch
        )
        return self.change_numbers(pictures.to(device), samples=samples, epoch=epoch)

    def change_pictures(
        self,
        read: Callable[[slice], Image],
        *,
        num_images: int,
        samples: npt.NDArray[np.int64] | None = None,
        epoch: int = 0,
    ) -> Tensor:
        """Return images uint8 (N, C, H', W'), channels_last, after all transforms of pictures.

        Args:
            read: Returns those of a slice, uint8 (n, H, W, C). Several threads call it.
            num_images: N.
            samples: int64 (N,), the index of each image in its split; needed if a transform is random.
            epoch: Epoch, counted from 0, that the random numbers are for.
        """
        transforms = self.transforms[: self._num_pictures]
        uniforms = [
            self._draw(index, num_images=num_images, samples=samples, epoch=epoch)
            for index in range(len(transforms))
        ]

        def change(block: slice) -> Image:
            images = read(block)
            for transform, of_transform in zip(transforms, uniforms, strict=True):
                images = change_block(transform, images, of_transform[block])
            return images

        # A single image would not have been copied.
        if num_images > 1 and read(slice(1)).nbytes < _MIN_BLOCK_BYTES:
            return torch.from_numpy(np.ascontiguousarray(change(slice(num_images)))).permute(0, 3, 1, 2)
        first = change(slice(1))  # which tells the size afterwards
        target = np.empty((num_images, *first.shape[1:]), dtype=np.uint8)
        target[:1] = first

        def fill(blocks: Sequence[slice]) -> None:
            for block in blocks:
                target[block] = change(block)

        num_each = max(1, _BLOCK_BYTES // first.nbytes)
        blocks = [slice(start, start + num_each) for start in range(1, num_images, num_each)]
        num_threads = torch.get_num_threads()
        if num_threads == 1:
            fill(blocks)
        else:
            shares = [blocks[number::num_threads] for number in range(num_threads)]
            list(_start_threads(num_threads, getpid()).map(fill, shares))  # a list, to raise what they raise
        return torch.from_numpy(target).permute(0, 3, 1, 2)

    def change_numbers(
        self, images: Tensor, *, samples: npt.NDArray[np.int64] | None = None, epoch: int = 0
    ) -> Tensor:
        """Return images as the network takes them, on the device they are on.

        Args:
            images: uint8 (N, C, H, W), after the transforms of pictures.
            samples: int64 (N,), the index of each image in its split; needed if a transform is random.
            epoch: Epoch, counted from 0, that the random numbers are for.

        Returns:
            float32 (N, C, H, W), channels_last, where ToTensor is in the list.
        """
        for index in range(self._num_pictures, len(self.transforms)):
            transform: Any = self.transforms[index]
            is_followed = any(isinstance(each, Normalize) for each in self.transforms[index + 1 : index + 2])
            if isinstance(transform, ToTensor) and is_followed:
                continue  # Normalize takes bytes as well: one pass over the pixels instead of two
            uniforms = self._draw(index, num_images=len(images), samples=samples, epoch=epoch)
            changed = transform(images, torch.from_numpy(uniforms))
            _check_batch(changed, images, name=type(transform).__name__)
            images = changed
        return images.contiguous(memory_format=torch.channels_last)

    def _draw(
        self, index: int, *, num_images: int, samples: npt.NDArray[np.int64] | None, epoch: int
    ) -> Floats:
        """Return random numbers (N, num_uniforms), a function of (seed, epoch, index, sample)."""
        transform = self.transforms[index]
        if not transform.num_uniforms:
            return np.empty((num_images, 0))
        assert samples is not None, "a random transform needs to know its samples"
        is_alternating = getattr(transform, "is_alternating", False)
        uniforms = draw_uniform(
            self._seed,
            0 if is_alternating else epoch,
            index,
            samples=samples,
            num_values=transform.num_uniforms,
        )
        return 1 - uniforms if is_alternating and epoch % 2 else uniforms


@cache
def _start_threads(num_threads: int, process: int) -> ThreadPoolExecutor:
    """Return this process's threads: those of a process that was forked stay behind in it."""
    return ThreadPoolExecutor(num_threads, thread_name_prefix="transforms")


def change_block(transform: Any, images: Image, uniforms: Floats) -> Image:
    """Return what a transform of pictures makes of a block (N, H, W, C), which stays as it is.

    Raises:
        InputError: It makes something else than pictures of one size.
    """
    if hasattr(transform, "change_block"):
        block: Image = transform.change_block(images, uniforms)
        return block
    images = images.view()
    images.flags.writeable = False  # they may be in the prepared file
    changed = images[:0]
    for number, (image, numbers) in enumerate(zip(images, uniforms.tolist(), strict=True)):
        one: Image = transform(image, numbers)
        if number == 0:
            changed = np.empty((len(images), *one.shape), dtype=np.uint8)
        is_picture = one.dtype == np.uint8 and one.ndim == 3 and one.shape[2] == image.shape[2]
        if not is_picture or one.shape != changed.shape[1:]:
            raise InputError(
                f"transforms: {type(transform).__name__}: made {one.dtype} {one.shape} of {image.dtype} "
                f"{image.shape}; allowed: uint8 (height, width, {image.shape[2]}), all of one size; "
                "convert by .astype(np.uint8)"
            )
        if len(images) == 1:
            return one[None]
        changed[number] = one
    return changed


def _check_batch(transformed: Tensor, images: Tensor, *, name: str) -> None:
    """Check that images are float32 from ToTensor on: a network would stop far from here.

    Raises:
        InputError: A transform made something else of them, such as float64 by multiplying with its uniforms.
    """
    fits = transformed.dtype == torch.float32 and transformed.device == images.device
    if not fits or transformed.ndim != 4 or len(transformed) != len(images):
        made, given = (f"{each.dtype} {tuple(each.shape)} on {each.device}" for each in (transformed, images))
        raise InputError(
            f"transforms: {name}: made {made} of {given}; allowed: as many images on the same device, "
            "torch.float32 (N, C, H, W); convert by .to(images)"
        )
