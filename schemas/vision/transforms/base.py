"""What every transform's schema has in common, and the types of their arguments."""

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

from schemas.shared.fields import Items, Pair
from schemas.shared.schema import Schema

Side = Annotated[int, Field(ge=1, le=4096)]
SideOrImage = Literal["image"] | Side
"""A height or width in pixels; image: as the images come."""

Grey = Annotated[float, Field(ge=-1e6, le=1e6)]
Fill = Grey | Annotated[Items[Grey], Field(min_length=1)]
"""One number for all channels, or one number a channel."""

Interpolation = Literal["nearest", "bilinear"]


def _refuse_falling(value: Any) -> Any:
    if isinstance(value, tuple) and value[0] > value[1]:
        raise ValueError("allowed: two numbers, the smaller one first")
    return value


Rising = AfterValidator(_refuse_falling)
"""Belongs beside a pair that is a range, or a number that stands for one."""

FractionRange = Annotated[Pair[Annotated[float, Field(ge=0, le=1)]], Rising]
PositiveRange = Annotated[Pair[Annotated[float, Field(gt=0, le=1e6)]], Rising]


class Form(NamedTuple):
    """The shape of the images at some place in the list."""

    height_px: int
    width_px: int
    num_channels: int


class Transform(Schema):
    """One step; a random one is left out when the network is validated, tested or used.

    A class that stands in a module of this folder is a transform of params.yaml, and a class of the same name
    in the module of the same name below `stages/vision/transforms` does it.
    """

    model_config = ConfigDict(defer_build=True)  # a list uses few of them

    random: ClassVar[bool]

    stands: ClassVar[Literal["anywhere", "before ToTensor", "after ToTensor", "before Normalize", "last"]] = (
        "anywhere"
    )
    """Where in the list it may stand. What looks at colours makes no sense of normalized ones; what mixes the
    images of a batch comes last of all."""

    name: str

    def applies(self, *, training: bool) -> bool:
        """Return whether the step is part of training, or of validation, testing and use."""
        return training or not self.random

    def change_form(self, form: Form) -> Form:
        """Return the form of the images after this step."""
        return form

    def find_problems(self, form: Form) -> Iterator[tuple[str, str]]:
        """Yield (argument, what was found and what is allowed) for images of a form that it cannot change."""
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


def find_wrong_number(key: str, values: object, form: Form) -> Iterator[tuple[str, str]]:
    """Yield a problem if values are a list that has neither one number nor one for each channel."""
    if isinstance(values, tuple) and len(values) not in (1, form.num_channels):
        allowed = "1" if form.num_channels == 1 else f"1 or {form.num_channels}, one for each channel"
        yield key, f"found {len(values)} numbers; allowed: {allowed}"
