"""What a checkpoint records beside its weights: the network, its preprocessing, and where both came from."""

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from schemas.shared.fields import (
    ClassName,
    Count,
    Fraction,
    Items,
    NonNegative,
    Positive,
    PositiveCount,
    Schema,
    Seed,
    Sha256,
)
from schemas.shared.inputs import Inputs
from schemas.shared.manifest import ImageForm
from schemas.vision.network import ChosenNetwork
from schemas.vision.runtime import Numerics
from schemas.vision.transforms import Form, Normalize, Transforms, find_transform_problems

EndedBy = Literal["num_epochs", "early_stopping", "time_budget"]


class Scores(Schema):
    """Metrics of a network on one split."""

    loss: float
    accuracy: Fraction
    balanced_accuracy: Fraction
    macro_f1: Fraction


class EpochRecord(Schema):
    """One epoch of training and the validation after it."""

    epoch: PositiveCount
    lr: NonNegative
    """Learning rate of the epoch's last step."""

    train_loss: float
    """Mean loss per image over the epoch's steps: the weights change meanwhile, augmentation applies."""

    train_accuracy: Fraction
    """Accuracy over the epoch's steps: the weights change meanwhile, augmentation applies."""

    val: Scores


class History(Schema):
    """All epochs, and the best of them."""

    best_metric: str
    best_epoch: PositiveCount
    num_parameters: PositiveCount
    """Weights that the network learns."""

    ended_by: EndedBy
    """What ended training."""

    is_repeatable: bool
    """Whether another run gives the same bytes; under a time budget that depends on the machine's speed."""

    epochs: Annotated[Items[EpochRecord], Field(min_length=1)]


MAX_TRANSFORMS = 64

CHECKPOINT_VERSION = 3
"""3: `calibration` holds what any target can be tested with, in place of `thresholds`."""


class ConfidenceLevel(Schema):
    """The validation images whose most probable class has at least some probability."""

    probability: Fraction
    num_images: PositiveCount
    num_correct: Count

    num_effective: Positive
    """(sum m)^2 / sum m^2 over their groups of m images each: as many independent images say as much. All
    images of a group may be right or wrong together; num_images where each is a group of its own."""


class Calibration(Schema):
    """How logits become probabilities, and how often those were right; from the validation split."""

    temperature: Positive
    """Logits are divided by it before the softmax (Guo et al. 2017, arXiv:1706.04599)."""

    levels: Annotated[Items[ConfidenceLevel], Field(min_length=1)]
    """Highest probability first; the last has all validation images."""

    label_probabilities: Annotated[Items[Fraction], Field(min_length=1)]
    """Probabilities of the true classes, highest first: of every validation image, or the last of each of
    1,000 equal parts."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        for higher, lower in pairwise(self.levels):
            if not (higher.probability > lower.probability and higher.num_images < lower.num_images):
                raise ValueError("levels do not fall in probability")
        if any(level.num_correct > level.num_images for level in self.levels):
            raise ValueError("a level has more correct images than images")
        if any(higher < lower for higher, lower in pairwise(self.label_probabilities)):
            raise ValueError("label_probabilities do not fall")
        return self


class PretrainedWeights(Schema):
    """The pretrained weights a network started from, and which of its tensors they filled."""

    source: str
    """The library and its name for the weights, or the file's name without its folder."""

    sha256: Sha256
    """Of the file, or of the tensors that the library returned."""

    num_loaded: Count
    """Tensors that were copied."""

    resized: Items[str] = ()
    """Position embeddings, fitted to the size of the images; absent in older checkpoints."""

    summed: Items[str]
    """First layers for three channels, summed into one for grayscale images."""

    other_shape: Items[str]
    """In both, but with different shapes, such as a head for other classes; randomly initialized."""

    only_in_network: Items[str]
    """Missing from the weights; randomly initialized."""

    only_in_weights: Items[str]
    """Not in the network; ignored."""

    backbone_sha256: Sha256 | None = None
    """Of the tensors of data/model/pretrained.safetensors: the network before its first step, without the
    layer that gives the logits. Absent in older checkpoints."""


class Checkpoint(Schema):
    """All that is needed to use the network again, and where it came from.

    Stored as JSON in the safetensors file, next to its own SHA-256.
    """

    version: Literal[3]
    network: ChosenNetwork
    classes: Annotated[Items[ClassName], Field(min_length=2)]
    image: ImageForm

    preprocessing: Annotated[Transforms, Field(max_length=MAX_TRANSFORMS)]
    """The transforms that are not random, with the measured mean and standard deviation."""

    numerics: Numerics
    is_compiled: bool
    """Whether training steps ran under torch.compile. Validation and testing never do."""

    calibration: Calibration
    """Fitted to the validation split with exactly these weights."""

    epoch: EpochRecord
    """The epoch after which the weights were saved."""

    num_epochs: PositiveCount
    seed: Seed
    pretrained_weights: PretrainedWeights | None
    """null for a network trained from scratch."""

    dataset_sha256: Sha256
    """Hash of the manifest of the prepared data."""

    weights_sha256: Sha256
    """Hash of the names, dtypes, shapes and bytes of all tensors."""

    inputs: Inputs
    """Hashes of the run's parameters, code and data."""

    device: str
    """What computed the weights, such as `cpu AVX512`."""

    libraries: dict[str, str]
    """Versions of the libraries that computed the weights."""

    parameters: dict[str, JsonValue]
    """The sections of params.yaml used in training, for people to read: nothing is rebuilt from them."""

    @model_validator(mode="after")
    def _check_preprocessing_is_fixed(self) -> Self:
        for transform in self.preprocessing:
            if transform.random:
                raise ValueError(f"{transform.name} is random, which preprocessing must not be")
            if isinstance(transform, Normalize) and {"dataset", "weights"} & {transform.mean, transform.std}:
                raise ValueError("Normalize must hold numbers in a checkpoint")
        form = Form(self.image.height_px, self.image.width_px, self.image.num_channels)
        for index, argument, problem in find_transform_problems(form, self.preprocessing):
            raise ValueError(f"preprocessing.{index}.{argument}: {problem}")
        return self
