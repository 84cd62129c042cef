"""The `training` section, and data/metrics/train.json."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.shared.fields import Fraction, Positive, PositiveCount, ProperFraction, Schema, Seed
from schemas.vision.runtime import Device, Precision, Threads

PrecisionChoice = Literal["auto"] | Precision


class Training(Schema):
    """The training loop."""

    num_epochs: Annotated[int, Field(ge=1, le=10**6)]
    """Passes over the training images."""

    seed: Seed
    """Seed of every random number: initial weights, order, augmentation, dropout."""

    best_metric: Literal["accuracy", "balanced_accuracy", "macro_f1", "loss"]
    """Validation metric that chooses the best checkpoint; of equals the lower loss is kept."""

    early_stopping_epochs: Annotated[int, Field(ge=1, le=10**6)] | None
    """End after so many epochs in a row without a new best by best_metric."""

    max_minutes: Annotated[float, Field(gt=0, le=10**6)] | None
    """End before the epoch that would exceed them; such a run does not repeat byte for byte, and says so."""

    max_grad_norm: Annotated[float, Field(gt=0, le=1e9)] | None
    """Scale gradients of a larger norm down to this one."""

    accumulation_steps: Annotated[int, Field(ge=1, le=2**16)]
    """Parts a batch is divided into, one after another: less memory, the same gradient. Batch norm, MixUp and
    CutMix see a part by itself. Several processes (cluster.processes) share out the parts.
    """

    ema_decay: ProperFraction | None
    """Validate and keep a moving average of the weights, of which this share stays at each step."""

    limit_images: Annotated[int, Field(ge=1, le=10**9)] | None
    """For debugging: train and validate on so many images of each split, evenly spread."""

    device: Device
    """auto takes cuda, then mps, then cpu."""

    threads: Threads
    """CPU threads of each process; a parameter because it changes the last bits of every sum."""

    precision: PrecisionChoice
    """bfloat16 computes matrix products in 16 bits: faster where the hardware has instructions for it, which
    is where auto chooses it, and ten times slower on other CPUs. float16 is for cuda.
    """

    compile: bool
    """Have torch compile the training steps: takes 10 seconds to minutes, and pays in runs of many minutes.
    On a CPU it needs a C++ compiler.
    """

    save_every_steps: PositiveCount | None
    """Save what a stopped run resumes from after so many steps; the result does not depend on it."""

    save_every_seconds: Positive | None
    """Save it after so many seconds. A run that is killed loses at most the work of one interval; one that is
    asked to stop saves first. A state so large that this would take more than 2 % of the time is saved less
    often."""


class ValMetrics(Schema):
    """What `dvc exp show` compares of the validation of the best epoch."""

    loss: float
    accuracy: Fraction


class TrainMetrics(Schema):
    """The headline metrics of a training run; data/model/history.json has all of them."""

    val: ValMetrics
