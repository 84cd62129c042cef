"""Some images of a split, as prepared and as the network will see them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from schemas.params import Params
from schemas.shared.manifest import SplitName
from schemas.vision.transforms import Normalize, Transforms
from stages.shared.paths import PREPARED
from stages.show.grid import Cell, Pixels
from stages.vision.dataset import PreparedImages, read_manifest
from stages.vision.draws import derive_seed
from stages.vision.transforms import build_mixing, build_transforms, fill_in_statistics, for_training


def draw_cells(params: Params, *, split: SplitName, num_images: int, epoch: int, seed: int) -> list[Cell]:
    """Return images of a split before and after the training transforms.

    Args:
        params: All parameters.
        split: Where the images are from.
        num_images: How many, if there are so many.
        epoch: Whose random changes are shown, counted from 1.
        seed: Chooses the images.

    Raises:
        InputError: The prepared data is missing or damaged.
    """
    manifest = read_manifest(PREPARED)
    transforms = fill_in_statistics(params.transforms, mean=manifest.mean, std=manifest.std)
    transform = build_transforms(for_training(transforms), seed=params.training.seed)
    images = PreparedImages(PREPARED, manifest, split, transform=transform)
    images.set_epoch(epoch - 1)
    order = torch.Generator().manual_seed(derive_seed(seed))
    chosen = torch.randperm(len(images), generator=order)[:num_images].tolist()
    transformed, labels = images.gather(chosen)
    names = [manifest.classes[label] for label in labels.tolist()]
    mixing = build_mixing(transforms, num_classes=len(manifest.classes), seed=params.training.seed)
    if mixing is not None:  # as the first step of the epoch would mix them, were they its batch
        transformed, targets = mixing(transformed, labels, epoch=epoch - 1, step=0)
        names = [name_shares(shares, manifest.classes) for shares in targets.tolist()]
    return [
        Cell(name, images.pixels(image), unnormalize(after, transforms))
        for image, name, after in zip(chosen, names, transformed, strict=True)
    ]


def name_shares(shares: Sequence[float], classes: Sequence[str]) -> str:
    """Return the classes that a mixed image has a share of, the largest first: `cat 70%, dog 30%`."""
    ranked = sorted(
        ((share, name) for share, name in zip(shares, classes, strict=True) if share), reverse=True
    )
    return ranked[0][1] if len(ranked) == 1 else ", ".join(f"{name} {share:.0%}" for share, name in ranked)


def unnormalize(image: Tensor, transforms: Transforms) -> Pixels:
    """Undo Normalize and ToTensor, so that a person sees what is left of the picture.

    Args:
        image: float (C, H, W), as the network takes it.
        transforms: A list whose Normalize holds numbers.

    Returns:
        uint8 (H, W, C).
    """
    for transform in transforms:
        if isinstance(transform, Normalize):
            assert transform.mean != "dataset", "statistics are filled in"
            assert transform.std != "dataset", "statistics are filled in"
            image = (
                image * torch.tensor(transform.std)[:, None, None]
                + torch.tensor(transform.mean)[:, None, None]
            )
    pixels = (image * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    return np.ascontiguousarray(pixels)
