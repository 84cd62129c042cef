"""An ONNX file is checked byte by byte, and gives an image the same bits in any company."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from stages.export import onnx_bytes
from stages.export.onnx_model import METADATA_KEY, OnnxModel, build_file, read_onnx
from stages.shared.errors import InputError
from tests.architecture.imports import ROOT
from tests.export.hostile_onnx import ELSEWHERE, FORGED, MATRIX, forge
from tests.export.onnx_samples import CLASSES, add_metadata, describe_graph, make_file, make_graph

IMAGES = np.random.default_rng(1).integers(0, 256, (9, 4, 5, 3), dtype=np.uint8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    written = tmp_path / "model.onnx"
    written.write_bytes(make_file())
    return written


def test_a_file_is_read_back(path: Path) -> None:
    """Its document is what was written; onnx itself finds nothing wrong with the file."""
    assert read_onnx(path).exported == describe_graph(make_graph())
    onnx.checker.check_model(path, full_check=True)


def test_probabilities_and_embeddings(path: Path) -> None:
    """They are those of the graph, by NumPy."""
    model = OnnxModel(read_onnx(path))
    embeddings = IMAGES.astype(np.float64).mean(axis=(1, 2))
    np.testing.assert_allclose(model.compute_with_embeddings(IMAGES)[1], embeddings, rtol=1e-6)
    weights = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
    powers = np.exp(embeddings @ weights - (embeddings @ weights).max(axis=1, keepdims=True))
    probabilities = model.compute_probabilities(IMAGES)
    assert probabilities.shape == (9, len(CLASSES))
    np.testing.assert_allclose(probabilities, powers / powers.sum(axis=1, keepdims=True), atol=1e-5)


def test_the_same_bits_whatever_the_batch(path: Path) -> None:
    """One by one, by sevens, all at once, in another order, in another session; none give none."""
    model = OnnxModel(read_onnx(path))
    together = model.compute_probabilities(IMAGES)
    order = np.random.default_rng(0).permutation(9)
    for compute in (model.compute_probabilities, OnnxModel(read_onnx(path)).compute_probabilities):
        assert np.array_equal(np.concatenate([compute(IMAGES[at : at + 1]) for at in range(9)]), together)
        assert np.array_equal(np.concatenate([compute(IMAGES[:7]), compute(IMAGES[7:])]), together)
        assert np.array_equal(compute(IMAGES[order]), together[order])
    assert model.compute_probabilities(IMAGES[:0]).shape == (0, 3)


def test_every_byte_counts(path: Path) -> None:
    """Not one changed or lost byte goes unnoticed, and none ends in a traceback."""
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in {*range(0, len(data), 7), *range(40), *range(len(data) - 40, len(data))}:
        damaged = bytearray(data)
        damaged[at] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        with pytest.raises(InputError):
            read_onnx(path)
        path.write_bytes(data[:at])
        with pytest.raises(InputError):
            read_onnx(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no darkroom ONNX file, or is damaged"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "is no darkroom ONNX file, or is damaged"),
        (b"\xff" * 1000, "is no darkroom ONNX file, or is damaged"),
        (b"\x08\x0a\x72\x02\x0a", "is no darkroom ONNX file, or is damaged"),
        (make_graph(), f"was not exported by darkroom: its metadata has no entry {METADATA_KEY}"),
        (add_metadata(make_graph(), METADATA_KEY, "hello"), "is damaged"),
        (add_metadata(make_graph(), METADATA_KEY, "[" * 100_000), "is damaged"),
        (add_metadata(make_file(), METADATA_KEY, "{}"), "is damaged"),
        (make_file(graph_sha256="0" * 64), "its graph does not have its recorded SHA-256"),
        (make_file().replace(b"caf", b"CAF"), "its document does not have its recorded SHA-256"),
    ],
    ids=["empty", "png", "ones", "cut", "foreign", "text", "deep", "twice", "other graph", "other document"],
)
def test_another_file_is_refused_in_one_line(tmp_path: Path, data: bytes, message: str) -> None:
    """The line names the file, says what is wrong, and how to make one."""
    other = tmp_path / "other.onnx"
    other.write_bytes(data)
    with pytest.raises(InputError) as refused:
        OnnxModel(read_onnx(other))
    text = str(refused.value)
    assert text.startswith(f"{other}: ")
    assert message in text
    assert "dvc repro export" in text
    assert "\n" not in text


def test_another_version_is_refused(path: Path) -> None:
    """As after an update of darkroom."""
    graph = make_graph()
    document = describe_graph(graph).model_copy(update={"version": 2})
    path.write_bytes(build_file(graph, document))
    with pytest.raises(InputError, match=r"another version of darkroom, and this one reads version 1"):
        read_onnx(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A missing file, a folder, a pipe, which would never end."""
    os.mkfifo(tmp_path / "pipe")
    for name in ("missing", ".", "pipe"):
        with pytest.raises(InputError, match="dvc repro export"):
            read_onnx(tmp_path / name)


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_graph_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Its hashes are right. One line says so; no other file is opened."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / ELSEWHERE
    path.parent.mkdir()
    path.write_bytes(MATRIX.tobytes())
    Path("forged.onnx").write_bytes(forge(name))
    with pytest.raises(InputError) as refused:
        OnnxModel(read_onnx(Path("forged.onnx")))
    text = str(refused.value)
    assert FORGED[name][1] in text
    assert text.startswith("forged.onnx: ")
    assert text.isprintable()


