"""A model as one HTML file that classifies pictures in a browser, offline: nothing is sent anywhere.

A page that was opened by a double click (file://) may load no file beside it, neither as a module nor by
fetch. So onnxruntime-web and the model are inside. Its content security policy allows no connection at all.
"""

import base64
import gzip
import hashlib
import re
from pathlib import Path

from markupsafe import Markup

from schemas.export.exported import ExportedModel
from stages.export.rule import CONFIDENCE, TARGET_ACCURACY, choose_rule
from stages.export.web_runtime import VERSION, load_web_runtime
from stages.pages.page import render_page
from stages.shared.errors import InputError

_WEB = Path(__file__).parent / "web"

SHARED = _WEB / "shared"
"""What the page of tools.serve has, too: how pictures are given, and how predictions look."""

_MAX_MODEL_BYTES = 256 * 2**20
"""Its base64 must fit a string of the browser, 512 MiB at most, and all of it a phone's memory."""

_EXPORTS = re.compile(r"export\{([^{}]*)\};\s*(//# sourceMappingURL=.*)?\s*\Z")


def write_page(path: Path, model: bytes, exported: ExportedModel) -> None:
    """Write the page of an ONNX file.

    Args:
        path: The file to write.
        model: The bytes of an ONNX file of darkroom's, which go into the page as they are.
        exported: Its document.

    Raises:
        InputError: The model is too large for a page.
    """
    if len(model) > _MAX_MODEL_BYTES:
        raise InputError(
            f"export.formats: found page, and the model has {len(model) / 2**20:.0f} MiB; allowed: "
            f"{_MAX_MODEL_BYTES >> 20} MiB; choose a smaller network, or export onnx alone"
        )
    runtime = load_web_runtime()
    rule = choose_rule(
        exported.calibration, target_accuracy=TARGET_ACCURACY, confidence=CONFIDENCE, coverage=None
    )
    loader = _to_inline_module(runtime.script)
    page = render_page(
        SHARED,
        _WEB / "page",
        model={
            "classes": exported.classes,
            "image": exported.image.model_dump(mode="json"),
            "metrics": {"accuracy": exported.test.accuracy},
            "metrics_split": "test",
            "threshold": rule.threshold,
            "why_no_threshold": rule.why_not if rule.threshold is None else None,
            "why_not": rule.why_not,
            "target_accuracy": TARGET_ACCURACY,
        },
        network=exported.network,
        weights_sha256=exported.weights_sha256,
        runtime_version=VERSION,
        runtime=Markup(loader),
        runtime_sha256=base64.b64encode(hashlib.sha256(loader.encode()).digest()).decode("ascii"),
        packed_wasm=_pack(runtime.wasm),
        packed_model=_pack(model),
    )
    path.write_text(page, encoding="utf-8", newline="")


def _to_inline_module(script: str) -> str:
    """Return onnxruntime-web as a module inside a page, where nothing can import it: `ort` is global."""
    assert not re.search("<!--|</?script", script), "it would end the page's script"
    exports = _EXPORTS.search(script)
    assert exports is not None, "the pinned version ends in its exports"
    names = {name: local for local, name in (entry.split(" as ") for entry in exports[1].split(","))}
    wanted = ",".join(f"{name}:{names[name]}" for name in ("InferenceSession", "Tensor", "env"))
    return f"{script[: exports.start()]}globalThis.ort={{{wanted}}};\n"


def _pack(data: bytes) -> Markup:
    """Return bytes as text, compressed, without the time."""
    return Markup(base64.b64encode(gzip.compress(data, compresslevel=6, mtime=0)).decode("ascii"))
