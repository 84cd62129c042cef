"""The whole of params.yaml, section by section."""

from typing import NamedTuple

from schemas.evaluate.evaluation import Evaluation
from schemas.prepare_dataset.audit import Audit
from schemas.prepare_dataset.dataset import Dataset
from schemas.prepare_dataset.split import Split
from schemas.shared.schema import Schema
from schemas.train.loader import Loader
from schemas.train.loss import Loss
from schemas.train.lr_scheduler import LrScheduler
from schemas.train.optimizer import Optimizer
from schemas.train.training import Training
from schemas.vision.network import Network
from schemas.vision.transforms import Normalize, Transforms


class Params(Schema):
    """Every parameter of every stage, in the order the stages use them."""

    dataset: Dataset
    audit: Audit
    split: Split
    transforms: Transforms
    """Steps to the network, in order, under torchvision's names; random ones apply in training only."""

    loader: Loader
    network: Network
    loss: Loss
    optimizer: Optimizer
    lr_scheduler: LrScheduler
    training: Training
    evaluation: Evaluation


class Conflict(NamedTuple):
    """Two values that are each allowed, but not together."""

    key: str
    """Dotted key of the value to change, as in `network.cnn.channels`."""

    message: str


def find_conflicts(params: Params) -> list[Conflict]:
    """Return what sections of a valid file ask of each other and do not get."""
    conflicts = []
    side_px = min(params.dataset.height_px, params.dataset.width_px)
    num_blocks = {"cnn": len(params.network.cnn.channels)}.get(params.network.name, 0)
    if side_px < 2**num_blocks:
        conflicts.append(
            Conflict(
                "network.cnn.channels",
                f"found {num_blocks} blocks, each halving the image; "
                f"allowed: at most {side_px.bit_length() - 1} for images of {side_px} px",
            )
        )
    num_channels = 3 if params.dataset.color == "rgb" else 1
    for place, transform in enumerate(params.transforms):
        if isinstance(transform, Normalize):
            for name, values in (("mean", transform.mean), ("std", transform.std)):
                if values != "dataset" and len(values) != num_channels:
                    conflicts.append(
                        Conflict(
                            f"transforms.{place}.Normalize.{name}",
                            f"found {len(values)} numbers; allowed: dataset, or {num_channels} "
                            f"for dataset.color: {params.dataset.color}",
                        )
                    )
    if params.split.group == "column" and params.dataset.labels == "folders":
        conflicts.append(
            Conflict(
                "split.group",
                "found column, but dataset.labels is folders, which have none; allowed: none, or a regular "
                "expression, or set dataset.labels to a .csv with the column group",
            )
        )
    if params.lr_scheduler.warmup_epochs > params.training.num_epochs:
        conflicts.append(
            Conflict(
                "lr_scheduler.warmup_epochs",
                f"found {params.lr_scheduler.warmup_epochs:g}; "
                f"allowed: at most training.num_epochs, {params.training.num_epochs}",
            )
        )
    return conflicts
