"""The `training` section: how long, on what, and which epoch is kept."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.shared.fields import Positive, PositiveCount, ProperFraction, Seed
from schemas.shared.schema import Schema
from schemas.vision.runtime import Device, Precision

PrecisionChoice = Literal["auto"] | Precision


class Training(Schema):
    """The training loop."""

    num_epochs: Annotated[int, Field(ge=1, le=10**6)]
    """Passes over the training images."""

    seed: Seed
    """Source of every random number: initial weights, order, augmentation, dropout."""

    best_metric: Literal["accuracy", "balanced_accuracy", "macro_f1", "loss"]
    """Validation metric that chooses the best checkpoint; of equals the lower loss is kept."""

    early_stopping_epochs: Literal["none"] | Annotated[int, Field(ge=1, le=10**6)]
    """End after so many epochs in a row without a new best by best_metric."""

    max_minutes: Literal["none"] | Annotated[float, Field(gt=0, le=10**6)]
    """End before the epoch that would take longer; such a run does not repeat byte for byte, and says so."""

    max_grad_norm: Literal["none"] | Annotated[float, Field(gt=0, le=1e9)]
    """Shorten the gradient to this length where it is longer."""

    accumulation_steps: Annotated[int, Field(ge=1, le=2**16)]
    """Parts a batch is divided into, one after another: less memory, the same gradient."""

    ema_decay: Literal["none"] | ProperFraction
    """Validate and keep a moving average of the weights, of which this share stays at each step."""

    limit_images: Literal["none"] | Annotated[int, Field(ge=1, le=10**9)]
    """To look for defects: train and validate on so many images of each split, evenly spread."""

    device: Device
    """auto takes cuda, then mps, then cpu."""

    threads: Annotated[int, Field(ge=1, le=1024)]
    """Processor threads; a parameter because it changes the last bits of every sum."""

    precision: PrecisionChoice
    """bfloat16 computes matrix products in 16 bits: faster where the processor has it. auto measures whether
    it is, once for a network and a machine, and remembers that in .dvc/tmp/darkroom. float16 is for cuda.
    """

    compile: Literal["auto", "on", "off"]
    """Have torch compile the training steps. auto does where there is a compiler and compiling, measured once
    for a network, a machine and a number of steps, takes less time than it saves.
    """

    save_every_steps: Literal["none"] | PositiveCount
    """Save what a stopped run goes on from after so many steps; the result does not depend on it."""

    save_every_seconds: Literal["none"] | Positive
    """Save it after so many seconds. A run that is killed loses at most the work of one interval; one that is
    asked to stop saves first. A state so large that this would take more than 2 % of the time is saved less
    often."""
