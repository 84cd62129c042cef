"""The JSON Schema of a schema: what editors complete from, and what error messages quote."""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from schemas.shared.schema import Schema


def build_json_schema(schema: type[Schema]) -> dict[str, Any]:
    """Return the JSON Schema of a file, in draft 2020-12."""
    return {"$schema": GenerateJsonSchema.schema_dialect, **_drop_noise(schema.model_json_schema())}


def _drop_noise(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON Schema without titles that only repeat a key, and without OpenAPI's discriminator."""
    kept: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in ("title", "discriminator"):
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
