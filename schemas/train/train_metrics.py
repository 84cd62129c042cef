"""What the kept epoch scored: data/metrics/train.json."""

from schemas.shared.fields import PositiveCount
from schemas.shared.inputs import Fingerprint
from schemas.shared.schema import Schema
from schemas.vision.history import Scores


class TrainMetrics(Schema):
    """Headline metrics of a training run."""

    best_epoch: PositiveCount
    num_parameters: PositiveCount
    train_loss: float
    val: Scores

    fingerprint: Fingerprint
    """Of the checkpoint's `inputs`."""
