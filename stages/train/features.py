"""The features of a frozen backbone: computed once, and found again by later runs.

In evaluation mode, a backbone turns the same images into the same features in every epoch, and in every run
with the same backbone, data and preprocessing, whatever the learning rate, the loss or the seed is. So they
are kept in `.dvc/tmp/darkroom/features/` of the main repository, each file by a hash of what it depends on.
"""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from stages.shared.errors import InputError
from stages.shared.files import check_checksum, publish_file, write_checksum
from stages.shared.inputs import hash_json
from stages.shared.progress import Progress
from stages.train.loop import Training
from stages.vision.checkpoint import hash_weights
from stages.vision.dataset import PreparedImages, Samples, build_loader
from stages.vision.inference import compute_batch_logits
from stages.vision.pretrained import capture_features, find_heads

MAX_BYTES = 20 * 2**30
"""Of all files together; those that nobody read for the longest time go first."""

_BATCH_SIZE = 64
"""Always the same, for in a batch of another size an image may get other last bits."""


class FeatureStore:
    """The features of the splits of one prepared data set."""

    def __init__(self, folder: Path, *, key: str) -> None:
        """Name where features are kept.

        Args:
            folder: Created if it is missing.
            key: A hash of all that features depend on, beside the backbone's weights and the split.
        """
        self._folder = folder
        self._key = key

    def open(
        self, training: Training, network: nn.Module, images: PreparedImages, *, backbone: str
    ) -> "Features":
        """Return the features of a split, from an earlier run or computed now, and print which.

        Args:
            training: The run.
            network: In evaluation mode afterwards.
            images: The split.
            backbone: Hash of the network's backbone, by `hash_backbone`.

        Raises:
            OSError: They are not there and cannot be written.
        """
        name = hash_json([self._key, backbone, hashlib.sha256(images.rows.tobytes()).hexdigest()])
        path = self._folder / f"{name}.npy"
        count = f"{len(images):,} image{'s' if len(images) > 1 else ''}"
        try:
            check_checksum(path, made_by="")
            path.touch()
            print(f"train: the backbone is frozen; features of {count} are there from an earlier run")
        except (InputError, OSError):  # there are none, or they are damaged
            print(f"train: the backbone is frozen; computing features of {count}, once for all epochs")
            path.parent.mkdir(parents=True, exist_ok=True)
            with publish_file(path) as partial:
                _write_features(partial, training, network, images)
            write_checksum(path)
            self._remove_oldest()
        return Features(np.load(path, mmap_mode="r"), images.labels)

    def _remove_oldest(self) -> None:
        num_bytes = 0
        for path in sorted(self._folder.glob("*.npy"), key=_time_of_use, reverse=True):
            num_bytes += path.stat().st_size
            if num_bytes > MAX_BYTES:
                path.with_name(f"{path.name}.sha256").unlink(missing_ok=True)
                path.unlink(missing_ok=True)


class Features(Dataset[tuple[Tensor, Tensor]]):
    """The features float32 (N, values, 1, 1) of a split, and its labels.

    They are mapped into memory, so that its use stays flat. Height and width of 1 let them pass for images.
    """

    def __init__(self, features: npt.NDArray[np.float32], labels: Tensor) -> None:
        self.feature_shape = features.shape[1:]
        self._features = features.reshape(len(features), -1, 1, 1)
        self._labels = labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> Samples:
        """Return the samples at these indices; DataLoader calls it once a batch."""
        return Samples(torch.from_numpy(self._features[indices]), self._labels[indices])


def _write_features(path: Path, training: Training, network: nn.Module, images: PreparedImages) -> None:
    """Write a .npy file batch by batch: never all in memory, and, unlike a map, an error on a full disk."""
    network.eval()
    with path.open("wb") as file, Progress("train: features", len(images)) as progress:
        for batch, _ in build_loader(images, batch_size=_BATCH_SIZE, device=training.device):
            with capture_features(network) as captured:
                compute_batch_logits(network, batch, device=training.device, numerics=training.numerics)
            # The features of a single image come twice: build_loader has no batches of one.
            features = captured[0].float().cpu()[: len(batch)].contiguous()
            if progress.num_done == 0:
                shape = (len(images), *features.shape[1:])
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(features.numpy().tobytes())
            progress.advance(len(batch))


def hash_backbone(network: nn.Module) -> str:
    """Return a hash of the backbone's weights and buffers."""
    heads = tuple(f"{name}." for name in find_heads(network))
    return hash_weights(
        {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(heads)}
    )


def _time_of_use(path: Path) -> float:
    return path.stat().st_mtime
