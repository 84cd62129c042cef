"""The network before its first step: built, fitted to images, given pretrained weights, and checked."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from schemas.params import Params
from schemas.shared.manifest import ImageForm
from schemas.vision.checkpoint import PretrainedWeights
from schemas.vision.network import NO_WEIGHTS_FILE, Network
from schemas.vision.transforms import Normalize
from stages.shared.errors import InputError, printable
from stages.shared.files import sha256_of
from stages.train.parts import smallest_part
from stages.vision.checkpoint import hash_weights
from stages.vision.dataset import PreparedImages
from stages.vision.networks import adapt_weights, build_network, check_takes_images, fetch_weights
from stages.vision.pretrained import (
    FrozenBackbone,
    find_heads,
    load_matching_weights,
    name_as_in,
    read_weights,
)
from stages.vision.rng import derive_seed

_BATCH_SIZE = 64
_MAX_LISTED = 100

_MAX_NEW_FRACTION = 0.1
"""Of a frozen backbone: enough for what some files leave out, too little for another network's weights."""


@runtime_checkable
class FitsToImages(Protocol):
    """A network that looks at training images before its first step, as airbench does."""

    num_fit_images: int

    def fit(self, batches: Iterable[Tensor]) -> None:
        """Fit weights to batches of images (N, C, H, W), preprocessed as for validation."""
        ...


def begin_network(
    params: Params,
    images: PreparedImages,
    *,
    image: ImageForm,
    trained_image: ImageForm,
    num_classes: int,
    num_images: int,
) -> tuple[nn.Module, PretrainedWeights | None]:
    """Return the network before its first step, on the CPU, and the pretrained weights it starts from.

    Args:
        params: All parameters.
        images: The training images without random transforms, for networks that look at them first.
        image: The form of the network's images.
        trained_image: Their form in training, which may have another size.
        num_classes: Its outputs.
        num_images: Images in an epoch.

    Raises:
        InputError: The network cannot take such images, the weights do not fit, or a batch is too small.
    """
    network = build_network(params.network.chosen(), image=image, num_classes=num_classes)
    if trained_image != image:
        check_takes_images(network, image=trained_image, place=f"network.name: {params.network.name}")
    fit_to_images(network, images, seed=params.training.seed)
    pretrained_weights = load_pretrained_weights(network, params.network, image=image)
    if pretrained_weights is not None:
        warn_of_other_statistics(params)
        if params.transfer.freeze == "backbone":
            check_backbone_is_loaded(network, pretrained_weights)
    smallest = smallest_part(
        num_images, batch_size=params.loader.batch_size, num_parts=params.training.accumulation_steps
    )
    if smallest == 1:
        check_single_image(network, image=trained_image, is_frozen=params.transfer.freeze == "backbone")
    return network, pretrained_weights


def fit_to_images(network: nn.Module, images: PreparedImages, *, seed: int) -> None:
    """Show training images, chosen by the seed, to a network that asks for them.

    Args:
        network: On the CPU.
        images: The training split, without random transforms.
        seed: Of the run.
    """
    if isinstance(network, FitsToImages):
        network.fit(_choose_batches(images, num_images=network.num_fit_images, seed=seed))


def _choose_batches(images: PreparedImages, *, num_images: int, seed: int) -> Iterator[Tensor]:
    """Yield batches of random images without replacement, or of all where there are fewer."""
    generator = torch.Generator().manual_seed(derive_seed(seed))
    chosen = torch.randperm(len(images), generator=generator)[:num_images].sort().values.tolist()
    for start in range(0, len(chosen), _BATCH_SIZE):
        yield images.gather(chosen[start : start + _BATCH_SIZE])[0]


