"""The whole of params.yaml, section by section, and what its sections ask of each other."""

import os.path
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from schemas.evaluate.evaluation import Evaluation
from schemas.export.export import Export
from schemas.ingest.dataset import Dataset
from schemas.prepare_dataset.audit import Audit
from schemas.prepare_dataset.split import Split
from schemas.shared.fields import Schema
from schemas.train.cluster import Cluster
from schemas.train.loader import Loader
from schemas.train.loss import LABELS_ONLY, Loss
from schemas.train.lr_scheduler import LrScheduler
from schemas.train.optimizer import Optimizer
from schemas.train.training import Training
from schemas.train.transfer import Transfer
from schemas.vision.network import NO_WEIGHTS_FILE, Network
from schemas.vision.transforms import Form, Normalize, Transforms, change_form, find_transform_problems

OUTPUTS = tuple(
    f"data/{name}"
    for name in ("images", "prepared", "audit", "counts", "model", "dvclive", "report", "export", "metrics")
)
"""What the pipeline writes."""


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
    cluster: Cluster
    evaluation: Evaluation
    export: Export


class Conflict(NamedTuple):
    """Two values that are each allowed, but not together."""

    key: str
    """Dotted key of the value to change, as in `network.cnn.channels`."""

    message: str


def find_conflicts(params: Params) -> list[Conflict]:
    """Return what sections of a valid file ask of each other and do not get."""
    return [
        *_check_overlap(params),
        *_check_image_shapes(params),
        *_check_mixed_labels(params),
        *_check_balanced_once(params),
        *_check_pretrained_weights(params),
        *_check_statistics_of_weights(params),
        *_check_group_column(params),
        *_check_warmup(params),
        *_check_processes(params),
    ]


def _check_overlap(params: Params) -> Iterator[Conflict]:
    """DVC starts nothing where a stage would read what the pipeline writes."""
    for key, found, advice in (
        ("dataset.source", params.dataset.source, "another folder or archive, such as data/raw"),
        (
            "network.weights_file",
            params.network.weights_file,
            "a copy of it in another folder",
        ),
    ):
        path = Path(os.path.abspath(found))  # noqa: PTH100 - resolve() would follow links, as DVC does not
        for output in OUTPUTS:
            place = Path(output).absolute()
            if path.is_relative_to(place) or place.is_relative_to(path):
                how = "is" if path == place else "is in" if path.is_relative_to(place) else "holds"
                yield Conflict(
                    key, f"found {found}, which {how} {output}, an output of the pipeline; allowed: {advice}"
                )
                break


def _check_image_shapes(params: Params) -> Iterator[Conflict]:
    """Follow the images through the transforms into the network."""
    num_channels = 3 if params.dataset.color == "rgb" else 1
    prepared = Form(params.dataset.height_px, params.dataset.width_px, num_channels)
    for place, argument, message in find_transform_problems(prepared, params.transforms):
        name = params.transforms[place].name
        yield Conflict(f"transforms.{place}.{name}.{argument}", message)
    trained = change_form(prepared, params.transforms, training=True)
    tested = change_form(prepared, params.transforms, training=False)
    network = params.network.chosen()
    if trained != tested and not network.arguments.takes_any_size:
        yield Conflict(
            "transforms",
            f"images have {trained.height_px} x {trained.width_px} px in training and "
            f"{tested.height_px} x {tested.width_px} px otherwise, where random transforms do not apply; "
            f"allowed for network.name: {network.name}: the same, by Resize or CenterCrop with "
            "in_training: false",
        )
    side_px = min(tested.height_px, tested.width_px, trained.height_px, trained.width_px)
    min_side_px, halved_by = network.arguments.min_side_px, network.arguments.halved_by
    if side_px < min_side_px:
        num_items = len(getattr(network.arguments, halved_by))
        yield Conflict(
            f"network.{network.name}.{halved_by}",
            f"found {num_items} items, which need images of at least {min_side_px} px; "
            f"allowed: fewer, for images of {side_px} px",
        )


