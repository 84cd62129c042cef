"""What a network holds before its first step: fitted to training images, or trained before."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from schemas.shared.image import ImageForm
from schemas.vision.initial_weights import InitialWeights
from schemas.vision.network import NO_WEIGHTS_FILE, Network
from stages.shared.errors import InputError
from stages.shared.files import sha256_of
from stages.vision.checkpoint import hash_weights
from stages.vision.dataset import PreparedImages
from stages.vision.draws import derive_seed
from stages.vision.head import FrozenBackbone
from stages.vision.networks import fetch_weights
from stages.vision.weights import lay_over, read_weights

_BATCH_SIZE = 64


@runtime_checkable
class FitsToImages(Protocol):
    """A network that looks at training images before its first step, as airbench does."""

    num_fit_images: int

    def fit(self, batches: Iterable[Tensor]) -> None:
        """Fit weights to batches of images (N, C, H, W), preprocessed as for validation."""
        ...


def fit_to_images(network: nn.Module, images: PreparedImages, *, seed: int) -> None:
    """Show a network that asks for it so many training images, drawn by the seed.

    Args:
        network: On the processor.
        images: The training split, without random transforms.
        seed: Of the run.
    """
    if isinstance(network, FitsToImages):
        network.fit(_draw_batches(images, num_images=network.num_fit_images, seed=seed))


def _draw_batches(images: PreparedImages, *, num_images: int, seed: int) -> Iterator[Tensor]:
    """Yield batches of images drawn without replacement, or of all where there are fewer."""
    generator = torch.Generator().manual_seed(derive_seed(seed))
    drawn = torch.randperm(len(images), generator=generator)[:num_images].sort().values.tolist()
    for start in range(0, len(drawn), _BATCH_SIZE):
        yield images.gather(drawn[start : start + _BATCH_SIZE])[0]


def start_from_weights(network: nn.Module, section: Network, *, image: ImageForm) -> InitialWeights | None:
    """Lay the weights that params.yaml names over a new network, and print what did not fit.

    Returns:
        What was taken over, or None if none are named.

    Raises:
        InputError: They cannot be read or fetched, none fits, or two are named.
    """
    file = section.weights_file
    fetched = fetch_weights(section.chosen(), image=image) if file == NO_WEIGHTS_FILE else None
    if file != NO_WEIGHTS_FILE:
        path = Path(file)
        found = lay_over(network, read_weights(path), source=path.name, sha256=sha256_of(path))
    elif fetched is not None:
        arguments = section.chosen().arguments
        source = f"{section.name} {arguments.model} {arguments.weights}"  # type: ignore[union-attr]
        found = lay_over(network, fetched, source=source, sha256=hash_weights(fetched))
    else:
        return None
    for line in describe(found):
        print(f"train: {line}")
    return found


def describe(found: InitialWeights) -> list[str]:
    """Return in words what was taken over, and every name that was not."""
    lines = [f"starting from {found.source}: {found.num_loaded} tensors fit"]
    for names, what in (
        (found.summed, "summed over three channels"),
        (found.other_shape, "of another shape, so new"),
        (found.only_in_network, "not in the weights, so new"),
        (found.only_in_weights, "not in the network, so left out"),
    ):
        if names:
            lines.append(f"  {what}: {', '.join(names)}")
    return lines


def refuse_lone_image(network: nn.Module, *, image: ImageForm, smallest: int, is_always_frozen: bool) -> None:
    """Try whether one image alone can be trained on, if there is such a step: batch norm of one pixel cannot.

    Args:
        network: On the processor.
        image: The form of its images.
        smallest: Images of the smallest batch, or part of one.
        is_always_frozen: Whether the backbone is in every epoch: its batch norm then needs no batch.

    Raises:
        InputError: It cannot.
    """
    if smallest > 1:
        return
    as_trained = FrozenBackbone(network) if is_always_frozen else network
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
