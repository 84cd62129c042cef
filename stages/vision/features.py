"""Features that do not change: computed once, and found again by later runs.

In evaluation mode, a network turns the same images into the same features in every epoch, and in every run
of the same weights, data and preprocessing, whatever the learning rate, the loss or the seed is. So they are
kept in `.dvc/tmp/darkroom/features/` of the main repository, each file by a hash of what it depends on. A
disk that does not take them costs the next run their computation, never this run its result.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from schemas.vision.network import ChosenNetwork
from schemas.vision.runtime import Numerics
from schemas.vision.transforms import Transforms
from stages.shared.errors import InputError, describe_error
from stages.shared.files import check_checksum, publish_file, write_checksum
from stages.shared.inputs import hash_code, hash_json
from stages.shared.paths import find_scratch
from stages.shared.progress import Progress
from stages.vision.dataset import PreparedImages, build_loader
from stages.vision.inference import compute_batch_logits
from stages.vision.runtime import describe_machine, list_libraries
from stages.vision.transforms import without_random

Array = npt.NDArray[np.float32]
Capture = Callable[[nn.Module], AbstractContextManager[list[Tensor] | None]]
"""Yields a list to which every forward pass in its block appends features (N, ...); None: there are none."""

MAX_BYTES = 20 * 2**30
"""Of all files together; those that nobody read for the longest time go first."""

_BATCH_SIZE = 64
"""Always the same, for in a batch of another size an image may get other last bits."""

_CODE = ("schemas/shared", "schemas/vision", "stages/shared", "stages/vision")
"""All that features depend on; the code of the stages that use them is not."""


class FeatureStore:
    """The features of the splits of one prepared data set."""

    def __init__(self, folder: Path | None, *, key: str, say: Callable[[str], None]) -> None:
        """Name where features are kept.

        Args:
            folder: Created if it is missing. None: they are not kept.
            key: A hash of all that features depend on, beside the network's weights and the split.
            say: Is told whether features are there or are computed.
        """
        self._folder = folder
        self._key = key
        self._say = say

    def open(self, images: PreparedImages, *, weights: str, compute: Callable[[], Iterable[Tensor]]) -> Array:
        """Return the features float32 (N, ...) of a split, from an earlier run or computed now.

        They are mapped into memory, so that its use stays flat.

        Args:
            images: The split.
            weights: Hash of all weights that the features depend on.
            compute: Yields them batch by batch; called again if the disk does not take them.
        """
        count = f"{len(images):,} image{'s' if len(images) > 1 else ''}"
        computing = f"computing features of {count}"
        if self._folder is None:
            self._say(computing)
            return _join(compute())
        name = hash_json([self._key, weights, hashlib.sha256(images.rows.tobytes()).hexdigest()])
        path = self._folder / f"{name}.npy"
        try:
            check_checksum(path, made_by="")
            path.touch()
            features = _map(path)
            self._say(f"features of {count} are there from an earlier run")
            return features
        except (InputError, OSError):  # there are none, or they are damaged
            self._say(computing)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with publish_file(path) as partial:
                _write(partial, compute(), num_images=len(images))
            write_checksum(path)
            self._remove_oldest()
            return _map(path)
        except (InputError, OSError) as error:
            self._say(f"they are not kept for later runs: {describe_error(error)}")
            return _join(compute())

    def _remove_oldest(self) -> None:
        assert self._folder is not None
        num_bytes = 0
        for path in sorted(self._folder.glob("*.npy"), key=_time_of_use, reverse=True):
            num_bytes += path.stat().st_size
            if num_bytes > MAX_BYTES:
                path.with_name(f"{path.name}.sha256").unlink(missing_ok=True)
                path.unlink(missing_ok=True)


def open_store(
    sort: str,
    *,
    data_sha256: str,
    network: ChosenNetwork,
    preprocessing: Transforms,
    device: torch.device,
    numerics: Numerics,
    say: Callable[[str], None],
) -> FeatureStore:
    """Return where features of these images are kept, by this and by other runs.

    Args:
        sort: What is taken for features.
        data_sha256: Of the prepared data.
        network: Which network computes them.
        preprocessing: What happens to images; random transforms do not count.
        device: What computes them.
        numerics: How.
        say: Is told whether features are there or are computed.
    """
    scratch = find_scratch()
    key = {
        "sort": sort,
        "data": data_sha256,
        "code": hash_code(_CODE),
        "network": network.model_dump(mode="json"),
        "preprocessing": [transform.model_dump(mode="json") for transform in without_random(preprocessing)],
        "libraries": list_libraries(network.name, preprocessing),
        "machine": describe_machine(device),
        "numerics": numerics.model_dump(),
    }
    return FeatureStore(scratch / "features" if scratch else None, key=hash_json(key), say=say)


def compute_features(
    network: nn.Module,
    images: PreparedImages,
    *,
    capture: Capture,
    device: torch.device,
    numerics: Numerics,
    title: str,
) -> Iterator[Tensor]:
    """Yield the features float32 (n, ...) of batches of images, on the CPU; the network is set to evaluation.

    Args:
        network: On the device.
        images: The split.
        capture: What is taken for features.
        device: Where the network is.
        numerics: Precision of the forward passes.
        title: Of the progress bar.
    """
    network.eval()
    with Progress(title, len(images)) as progress:
        for batch, _ in build_loader(images, batch_size=_BATCH_SIZE, device=device):
            with capture(network) as captured:
                compute_batch_logits(network, batch, device=device, numerics=numerics)
            assert captured, "the network has such features"
            yield captured[0].float().cpu().contiguous()
            progress.advance(len(batch))


def _map(path: Path) -> Array:
    features: Array = np.load(path, mmap_mode="r")
    return features


def _join(batches: Iterable[Tensor]) -> Array:
    return np.concatenate([batch.numpy() for batch in batches])


def _write(path: Path, batches: Iterable[Tensor], *, num_images: int) -> None:
    """Write a .npy file batch by batch: never all in memory, and, unlike a map, an error on a full disk."""
    with path.open("wb") as file:
        for number, batch in enumerate(batches):
            if number == 0:
                header = {"descr": "<f4", "fortran_order": False, "shape": (num_images, *batch.shape[1:])}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(batch.numpy().tobytes())


def _time_of_use(path: Path) -> float:
    return path.stat().st_mtime
