"""The whole of params.yaml, section by section."""

from typing import NamedTuple

from schemas.evaluate.evaluation import Evaluation
from schemas.ingest.dataset import Dataset
from schemas.prepare_dataset.audit import Audit
from schemas.prepare_dataset.split import Split
from schemas.shared.schema import Schema
from schemas.train.loader import Loader
from schemas.train.loss import LABELS_ONLY, Loss
from schemas.train.lr_scheduler import LrScheduler
from schemas.train.optimizer import Optimizer
from schemas.train.training import Training
from schemas.train.transfer import Transfer
from schemas.vision.network import NO_WEIGHTS_FILE, Network
from schemas.vision.transforms import Form, Transforms, change_form, find_transform_problems


class Params(Schema):
    """Every parameter of every stage, in the order the stages use them."""

    dataset: Dataset
    audit: Audit
    split: Split
    transforms: Transforms
    """Steps to the network, in order, under torchvision's names; random ones apply in training only."""

    loader: Loader
    network: Network
    transfer: Transfer
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
    num_channels = 3 if params.dataset.color == "rgb" else 1
    prepared = Form(params.dataset.height_px, params.dataset.width_px, num_channels)
    for place, argument, message in find_transform_problems(prepared, params.transforms):
        name = params.transforms[place].name
        conflicts.append(Conflict(f"transforms.{place}.{name}.{argument}", message))
    trained = change_form(prepared, params.transforms, training=True)
    tested = change_form(prepared, params.transforms, training=False)
    network = params.network.chosen()
    if trained != tested and not network.arguments.takes_any_size:
        conflicts.append(
            Conflict(
                "transforms",
                f"images have {trained.height_px} x {trained.width_px} px in training and "
                f"{tested.height_px} x {tested.width_px} px otherwise, where random transforms do not apply; "
                f"allowed for network.name: {network.name}: the same, by Resize or CenterCrop with "
                "in_training: false",
            )
        )
    mixing = [transform.name for transform in params.transforms if transform.stands == "last"]
    if mixing and params.loss.name in LABELS_ONLY:
        conflicts.append(
            Conflict(
                "loss.name",
                f"found {params.loss.name}, which cannot use the mixed labels of {mixing[0]}; "
                f"allowed: cross_entropy, binary_cross_entropy, or transforms without {mixing[0]}",
            )
        )
    side_px = min(tested.height_px, tested.width_px, trained.height_px, trained.width_px)
    min_side_px = network.arguments.min_side_px
    if side_px < min_side_px:
        key = f"network.{network.name}.{network.arguments.halved_by}"
        conflicts.append(
            Conflict(
                key,
                f"found {len(getattr(network.arguments, network.arguments.halved_by))} items, which ask for "
                f"images of at least {min_side_px} px; allowed: fewer, for images of {side_px} px",
            )
        )
    named_weights = getattr(network.arguments, "weights", "none")
    if named_weights != "none" and params.network.weights_file != NO_WEIGHTS_FILE:
        conflicts.append(
            Conflict(
                "network.weights_file",
                f"found {params.network.weights_file}, beside network.{network.name}.weights: "
                f"{named_weights}; allowed: one of them, the other {NO_WEIGHTS_FILE} or none",
            )
        )
    starts_anew = named_weights == "none" and params.network.weights_file == NO_WEIGHTS_FILE
    if params.transfer.freeze == "backbone" and starts_anew:
        conflicts.append(
            Conflict(
                "transfer.freeze",
                "found backbone, but the network starts from no weights; allowed: none, unless "
                "network.weights_file, or weights of network.torchvision or network.timm, names some",
            )
        )
    if params.split.group == "column" and params.dataset.labels == "folders":
        conflicts.append(
            Conflict(
                "split.group",
                "found column, but dataset.labels is folders, which have none; allowed: null, or a regular "
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