def _check_mixed_labels(params: Params) -> Iterator[Conflict]:
    """MixUp and CutMix give an image several labels, which some losses cannot use."""
    mixing = [transform.name for transform in params.transforms if transform.position == "last"]
    if mixing and params.loss.name in LABELS_ONLY:
        yield Conflict(
            "loss.name",
            f"found {params.loss.name}, which cannot use the mixed labels of {mixing[0]}; "
            f"allowed: cross_entropy, binary_cross_entropy, or transforms without {mixing[0]}",
        )


def _check_balanced_once(params: Params) -> Iterator[Conflict]:
    """Sampling and class weights each make up for rare classes; together they do so twice."""
    if params.loader.sampling == "balanced" and params.loss.class_weights == "balanced":
        yield Conflict(
            "loss.class_weights",
            "found balanced, beside loader.sampling: balanced, so that rare classes would count twice; "
            "allowed: one of them; write null here, or sampling: uniform there",
        )


def _check_pretrained_weights(params: Params) -> Iterator[Conflict]:
    """Weights come from the file or from the library, and a frozen backbone needs some."""
    network = params.network.chosen()
    weights_file = params.network.weights_file
    library_weights = getattr(network.arguments, "weights", None)
    if library_weights is not None and weights_file != NO_WEIGHTS_FILE:
        yield Conflict(
            "network.weights_file",
            f"found {weights_file}, beside network.{network.name}.weights: {library_weights}; "
            f"allowed: one of them; write {NO_WEIGHTS_FILE} here, or weights: null there",
        )
    is_pretrained = library_weights is not None or weights_file != NO_WEIGHTS_FILE
    if params.transfer.freeze == "backbone" and not is_pretrained:
        yield Conflict(
            "transfer.freeze",
            "found backbone, but the network has no pretrained weights; allowed: null, unless "
            "network.weights_file, network.torchvision.weights or network.timm.weights names some",
        )


def _check_statistics_of_weights(params: Params) -> Iterator[Conflict]:
    """Only the libraries' models tell what their weights expect."""
    if params.network.name in ("torchvision", "timm"):
        return
    for place, transform in enumerate(params.transforms):
        if isinstance(transform, Normalize):
            for key, values in (("mean", transform.mean), ("std", transform.std)):
                if values == "weights":
                    yield Conflict(
                        f"transforms.{place}.Normalize.{key}",
                        f"found weights, but network.name: {params.network.name} has none that say what they "
                        "expect, as those of torchvision and timm do; allowed: dataset, or numbers",
                    )


def _check_group_column(params: Params) -> Iterator[Conflict]:
    """The column `group` is one of the table of labels."""
    if params.split.group == "column" and params.dataset.labels == "folders":
        yield Conflict(
            "split.group",
            "found column, but dataset.labels is folders, which have no columns; allowed: null, or a regular "
            "expression, or set dataset.labels to a .csv with the column group",
        )


def _check_warmup(params: Params) -> Iterator[Conflict]:
    warmup_epochs, num_epochs = params.lr_scheduler.warmup_epochs, params.training.num_epochs
    if warmup_epochs > num_epochs:
        yield Conflict(
            "lr_scheduler.warmup_epochs",
            f"found {warmup_epochs:g}; allowed: at most training.num_epochs, {num_epochs}",
        )


def _check_processes(params: Params) -> Iterator[Conflict]:
    processes, num_parts = params.cluster.processes, params.training.accumulation_steps
    if num_parts % processes:
        allowed = [str(2**power) for power in range(11) if num_parts % 2**power == 0]
        yield Conflict(
            "cluster.processes",
            f"found {processes}; allowed: {', '.join(allowed)}, the powers of two that divide "
            f"training.accumulation_steps, {num_parts}, the parts of a batch that processes share out",
        )
