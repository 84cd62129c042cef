"""The `transforms` section: what happens to an image on its way to the network, in order.

Names, arguments and defaults are torchvision's. An entry is a bare name (`- ToTensor`) or a name with its
arguments (`- RandomCrop: {padding: 4}`).
"""

from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    model_serializer,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from schemas.shared.fields import Fraction, Items, NonNegative, Positive
from schemas.shared.schema import Schema


class Transform(Schema):
    """One step; a random one is left out when the network is validated, tested or used."""

    random: ClassVar[bool]
    name: str

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> str | dict[str, Any]:
        arguments: dict[str, Any] = handler(self)
        name: str = arguments.pop("name")
        return {name: arguments} if arguments else name

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe the form an entry has in params.yaml: the name, or the name above its arguments."""
        arguments = handler.resolve_ref_schema(handler(core_schema))
        name = arguments["properties"].pop("name")["const"]
        required = [key for key in arguments.pop("required", []) if key != "name"]
        if required:
            arguments["required"] = required
        with_arguments = {
            "type": "object",
            "properties": {name: {**arguments}},
            "required": [name],
            "additionalProperties": False,
        }
        bare = {"const": name, "description": arguments["description"]}
        forms = [] if required else [bare]
        if arguments["properties"]:
            forms.append(with_arguments)
        arguments.clear()
        arguments.update(forms[0] if len(forms) == 1 else {"anyOf": forms})
        return arguments


class RandomCrop(Transform):
    """Pad every side with black, then cut out a window of the old size at a random place."""

    random = True
    name: Literal["RandomCrop"]
    padding: Annotated[int, Field(ge=0, le=4096)]
    """Pixels added to every side before cutting."""


class RandomHorizontalFlip(Transform):
    """Mirror left and right with probability p."""

    random = True
    name: Literal["RandomHorizontalFlip"]
    p: Fraction = 0.5
    """Share of the images that are mirrored."""


class RandomVerticalFlip(Transform):
    """Mirror top and bottom with probability p."""

    random = True
    name: Literal["RandomVerticalFlip"]
    p: Fraction = 0.5
    """Share of the images that are mirrored."""


class RandomRotation(Transform):
    """Turn around the centre by an angle drawn from [-degrees, degrees]; nearest pixel, corners black."""

    random = True
    name: Literal["RandomRotation"]
    degrees: Annotated[NonNegative, Field(le=180)]
    """Largest angle, to either side."""


class ToTensor(Transform):
    """Turn bytes 0..255 into floats 0..1."""

    random = False
    name: Literal["ToTensor"]


class Normalize(Transform):
    """Subtract the mean and divide by the standard deviation, channel by channel."""

    random = False
    name: Literal["Normalize"]

    mean: Literal["dataset"] | Items[float]
    """dataset: measured on the training split; or one number a channel, for pixels in 0..1."""

    std: Literal["dataset"] | Items[Positive]
    """dataset: measured on the training split; or one number a channel, for pixels in 0..1."""


AnyTransform = RandomCrop | RandomHorizontalFlip | RandomVerticalFlip | RandomRotation | ToTensor | Normalize
TRANSFORMS: tuple[type[Transform], ...] = get_args(AnyTransform)


def _unfold(entry: object) -> object:
    """Turn `Name` and `{Name: {arguments}}` into one mapping that has a `name`."""
    if isinstance(entry, str):
        return {"name": entry}
    if isinstance(entry, dict) and len(entry) == 1:
        [(name, arguments)] = entry.items()
        if isinstance(arguments, dict) and "name" not in arguments:
            return {"name": name, **arguments}
    if isinstance(entry, Transform):
        return entry
    raise ValueError(
        "allowed: a name, as in - ToTensor, or one name with its arguments, as in - RandomCrop: {padding: 4}"
    )


def _end_with_tensor_and_normalize(transforms: tuple[Transform, ...]) -> tuple[Transform, ...]:
    names = [transform.name for transform in transforms]
    if names[-2:] != ["ToTensor", "Normalize"] or "ToTensor" in names[:-2] or "Normalize" in names[:-2]:
        raise ValueError("the list has to end with ToTensor and Normalize, and to hold each of them once")
    return transforms


Entry = Annotated[
    Annotated[AnyTransform, Field(discriminator="name")],
    BeforeValidator(_unfold),
]
Transforms = Annotated[Items[Entry], AfterValidator(_end_with_tensor_and_normalize)]
