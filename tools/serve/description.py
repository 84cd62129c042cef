"""What a server says of the model it serves."""

from pydantic import BaseModel

from schemas.export.exported import ExportedModel
from schemas.vision.checkpoint import Checkpoint
from stages.export.rule import Rule
from tools.predict.model import CheckpointFile, ExportedFile, ModelFile


class ModelDescription(BaseModel):
    """What is served, and where it came from."""

    kind: str
    """`checkpoint` or the format of an export."""

    network: str
    classes: list[str]
    color: str
    height_px: int
    width_px: int

    metrics: dict[str, float]
    """Loss, accuracy, balanced accuracy and macro F1 on `metrics_split`."""

    metrics_split: str
    """`test` of an export, `val` of a checkpoint, which has not seen the test split."""

    threshold: float | None
    """The lowest probability that is accepted; null where no accuracy can be promised."""

    target_accuracy: float
    """What accepted predictions are promised to reach; 0 where nothing was asked for."""

    why_no_threshold: str | None

    explains: bool
    """Whether /explain shows what the network looks at."""

    fingerprint: str
    """Of the parameters, code and data that training ran on."""

    weights_sha256: str
    dataset_sha256: str
    libraries: dict[str, str]
    """Versions of those that made the file."""


def describe_model(
    file: ModelFile, rule: Rule, *, target_accuracy: float, explains: bool
) -> ModelDescription:
    """Return what /model says of a model file; of an export nothing is loaded for it."""
    document: Checkpoint | ExportedModel
    kind: str
    network: str
    if isinstance(file, CheckpointFile):
        document, scores, inputs = file.checkpoint, file.checkpoint.epoch.val, file.checkpoint.inputs
        kind, network, fingerprint = "checkpoint", file.checkpoint.network.name, inputs.fingerprint
    else:
        assert isinstance(file, ExportedFile), "there are two kinds of model files"
        document, scores = file.exported, file.exported.test
        kind, network, fingerprint = file.exported.format, file.exported.network, file.exported.fingerprint
    return ModelDescription(
        kind=kind,
        network=network,
        classes=list(document.classes),
        color=document.image.color,
        height_px=document.image.height_px,
        width_px=document.image.width_px,
        metrics=scores.model_dump(),
        metrics_split="val" if kind == "checkpoint" else "test",
        threshold=rule.threshold,
        target_accuracy=target_accuracy,
        why_no_threshold=rule.why_not if rule.threshold is None and rule.why_not else None,
        explains=explains,
        fingerprint=fingerprint,
        weights_sha256=document.weights_sha256,
        dataset_sha256=document.dataset_sha256,
        libraries=document.libraries,
    )