def test_fields_that_protobuf_reads_otherwise_are_refused(path: Path) -> None:
    """As a tag of more than 32 bits, of which it drops the upper ones."""
    forged = make_graph() + b"\xba\x80\x80\x80\x10\x00"  # field 7, the graph, and a bit beyond
    path.write_bytes(build_file(forged, describe_graph(forged)))
    with pytest.raises(InputError, match="is damaged"):
        read_onnx(path)


def test_parts_without_end_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of small parts costs no more than one of MAX_FIELDS parts."""
    monkeypatch.setattr(onnx_bytes, "MAX_FIELDS", 1000)
    model = onnx.load_model_from_string(make_graph())
    model.graph.node[0].input.extend([""] * 1000)
    forged = model.SerializeToString()
    path.write_bytes(build_file(forged, describe_graph(forged)))
    with pytest.raises(InputError, match="it has more than 1,000 parts"):
        read_onnx(path)
    path.write_bytes(make_graph() + b"\x10\x00" * 1000)
    with pytest.raises(InputError, match="is no darkroom ONNX file"):
        read_onnx(path)


def test_an_operator_set_of_the_future_is_refused(path: Path) -> None:
    """Onnxruntime's own message is in the line, and which version wrote the file."""
    graph = make_graph(opset=99)
    path.write_bytes(build_file(graph, describe_graph(graph, opset=99)))
    with pytest.raises(InputError, match=r"cannot run it, which needs opset 99 .*; upgrade onnxruntime, or"):
        OnnxModel(read_onnx(path))


def test_without_onnxruntime(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The document can be read all the same; to run the model, one line says what to install."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    read_onnx(path)
    with pytest.raises(InputError, match="pip install onnxruntime"):
        OnnxModel(read_onnx(path))


def test_no_single_last_layer_no_embeddings(path: Path) -> None:
    """As with two heads: the message names the network."""
    path.write_bytes(make_file(num_features=None, network="timm deit_tiny_distilled_patch16_224"))
    with pytest.raises(InputError, match="timm deit_tiny_distilled_patch16_224: has no single layer"):
        OnnxModel(read_onnx(path)).compute_with_embeddings(IMAGES)


def test_torch_is_not_needed(path: Path) -> None:
    """Neither to read a file nor to run it; nor is the package onnx."""
    program = (
        "import sys, numpy\nfrom pathlib import Path\n"
        "from stages.export.onnx_model import OnnxModel, read_onnx\n"
        f"model = OnnxModel(read_onnx(Path({str(path)!r})))\n"
        "model.compute_probabilities(numpy.zeros((2, 4, 5, 3), numpy.uint8))\n"
        "print(*sys.modules)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    assert not {"torch", "onnx", "scipy", "cv2"} & set(printed)
