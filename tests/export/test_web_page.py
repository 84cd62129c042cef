"""The page as a file: what is in it, and that the same model gives the same bytes."""

import argparse
import base64
import gzip
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.vision.checkpoint import ConfidenceLevel
from stages.export import web_page
from stages.export.rule import CONFIDENCE, TARGET_ACCURACY
from stages.export.web_page import write_page
from stages.export.web_runtime import WebRuntime
from stages.shared.errors import InputError
from tests.export.onnx_samples import describe_graph, make_graph
from tests.vision.documents import CALIBRATION
from tools.predict.arguments import parse_arguments as predict_arguments
from tools.serve.__main__ import parse_arguments as serve_arguments

RUNTIME = WebRuntime(
    "var a,b,c;export{a as InferenceSession,b as Tensor,b as default,c as env};\n//# sourceMappingURL=x\n",
    b"\0asm",
)
EXPORTED = describe_graph(make_graph())


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test here needs what npm gets."""
    monkeypatch.setattr(web_page, "load_web_runtime", lambda: RUNTIME)


def unpack(page: str, name: str) -> bytes:
    """Return what is packed in a page."""
    found = re.search(f'id="packed-{name}">([^<]*)<', page)
    assert found is not None
    return gzip.decompress(base64.b64decode(found[1]))


def test_model_and_runtime_are_inside(tmp_path: Path) -> None:
    """Byte for byte; the policy allows the two scripts, WebAssembly, and no connection."""
    write_page(tmp_path / "page.html", b"the model", EXPORTED)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert (unpack(page, "model"), unpack(page, "wasm")) == (b"the model", RUNTIME.wasm)
    scripts = re.findall(r'<script(?: type="module")?>(.*?)</script>', page, re.DOTALL)
    assert scripts[-1] == "var a,b,c;globalThis.ort={InferenceSession:a,Tensor:b,env:c};\n"
    hashes = {base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts}
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert set(re.findall(r"'sha256-([^']*)'", policy)) == hashes
    assert policy.startswith("default-src 'none'; ")
    assert "connect-src" not in policy
    assert "Permission is hereby granted" in page


def test_the_same_bytes(tmp_path: Path) -> None:
    """In any folder, at any time."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_page(tmp_path / name / "page.html", b"the model", EXPORTED)
    first, second = ((tmp_path / name / "page.html").read_bytes() for name in ("a", "b"))
    assert first == second
    assert str(tmp_path).encode() not in first


@pytest.mark.parametrize("num_correct", [400, 300])
def test_the_threshold_is_that_of_predict(tmp_path: Path, num_correct: int) -> None:
    """Or, in its words, why there is none; names of classes cannot end the script."""
    level = ConfidenceLevel(probability=0.7, num_images=400, num_correct=num_correct, num_effective=400.0)
    calibration = CALIBRATION.model_copy(update={"levels": (level,)})
    classes = ("ant", "</script><b>", "fox")
    exported = EXPORTED.model_copy(update={"calibration": calibration, "classes": classes})
    write_page(tmp_path / "page.html", b"", exported)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    (text,) = re.findall(r'<script type="application/json" id="model">(.*?)</script>', page)
    model = json.loads(text)
    assert tuple(model["classes"]) == classes
    if num_correct == 400:
        assert model["threshold"] == 0.7
        assert model["why_not"] == f"probability below 0.7, too low for {TARGET_ACCURACY:g} accuracy"
        assert "Accepted from 70.0 % on" in page
    else:
        assert model["threshold"] is None
        assert f"Nothing is accepted: {model['why_not']}." in page


def test_a_model_too_large_for_a_page_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is written."""
    monkeypatch.setattr(web_page, "_MAX_MODEL_BYTES", 2**20)
    with pytest.raises(InputError, match="found page, and the model has 2 MiB; allowed: 1 MiB"):
        write_page(tmp_path / "page.html", bytes(2 * 2**20), EXPORTED)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("parse", [predict_arguments, serve_arguments], ids=["predict", "serve"])
def test_programs_want_what_the_page_wants(
    parse: Callable[[], argparse.Namespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their defaults stand in the programs again: to import the rule would slow down --help."""
    monkeypatch.setattr("sys.argv", ["program", *(["photos"] if parse is predict_arguments else [])])
    wanted = parse()
    assert (wanted.target_accuracy, wanted.confidence) == (TARGET_ACCURACY, CONFIDENCE)
