"""What must end in the same bytes on one, two and four processes: all that meets the parts of a batch."""

from typing import Any

_FIXED = ["ToTensor", {"Normalize": {"mean": "dataset", "std": "dataset"}}]
_RANDOM = [{"RandomCrop": {"padding": 1}}, "RandomHorizontalFlip", *_FIXED, "RandomErasing"]

EVEN = {"loader__batch_size": 14}
"""Of 30 images: the last batch has 2, so that two of 4 parts are missing, and half of the processes idle."""

PAIRS = {"loader__batch_size": 12}
"""The last batch has 6: one part is missing, and the others have two images, which batch norm needs."""

TOGETHER: dict[str, dict[str, Any]] = {
    "a convolutional network with all that is random": {
        **EVEN,
        "transforms": [*_RANDOM, "MixUp", "CutMix"],
        "loader__sampling": "balanced",
        "training__ema_decay": 0.9,
        "lr_scheduler__name": "plateau",
    },
    "batch norm, class weights and clipping": {
        **EVEN,
        "network__name": "resnet",
        "loss__class_weights": [1.0, 2.0, 3.0],
        "training__max_grad_norm": 0.1,
        "training__ema_decay": 0.9,
        "training__precision": "bfloat16",
        "optimizer__name": "muon",
    },
}
"""Many features at once, cheap enough for every test run."""

EACH: dict[str, dict[str, Any]] = {
    "cnn": EVEN,
    "resnet": {**EVEN, "network__name": "resnet"},
    "airbench": {**EVEN, "network__name": "airbench", "optimizer__name": "sgd"},
    "torchvision with dropout and batch norm": {
        **PAIRS,
        "network__name": "torchvision",
        "network__torchvision__model": "mobilenet_v2",
    },
    "torchvision with stochastic depth": {
        **PAIRS,
        "network__name": "torchvision",
        "network__torchvision__model": "efficientnet_b0",
    },
    "MixUp": {**EVEN, "transforms": [*_FIXED, "MixUp"]},
    "CutMix and random pictures": {**EVEN, "transforms": [*_RANDOM, "CutMix"]},
    "balanced sampling": {**EVEN, "loader__sampling": "balanced"},
    "class weights": {**EVEN, "loss__class_weights": [1.0, 2.0, 3.0]},
    "focal loss": {**EVEN, "loss__name": "focal"},
    "EMA": {**EVEN, "training__ema_decay": 0.9, "network__name": "resnet"},
    "clipping": {**EVEN, "training__max_grad_norm": 0.1},
    "Muon": {**EVEN, "optimizer__name": "muon", "network__name": "resnet"},
    "rmsprop": {**EVEN, "optimizer__name": "rmsprop"},
    "bfloat16": {**EVEN, "training__precision": "bfloat16", "network__name": "resnet"},
    "plateau and early stopping": {
        **EVEN,
        "lr_scheduler__name": "plateau",
        "training__early_stopping_epochs": 1,
        "training__num_epochs": 9,
    },
    "more parts than images": {"loader__batch_size": 3},
    "workers of a loader": {**EVEN, "loader__num_workers": 2},
    "two threads": {**EVEN, "network__name": "resnet", "training__threads": 2},
    "a frozen backbone": {
        **EVEN,
        "transfer__freeze": "backbone",
        "network__weights_file": "pretrained.safetensors",
    },
    "a backbone that thaws": {
        **EVEN,
        "transfer__freeze": "backbone",
        "transfer__unfreeze_after_epochs": 1,
        "network__weights_file": "pretrained.safetensors",
        "network__name": "resnet",
    },
    "a frozen backbone and random pictures": {
        **EVEN,
        "transfer__freeze": "backbone",
        "network__weights_file": "pretrained.safetensors",
        "network__name": "resnet",
        "transforms": _RANDOM,
    },
    "eight parts": {**EVEN, "training__accumulation_steps": 8, "network__name": "resnet"},
    "twelve parts": {"loader__batch_size": 24, "training__accumulation_steps": 12, "network__name": "cnn"},
    "compiled": {**EVEN, "training__compile": True, "network__name": "resnet"},
}
"""Each feature by itself."""

COMMON: dict[str, Any] = {
    "dataset__height_px": 16,
    "dataset__width_px": 16,
    "training__accumulation_steps": 4,
    "training__num_epochs": 2,
    "training__threads": 1,
}
LARGER = {"dataset__height_px": 32, "dataset__width_px": 32}
"""For torchvision's networks."""
