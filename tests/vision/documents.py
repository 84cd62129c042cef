"""Checkpoint documents for tests."""

from typing import Any

from torch import Tensor

from schemas.shared.inputs import Inputs
from schemas.shared.manifest import ImageForm
from schemas.vision.checkpoint import Calibration, Checkpoint, ConfidenceLevel, EpochRecord, Scores
from schemas.vision.network import ChosenNetwork, Cnn
from schemas.vision.runtime import Numerics
from schemas.vision.transforms import Normalize, ToTensor
from stages.vision.checkpoint import hash_weights

CALIBRATION = Calibration(
    temperature=1.25,
    levels=(
        ConfidenceLevel(probability=2 / 3, num_images=300, num_correct=299, num_effective=300.0),
        ConfidenceLevel(probability=0.1, num_images=600, num_correct=450, num_effective=600.0),
    ),
    label_probabilities=(0.9, 0.6, 0.3, 0.1),
)
TINY_CNN = ChosenNetwork(name="cnn", arguments=Cnn(channels=(2, 3), kernel_size=3, dropout=0.5))


def make_checkpoint(weights: dict[str, Tensor], **changes: Any) -> Checkpoint:
    """Return a document that goes with these weights."""
    return Checkpoint(
        **{
            "version": 3,
            "network": TINY_CNN,
            "classes": ("ant", "café, crème"),
            "image": ImageForm(color="grayscale", height_px=6, width_px=9, resize="pad"),
            "preprocessing": (
                ToTensor(name="ToTensor"),
                Normalize(name="Normalize", mean=(0.1,), std=(1 / 3,)),
            ),
            "numerics": Numerics(threads=1, precision="float32"),
            "is_compiled": False,
            "calibration": CALIBRATION,
            "epoch": EpochRecord(
                epoch=2,
                lr=0.1 + 0.2,
                train_loss=1e-300,
                train_accuracy=1.0,
                val=Scores(loss=0.5, accuracy=0.5, balanced_accuracy=0.25, macro_f1=0.0),
            ),
            "num_epochs": 3,
            "seed": 7,
            "pretrained_weights": None,
            "dataset_sha256": "0" * 64,
            "weights_sha256": hash_weights(weights),
            "inputs": Inputs(params="1" * 64, code="2" * 64, data="0" * 64),
            "device": "cpu AVX2",
            "libraries": {"torch": "2"},
            "parameters": {},
            **changes,
        }
    )
