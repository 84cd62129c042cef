"""torchvision's own transforms, applied image by image.

Importing torchvision takes seconds, and a wrong params.yaml must be refused at once. So the names and
arguments of its transforms are copied here, and a test compares them with the installed torchvision.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, create_model

from schemas.shared.fields import Items, OneLine
from schemas.vision.transforms.transform import Transform

_Number = Annotated[int | float, Field(ge=-1e6, le=1e6)]
_Numbers = _Number | Annotated[Items[_Number], Field(min_length=1, max_length=4)]

_COLORS = (0.5, 1.5)
SIGNATURES: dict[str, dict[str, Any]] = {
    "AugMix": {
        "severity": 3,
        "mixture_width": 3,
        "chain_depth": -1,
        "alpha": 1.0,
        "all_ops": True,
        "interpolation": "bilinear",
        "fill": None,
    },
    "AutoAugment": {"policy": "imagenet", "interpolation": "nearest", "fill": None},
    "ElasticTransform": {"alpha": 50.0, "sigma": 5.0, "interpolation": "bilinear", "fill": 0},
    "GaussianNoise": {"mean": 0.0, "sigma": 0.1, "clip": True},
    "JPEG": {"quality": ...},
    "RandAugment": {
        "num_ops": 2,
        "magnitude": 9,
        "num_magnitude_bins": 31,
        "interpolation": "nearest",
        "fill": None,
    },
    "RandomAdjustSharpness": {"sharpness_factor": ..., "p": 0.5},
    "RandomAutocontrast": {"p": 0.5},
    "RandomChannelPermutation": {},
    "RandomEqualize": {"p": 0.5},
    "RandomInvert": {"p": 0.5},
    "RandomPerspective": {"distortion_scale": 0.5, "p": 0.5, "interpolation": "bilinear", "fill": 0},
    "RandomPhotometricDistort": {
        "brightness": (0.875, 1.125),
        "contrast": _COLORS,
        "saturation": _COLORS,
        "hue": (-0.05, 0.05),
        "p": 0.5,
    },
    "RandomPosterize": {"bits": ..., "p": 0.5},
    "RandomSolarize": {"threshold": ..., "p": 0.5},
}
"""Arguments and defaults of every transform that turns one image into one of the same type and shape."""

_OTHER_FORM = "makes images of another shape; allowed: RandomCrop, RandomResizedCrop, Resize and CenterCrop"
_OTHER_TYPE = "makes images of another type; use ToTensor"
_OTHER_COLOR = "makes images of another number of channels; set dataset.color"
_BOXES = "is for boxes, points and videos, not for classes"
_CONTAINER = "holds other transforms; put them into the list, their own p sets how often they apply"
REFUSED = {
    **dict.fromkeys(
        ("FiveCrop", "TenCrop"), "makes several images out of one; allowed: RandomCrop and CenterCrop"
    ),
    **dict.fromkeys(
        ("Pad", "RandomResize", "RandomShortestSize", "RandomZoomOut", "ScaleJitter"), _OTHER_FORM
    ),
    **dict.fromkeys(
        ("ConvertImageDtype", "PILToTensor", "ToDtype", "ToImage", "ToPILImage", "ToPureTensor"), _OTHER_TYPE
    ),
    **dict.fromkeys(("Grayscale", "RGB"), _OTHER_COLOR),
    **dict.fromkeys(
        (
            "ClampBoundingBoxes",
            "ClampKeyPoints",
            "ConvertBoundingBoxFormat",
            "RandomIoUCrop",
            "SanitizeBoundingBoxes",
            "SanitizeKeyPoints",
            "SetClampingMode",
            "UniformTemporalSubsample",
        ),
        _BOXES,
    ),
    **dict.fromkeys(("Compose", "RandomApply", "RandomChoice", "RandomOrder"), _CONTAINER),
    "Identity": "does nothing; leave it out",
    "Lambda": "holds code; write your own transform, see docs/code.md",
    "LinearTransformation": "needs a matrix of all pixels, which a parameter file cannot hold",
}
"""The other transforms of torchvision.transforms.v2, and why they are not allowed."""


class TorchvisionTransform(Transform):
    """A transform that torchvision carries out."""

    random = True


def _find_type(default: object) -> object:
    """Return the type of an argument with this default."""
    if isinstance(default, bool):
        return bool
    if default is None:
        return _Numbers | None
    return Annotated[str, OneLine] if isinstance(default, str) else _Numbers


def _build_schema(name: str, arguments: dict[str, Any]) -> type[TorchvisionTransform]:
    fields: dict[str, Any] = {
        key: (_find_type(default), Field(default, description=f"torchvision's argument {key}."))
        for key, default in arguments.items()
    }
    fields["name"] = (Literal[name], ...)
    return create_model(
        name,
        __base__=TorchvisionTransform,
        __module__=__name__,
        __doc__=f"torchvision.transforms.v2.{name}, applied image by image.",
        **fields,
    )


globals().update({name: _build_schema(name, arguments) for name, arguments in SIGNATURES.items()})
