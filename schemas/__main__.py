"""Check a parameter file and print what it sets; write the JSON Schema that editors read.

The one module of `schemas` that imports from `stages`: the command that people type is `python -m schemas`,
and reading a file and explaining what is wrong with it is done there.
"""

import argparse
import io
import json
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.representer import SafeRepresenter

from schemas.json_schema import build_json_schema
from schemas.params import Params
from stages.params.document import read_document
from stages.params.read import read_params
from stages.shared.errors import printable, run_stage
from stages.shared.files import write_text

JSON_SCHEMA = Path(__file__).with_name("params.schema.json")


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m schemas",
        description="Check a parameter file and print the parameters in use: every value as the stages get "
        "it, torchvision's defaults spelled out.",
        epilog="Exit status: 0 when the file is good; 1 when it is not, one line for each mistake on stderr.",
    )
    parser.add_argument(
        "file", nargs="?", default="params.yaml", metavar="FILE", help="file to check (default: %(default)s)"
    )
    parser.add_argument(
        "--all", action="store_true", help="also print blocks that are not in use, such as other optimizers"
    )
    parser.add_argument(
        "--write-json-schema",
        action="store_true",
        help=f"instead, re-create schemas/{JSON_SCHEMA.name}, by which editors complete and explain keys",
    )
    arguments = parser.parse_args()
    if arguments.write_json_schema:
        write_text(JSON_SCHEMA, format_json_schema())
    else:
        params, order = read_params(arguments.file), read_document(arguments.file).data
        print(
            f"# {printable(arguments.file)} is valid",
            format_effective(params, order=order, show_all=arguments.all),
            sep="\n\n",
            end="",
        )


def format_json_schema() -> str:
    """Return the text of schemas/params.schema.json."""
    schema = {
        "$schema": "",
        **build_json_schema(Params),
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def format_effective(params: Params, *, order: dict[str, Any], show_all: bool = False) -> str:
    """Return parameters as YAML, with their keys in the order of a file's data.

    Args:
        params: Of the file.
        order: The file's data.
        show_all: Also the blocks of the variants that are not chosen, marked as unused.
    """
    sections = []
    for section, values in _sort_like(params.model_dump(mode="json"), order).items():
        name = values.get("name") if isinstance(values, dict) else None
        if name is not None and not show_all:
            values = {
                key: value for key, value in values.items() if key == name or not isinstance(value, dict)
            }
        text = format_yaml({section: values})
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


def format_yaml(data: Any) -> str:
    """Return data as YAML that DVC reads as the same data, short lists on one line."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment] # declared as None
    yaml.width = 4096  # a line is never broken
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    yaml.dump(data, stream)
    return stream.getvalue()


class _Representer(SafeRepresenter):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> SequenceNode:
        """Put plain lists, and the arguments in a list of transforms, on one line."""
        node: SequenceNode = super().represent_sequence(tag, sequence, flow_style)
        node.flow_style = all(isinstance(item, ScalarNode) for item in node.value)
        for item in node.value:
            for _, inner in item.value if isinstance(item, MappingNode) else ():
                if not isinstance(inner, ScalarNode):
                    inner.flow_style = True
        return node


if __name__ == "__main__":
    run_stage(main)
