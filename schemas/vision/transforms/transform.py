"""The base class of every transform's schema, and the types of their arguments."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    model_serializer,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from schemas.shared.fields import Items, Pair, Schema

Side = Annotated[int, Field(ge=1, le=4096)]
SideOrImage = Literal["image"] | Side
"""A height or width in pixels; image: that of the incoming image."""

_Level = Annotated[float, Field(ge=0, le=255)]
Fill = _Level | Annotated[Items[_Level], Field(min_length=1)]
"""One number for all channels, or one number per channel."""

Interpolation = Literal["nearest", "bilinear"]


def _check_rising(value: Any) -> Any:
    if isinstance(value, tuple) and value[0] > value[1]:
        raise ValueError("allowed: two numbers, the smaller one first")
    return value


Rising = AfterValidator(_check_rising)
"""Goes with a pair that is a range, or a number that is short for one."""

FractionRange = Annotated[Pair[Annotated[float, Field(ge=0, le=1)]], Rising]
PositiveRange = Annotated[Pair[Annotated[float, Field(gt=0, le=1e6)]], Rising]


class Form(NamedTuple):
    """The shape of the images at one position of the list."""

    height_px: int
    width_px: int
    num_channels: int


class Transform(Schema):
    """One entry of the list. Random transforms apply in training only.

    Every subclass with a `name` in a module of this folder may be named in params.yaml. The class of the same
    name in the module of the same name in `stages/vision/transforms` carries it out.
    """

    model_config = ConfigDict(defer_build=True)  # a list uses few of the 30, and building all takes 30 ms

    random: ClassVar[bool]

    position: ClassVar[Literal["before ToTensor", "after ToTensor", "last"]] = "before ToTensor"
    """Where in the list it may be: pictures come before ToTensor, numbers after it, and what mixes the images
    of a batch last."""

    name: str

    def applies(self, *, training: bool) -> bool:
        """Return whether it applies in training, or in validation, testing and prediction."""
        return training or not self.random

    def change_form(self, form: Form) -> Form:
        """Return the form of the images afterwards."""
        return form

    def find_problems(self, form: Form) -> Iterator[tuple[str, str]]:
        """Yield (argument, what was found and what is allowed) if images of this form do not fit."""
        yield from ()

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> str | dict[str, Any]:
        arguments: dict[str, Any] = handler(self)
        name: str = arguments.pop("name")
        return {name: arguments} if arguments else name

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe an entry as params.yaml writes it: the name, or the name above its arguments."""
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
            "title": f"{name} with arguments",
            "description": arguments["description"],
        }
        bare = {"const": name, "title": name, "description": arguments["description"]}
        forms = [] if required else [bare]
        if arguments["properties"]:
            forms.append(with_arguments)
        arguments.clear()
        arguments.update(forms[0] if len(forms) == 1 else {"anyOf": forms})
        return arguments


def find_wrong_length(key: str, values: object, form: Form) -> Iterator[tuple[str, str]]:
    """Yield a problem if values are a list of neither one number nor one per channel."""
    if isinstance(values, tuple) and len(values) not in (1, form.num_channels):
        allowed = "1" if form.num_channels == 1 else f"1 or {form.num_channels}, one per channel"
        yield key, f"found {len(values)} numbers; allowed: {allowed}"
