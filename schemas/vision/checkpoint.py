"""What a checkpoint says about itself, beside its weights."""

from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from schemas.shared.fields import Items, PositiveCount, Seed, Sha256
from schemas.shared.image import ImageForm
from schemas.shared.inputs import Inputs
from schemas.shared.schema import Schema
from schemas.vision.calibration import Calibration
from schemas.vision.history import EpochRecord
from schemas.vision.initial_weights import InitialWeights
from schemas.vision.network import ChosenNetwork
from schemas.vision.runtime import Numerics
from schemas.vision.transforms import Normalize, Transforms


class Checkpoint(Schema):
    """All that is needed to use the network again, and where it came from.

    Stored as JSON in the safetensors file, next to its own SHA-256.
    """

    version: Literal[1]
    network: ChosenNetwork
    classes: Annotated[Items[str], Field(min_length=2)]
    image: ImageForm

    preprocessing: Transforms
    """The transforms that are not random, the measured mean and standard deviation written out."""

    numerics: Numerics
    is_compiled: bool
    """Whether torch's compiler made the training steps. Validation and testing never run compiled."""

    calibration: Calibration
    """Fitted to the validation split with these very weights."""

    epoch: EpochRecord
    """The epoch after which the weights were taken."""

    num_epochs: PositiveCount
    seed: Seed
    initial_weights: InitialWeights | None
    """What the network started from; none for one that was trained from scratch."""

    dataset_sha256: Sha256
    """Hash of the manifest of the prepared data trained on."""

    weights_sha256: Sha256
    """Hash of the names, types, shapes and bytes of all tensors."""

    inputs: Inputs
    """What the run was on: hashes of parameters, code and data."""

    device: str
    """What computed the weights, such as `cpu AVX512`."""

    libraries: dict[str, str]
    """Versions that computed the weights."""

    parameters: dict[str, JsonValue]
    """What params.yaml asked of training, for people: nothing is rebuilt from it."""

    @model_validator(mode="after")
    def _preprocessing_is_fixed(self) -> Self:
        for transform in self.preprocessing:
            if transform.random:
                raise ValueError(f"{transform.name} is random and has no place in a checkpoint")
            if isinstance(transform, Normalize) and "dataset" in (transform.mean, transform.std):
                raise ValueError("Normalize must hold numbers in a checkpoint")
        return self
