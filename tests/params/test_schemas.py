"""Rules that every schema of a parameter keeps, and the JSON Schema made from them."""

import json
from collections.abc import Iterator
from typing import Any, get_args

import jsonschema
import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from schemas.__main__ import format_json_schema
from schemas.params import Params
from schemas.shared.fields import Schema
from schemas.vision.transforms import TRANSFORMS, Transform
from stages.params.document import KeyPath, format_path, parse_yaml, read_document
from stages.params.read import check_params
from tests.params.wrong_params import (
    NO_PATTERN,
    ROOT,
    document_with,
    good_params,
    value_at,
    walk_keys,
    wrong_values,
)

JSON_SCHEMA = ROOT / "schemas" / "params.schema.json"


def schemas_in(annotation: Any) -> Iterator[type[Schema]]:
    """Yield every schema that a type mentions."""
    if isinstance(annotation, type) and issubclass(annotation, Schema):
        yield annotation
        for field in annotation.model_fields.values():
            yield from schemas_in(field.annotation)
    for argument in get_args(annotation):
        yield from schemas_in(argument)


SCHEMAS = list(dict.fromkeys([*schemas_in(Params), *TRANSFORMS]))


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    """Return a validator for the committed JSON Schema."""
    schema = json.loads(JSON_SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("schema", [schema for schema in SCHEMAS if not issubclass(schema, Transform)])
def test_no_hidden_defaults(schema: type[BaseModel]) -> None:
    """Every key is in the file with its value; only transforms have defaults, those of torchvision."""
    for name, field in schema.model_fields.items():
        assert field.is_required(), f"{name} has the default {field.default}"
        assert field.default is PydanticUndefined


@pytest.mark.parametrize("schema", SCHEMAS)
def test_no_parameter_that_dvc_cannot_see(schema: type[BaseModel]) -> None:
    """DVC's run cache takes keys named size and nfiles out of what it compares, at any depth."""
    assert not {"size", "nfiles"} & set(schema.model_fields)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_schemas_are_strict(schema: type[BaseModel]) -> None:
    """Nothing unknown, nothing converted, nothing infinite, nothing changed afterwards."""
    config = schema.model_config
    assert (config["extra"], config["strict"], config["frozen"]) == ("forbid", True, True)
    assert config["allow_inf_nan"] is False


def test_choices_of_whole_numbers_take_no_lookalikes() -> None:
    """A Literal of numbers compares with ==, and would take true for 1 and 3.0 for 3."""
    for path in walk_keys():
        value = value_at(good_params(), path)
        if type(value) is int and path != ("lr_scheduler", "warmup_epochs"):
            for raw in (f"{value}.0", "true", "false"):
                assert check_params(document_with(path, raw))[1], f"{format_path(path)}: {raw}"


def test_keys_stand_in_the_order_of_the_schemas() -> None:
    """params.yaml and the schemas can be read side by side."""
    dumped = Params.model_validate(good_params()).model_dump(mode="json")
    assert list(walk_keys(read_document(ROOT / "params.yaml").data | {"transforms": []})) == list(
        walk_keys(dumped | {"transforms": []})
    )


def test_line_1_names_the_json_schema() -> None:
    """Editors find the schema from the first line of params.yaml."""
    first = (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines()[0]
    prefix = "# yaml-language-server: $schema="
    assert first.startswith(prefix)
    assert ROOT / first.removeprefix(prefix) == JSON_SCHEMA


def test_json_schema_is_current() -> None:
    """The committed JSON Schema is what python -m schemas --write-json-schema would write now."""
    assert JSON_SCHEMA.read_text(encoding="utf-8") == format_json_schema()


def test_json_schema_has_no_noise() -> None:
    """No titles that repeat keys, no words of OpenAPI; a description for every key."""
    schema = json.loads(JSON_SCHEMA.read_text(encoding="utf-8"))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for definition in (schema, *schema["$defs"].values()):
        for key, form in definition.get("properties", {}).items():
            assert "title" not in form or "properties" in form
            assert "discriminator" not in form
            described = schema["$defs"][form["$ref"].rpartition("/")[2]] if "$ref" in form else form
            assert described.get("description") or "properties" in described, key


def test_json_schema_heads_what_an_editor_shows() -> None:
    """Every definition has a title; each form of a transform has one, and a description to choose by."""
    definitions = json.loads(JSON_SCHEMA.read_text(encoding="utf-8"))["$defs"]
    for name, definition in definitions.items():
        assert definition.get("title", "").startswith(name) or "anyOf" in definition, name
    for transform in TRANSFORMS:
        definition = definitions[transform.__name__]
        forms = definition.get("anyOf", [definition])
        titles = {form["title"] for form in forms}
        assert titles <= {transform.__name__, f"{transform.__name__} with arguments"}
        assert len(titles) == len(forms)
        assert all(form["description"] for form in forms)


def test_json_schema_accepts_the_committed_file(validator: jsonschema.Draft202012Validator) -> None:
    """An editor marks nothing in params.yaml."""
    validator.validate(read_document(ROOT / "params.yaml").data)
    validator.validate(good_params())


@pytest.mark.parametrize(
    "entry",
    ["ToTensor", "RandomHorizontalFlip", {"RandomHorizontalFlip": {"p": 0.1}}, {"RandomHorizontalFlip": {}}],
)
def test_json_schema_accepts_what_the_check_accepts(
    entry: Any, validator: jsonschema.Draft202012Validator
) -> None:
    """Transforms may be written with and without their arguments."""
    data = good_params()
    if entry != "ToTensor":
        data["transforms"].insert(0, entry)
    Params.model_validate(data)
    validator.validate(data)


# What a JSON Schema cannot say, or JSON not hold: 3.0 is a whole number, text may have several lines.
BEYOND_JSON_SCHEMA = {"3.0", "1e0", '"a\\nb"', ".nan", ".inf", "-.inf", "1e999", "[.nan, 1]"}
BEYOND_JSON_SCHEMA |= {".5e3", "1_000", "2024-01-01", "99999999999999999999", *NO_PATTERN}


@pytest.mark.parametrize("path", list(walk_keys()), ids=format_path)
def test_json_schema_refuses_what_the_check_refuses(
    path: KeyPath, validator: jsonschema.Draft202012Validator
) -> None:
    """An editor marks the wrong values that the check refuses, and a missing key."""
    data = good_params()
    section = value_at(data, path[:-1])
    for raw in wrong_values()[path]:
        if raw not in BEYOND_JSON_SCHEMA:
            section[path[-1]] = parse_yaml(f"value: {raw}").data["value"]
            assert not validator.is_valid(data), raw
    del section[path[-1]]
    assert not validator.is_valid(data)
