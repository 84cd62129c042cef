"""Check a parameter file and print what it means; write the JSON Schema that editors read.

The one module of `schemas` that imports from `stages`: the command that people type is `python -m schemas`,
and reading a file and explaining what is wrong with it is done there.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

from schemas.json_schema import build_json_schema
from schemas.params import Params
from stages.params.read import read_params
from stages.params.yaml12 import read_yaml
from stages.params.yaml12_scalars import format_yaml
from stages.shared.errors import run_stage
from stages.shared.files import write_text

JSON_SCHEMA = Path(__file__).with_name("params.schema.json")


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m schemas",
        description="Check a parameter file and print the effective parameters: every value as the stages "
        "get it, torchvision's defaults spelled out. Blocks that belong to another name than the chosen one "
        "are marked as unused.",
        epilog="Exit status: 0 when the file is good; 1 when it is not, one line for each mistake on stderr.",
    )
    parser.add_argument(
        "file", nargs="?", default="params.yaml", metavar="FILE", help="file to check (default: %(default)s)"
    )
    parser.add_argument(
        "--write-json-schema",
        action="store_true",
        help=f"instead, write schemas/{JSON_SCHEMA.name} anew, which editors complete and explain keys from",
    )
    arguments = parser.parse_args()
    if arguments.write_json_schema:
        write_text(JSON_SCHEMA, format_json_schema())
    else:
        print(format_effective(read_params(arguments.file), order=read_yaml(arguments.file).data), end="")


def format_json_schema() -> str:
    """Return the text of schemas/params.schema.json."""
    schema = {
        "$schema": "",
        "title": "Parameters of darkroom",
        **build_json_schema(Params, is_described=True),
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def format_effective(params: Params, *, order: dict[str, Any]) -> str:
    """Return parameters as YAML, with their keys in the order of a file's data."""
    sections = []
    for section, values in _sort_like(params.model_dump(mode="json"), order).items():
        text = format_yaml({section: values})
        name = values.get("name") if isinstance(values, dict) else None
        if name is not None:
            # A key alone on a line, one level below the section, heads the block of a variant.
            unused = re.compile(rf"^  (?!{name}:)\w+:$", re.MULTILINE)
            text = unused.sub(rf"\g<0> # unused: {section}.name is {name}", text)
        sections.append(text)
    return "\n".join(sections)


def _sort_like(values: dict[str, Any], order: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _sort_like(values[key], order[key]) if isinstance(values[key], dict) else values[key]
        for key in order
    }


if __name__ == "__main__":
    run_stage(main)
