"""The optional packages that formats need, looked for before anything is computed."""

from collections.abc import Sequence
from importlib.util import find_spec

from schemas.export.export import Format
from stages.export.web_runtime import load_web_runtime
from stages.shared.errors import InputError

_ONNX = ("onnx", "onnxscript", "onnxruntime")
_NEEDED: dict[Format, tuple[str, ...]] = {
    "onnx": _ONNX,
    "onnx_int8": _ONNX,
    "torch_export": (),
    "page": _ONNX,
}


def check_libraries(formats: Sequence[Format]) -> None:
    """Check that what the formats need is installed, without importing it; get what a page needs.

    Raises:
        InputError: A package is missing, or npm does not get onnxruntime-web.
    """
    for name in formats:
        missing = [library for library in _NEEDED[name] if find_spec(library) is None]
        if missing:
            packages = f"package{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
            raise InputError(
                f"params.yaml: export.formats: found {name}, which needs the {packages}; "
                f"install with: pip install {' '.join(missing)}"
            )
    if "page" in formats:
        load_web_runtime()
