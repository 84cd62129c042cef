"""The JSON Schema of params.yaml, from which editors complete and explain keys."""

import ast
import inspect
from itertools import pairwise
from textwrap import dedent
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import ModelSchema

from schemas.shared.fields import Schema


def build_json_schema(schema: type[Schema]) -> dict[str, Any]:
    """Return the JSON Schema of a file, in draft 2020-12, with the docstrings below its fields."""
    described = schema.model_json_schema(schema_generator=_WithDocstrings)
    return {"$schema": GenerateJsonSchema.schema_dialect, **_drop_noise(described)}


class _WithDocstrings(GenerateJsonSchema):
    """Describes fields by the docstrings below them.

    Pydantic can do that itself (`use_attribute_docstrings`), but whenever a class is made: every stage would
    take a fifth longer to start, because it would read the source of all schemas.
    """

    def model_schema(self, schema: ModelSchema) -> JsonSchemaValue:
        described = super().model_schema(schema)
        docstrings = _read_docstrings(schema["cls"])
        for name, field in described.get("properties", {}).items():
            if name in docstrings:
                field.setdefault("description", docstrings[name])
        return described


def _read_docstrings(cls: type) -> dict[str, str]:
    """Return the docstring below each field of a class and of its bases."""
    docstrings: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not issubclass(base, Schema):
            continue
        try:
            source = inspect.getsource(base)
        except OSError:
            continue  # made at run time
        (definition,) = ast.parse(dedent(source)).body
        assert isinstance(definition, ast.ClassDef)
        for field, text in pairwise(definition.body):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(
                    value=ast.Constant(value=str(docstring))
                ):
                    docstrings[name] = inspect.cleandoc(docstring)
    return docstrings


def _drop_noise(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON Schema without titles that only repeat a key, and without OpenAPI's discriminator.

    What is an object keeps its title: editors head their explanations with it.
    """
    kept: dict[str, Any] = {}
    is_mapping = "propertyNames" in schema  # of names that the user chooses
    is_object = (schema.get("type") == "object" and not is_mapping) or "const" in schema
    for keyword, value in schema.items():
        if keyword == "discriminator" or (keyword == "title" and not is_object):
            continue
        if keyword in ("properties", "$defs"):  # on the next level stand names, not keywords
            kept[keyword] = {name: _drop_noise(inner) for name, inner in value.items()}
        elif isinstance(value, dict):
            kept[keyword] = _drop_noise(value)
        elif isinstance(value, list):
            kept[keyword] = [_drop_noise(item) if isinstance(item, dict) else item for item in value]
        else:
            kept[keyword] = value
    return kept