def load_pretrained_weights(
    network: nn.Module, section: Network, *, image: ImageForm
) -> PretrainedWeights | None:
    """Load the weights that params.yaml names into a new network, and print what did not fit.

    Returns:
        What was loaded, or None if params.yaml names none.

    Raises:
        InputError: They cannot be read or downloaded, or none fits.
    """
    file, chosen = section.weights_file, section.chosen()
    prefix = ""
    if file != NO_WEIGHTS_FILE:
        path = Path(file)
        weights, prefix = name_as_in(network, read_weights(path))
        source, sha256 = printable(path.name), sha256_of(path)
    else:
        fetched = fetch_weights(chosen, image=image)
        if fetched is None:
            return None
        source = f"{section.name} {chosen.arguments.model} {chosen.arguments.weights}"  # type: ignore[union-attr]
        weights, sha256 = fetched, hash_weights(fetched)
    weights, resized = adapt_weights(chosen, weights, built=network, image=image)
    found = load_matching_weights(network, weights, source=source, sha256=sha256, resized=resized)
    for line in _describe(found, prefix=prefix):
        print(f"train: {line}")
    return found


def warn_of_other_statistics(params: Params) -> None:
    """Say so if images are normalized otherwise than those that the weights were trained on."""
    if any(
        isinstance(transform, Normalize) and "dataset" in (transform.mean, transform.std)
        for transform in params.transforms
    ):
        advice = "weights" if params.network.name in ("torchvision", "timm") else "those numbers"
        print(
            "train: warning: transforms: Normalize: dataset gives the pretrained weights other pixels than "
            f"they were trained on; set mean and std to {advice}"
        )


def check_backbone_is_loaded(network: nn.Module, found: PretrainedWeights) -> None:
    """Check that a backbone that will be frozen holds pretrained weights, and name those that are random.

    Args:
        network: Its tensors of whole numbers, such as counters of batches, do not count.
        found: Which of its tensors were loaded.

    Raises:
        InputError: Less than nine tenths of the backbone were.
    """
    heads = tuple(f"{name}." for name in find_heads(network))
    backbone = {
        name
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point() and not name.startswith(heads)
    }
    new = sorted(backbone.intersection(found.other_shape + found.only_in_network))
    if not new:
        return
    names = ", ".join(new[:5]) + (", ..." if len(new) > 5 else "")
    num_loaded = f"{len(backbone) - len(new)} of the backbone's {len(backbone)} tensors fit"
    if len(new) > _MAX_NEW_FRACTION * len(backbone):
        raise InputError(
            f"params.yaml: transfer.freeze: found backbone, but only {num_loaded} in {found.source}; the "
            f"rest would stay random: {names}; choose the network that the weights were trained in, or set "
            "transfer.freeze: null"
        )
    print(f"train: transfer.freeze: {num_loaded} in {found.source}; the rest is frozen at random: {names}")


def _describe(found: PretrainedWeights, *, prefix: str) -> list[str]:
    """Return in words what was loaded, and which tensors were not; the checkpoint lists all of them."""
    without = f", without {printable(prefix)} before their names" if prefix else ""
    fit = "1 tensor fits" if found.num_loaded == 1 else f"{found.num_loaded} tensors fit"
    lines = [f"starting from {found.source}: {fit}{without}"]
    for names, what in (
        (found.resized, "resized for images of this size"),
        (found.summed, "summed over three channels"),
        (found.other_shape, "of another shape, so new"),
        (found.only_in_network, "not in the weights, so new"),
        (found.only_in_weights, "not in the network, so left out"),
    ):
        if names:
            more = f" and {len(names) - _MAX_LISTED:,} more" if len(names) > _MAX_LISTED else ""
            lines.append(f"  {what}: {', '.join(names[:_MAX_LISTED])}{more}")
    return lines


def check_single_image(network: nn.Module, *, image: ImageForm, is_frozen: bool) -> None:
    """Check that the network can be trained on one image alone: batch norm of a single pixel cannot.

    Args:
        network: On the CPU; it is left unchanged.
        image: The form of its images.
        is_frozen: Whether the backbone is at first, so that its batch norm never needs a batch.

    Raises:
        InputError: It cannot.
    """
    as_trained = FrozenBackbone(network) if is_frozen else network
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    try:
        with torch.no_grad():
            as_trained.train()(torch.zeros(1, image.num_channels, image.height_px, image.width_px))
    except ValueError:
        raise InputError(
            "params.yaml: loader.batch_size: leaves a single image for the last batch or a part of one, and "
            "this network's batch norm needs 2; choose another batch size or training.accumulation_steps"
        ) from None
    finally:
        network.load_state_dict(before)
