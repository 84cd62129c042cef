"""The command: predictions are those of tools.predict, and bad input ends in one line or the right status."""

import json
import os
import signal
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.images.samples import png, png_chunk
from tests.images.trees import encode, photograph
from tests.tools.predict.models import export, write_tiny_checkpoint
from tests.tools.serve.http import BOUNDARY, Served, form, run_command, send, serve
from tests.vision.torch_state import keep_torch_settings
from tools.predict import load


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a checkpoint, and the same network exported."""
    folder = tmp_path_factory.mktemp("models")
    write_tiny_checkpoint(folder / "net.safetensors")
    export(folder / "net.safetensors", folder / "net.onnx")
    return folder


@pytest.fixture(scope="module")
def served(models: Path) -> Iterator[Served]:
    with serve("--model", "net.onnx", "--max-request-mb", "2", "--max-seconds", "3", folder=models) as server:
        yield server


def pictures(number: int) -> list[bytes]:
    return [
        encode(photograph(seed, height=40 + seed % 50, width=30 + seed % 70), ".jpg")
        for seed in range(number)
    ]


@pytest.mark.parametrize("model", ["net.onnx", "net.safetensors"])
def test_predictions_are_those_of_predict_bit_for_bit(models: Path, tmp_path: Path, model: str) -> None:
    """200 pictures by 32 clients at once, one to three in a request: whatever is classified together."""
    images = pictures(200)
    with keep_torch_settings():
        classifier = load(models / model)
        expected = classifier.compute_probabilities(images)
    # A few pictures in each request, and each picture once.
    cuts = [images[at : at + 1 + at % 3] for at in range(0, 200, 3)]
    rest = [[image] for at in range(0, 200, 3) for image in images[at + 1 + at % 3 : at + 3]]
    with serve("--model", str(models / model), folder=tmp_path) as server, ThreadPoolExecutor(32) as clients:
        replies = clients.map(lambda some: (some, send(server.port, body=form(*some))), cuts + rest)
        found: dict[bytes, list[float]] = {}
        for some, reply in replies:
            assert reply.status == 200
            for image, result in zip(some, reply.json["predictions"], strict=True):
                found[image] = [result["probabilities"][name] for name in classifier.classes]
    assert np.array([found[image] for image in images]).tolist() == expected.tolist()


def test_it_says_what_predict_says(served: Served, models: Path) -> None:
    """Class, probability, whether it is accepted and why not; all classes, the most probable first."""
    image = pictures(1)[0]
    with keep_torch_settings():
        (expected,) = load(models / "net.onnx").predict([image], top_k=None)
    (result,) = send(served.port, body=form(image, name="café.jpg")).json["predictions"]
    assert result == {
        "name": "café.jpg",
        "predicted": expected.predicted,
        "probability": expected.probability,
        "accepted": expected.accepted,
        "reason": expected.reason or None,
        "error": None,
        "probabilities": {each.predicted: each.probability for each in expected.top},
    }
    assert list(result["probabilities"].values()) == sorted(result["probabilities"].values(), reverse=True)


def test_an_unreadable_picture_among_others_has_an_error(served: Served) -> None:
    """The others have their predictions."""
    image = pictures(1)[0]
    reply = send(served.port, body=form(image, b"no picture", image))
    first, second, third = reply.json["predictions"]
    assert reply.status == 200
    assert (first["error"], third["error"]) == (None, None)
    assert second["predicted"] is None
    assert second["error"].startswith("is text; supported are JPEG")


def bomb() -> bytes:
    """Return a PNG of 10,000 x 10,000 pixels in 48 KB or so, all of them there."""
    packer = zlib.compressobj(9)
    rows = b"".join([*(packer.compress(bytes(1250 + 1)) for _ in range(10_000)), packer.flush()])
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 10_000, 10_000, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")


BAD = {
    "no body": (b"", {}, 422, "the request is empty"),
    "no file": (f"--{BOUNDARY}--\r\n".encode(), {}, 422, "the form holds no file"),
    "an empty file": (form(b""), {}, 422, "the file is empty"),
    "a field that is no file": (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--{BOUNDARY}--\r\n'.encode(),
        {},
        422,
        "the form holds no file",
    ),
    "no form": (b"{}", {"Content-Type": "application/json"}, 415, "is no form"),
    "a form without boundary": (b"x", {"Content-Type": "multipart/form-data"}, 415, "is no form"),
    "a form that is cut off": (form(b"x")[:-9], {}, 400, "the form is cut off"),
    "something else as a form": (b"x" * 100, {}, 400, "the form cannot be read"),
    "a text": (form(b"hello"), {}, 422, "the picture "),
    "half a picture": (form(pictures(1)[0][:500]), {}, 422, "the picture "),
    "100 megapixels in 48 KB": (form(bomb()), {}, 422, "10,000 x 10,000"),
    "4 gigapixels claimed": (form(png(65_000, 65_000, rows=b"")), {}, 422, "65,000 x 65,000"),
    "too many bytes": (form(bytes(2_000_000)), {}, 413, "more than 2,000,000 bytes"),
    "too many pictures": (form(*33 * [b"x"]), {}, 413, "more than 32 files"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_request_has_a_status_and_a_line(served: Served, kind: str) -> None:
    """Never a traceback, never a 500, and the next request is served."""
    body, headers, status, words = BAD[kind]
    reply = send(served.port, body=body, headers=headers)
    assert (reply.status, set(reply.json)) == (status, {"error"})
    assert words in reply.json["error"]
    assert "the picture the" not in reply.json["error"]
    assert "\n" not in reply.json["error"]
    assert send(served.port, body=form(pictures(1)[0])).status == 200


def test_a_wrong_path_or_method_is_said_so(served: Served) -> None:
    """In the form of all errors."""
    assert (send(served.port, "/nothing").status, send(served.port, "/predict").status) == (404, 405)
    assert set(send(served.port, "/nothing").json) == {"error"}


def test_a_client_too_slow_gets_408(served: Served) -> None:
    """It holds nothing any longer than that, and the others do not wait for it."""
    body = form(pictures(1)[0])
    head = (
        f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as slow:
        slow.sendall(head.encode() + body[:100])
        start = time.monotonic()
        assert send(served.port, body=body).status == 200
        assert time.monotonic() - start < 2.5
        assert slow.recv(100).startswith(b"HTTP/1.1 408")


def test_bytes_that_are_no_http_are_refused(served: Served) -> None:
    """With a status, or by closing the connection."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as client:
        client.sendall(b"\x16\x03\x01 no http\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 400")


def test_what_is_served_is_told(served: Served) -> None:
    """Classes, fingerprint and metrics; health; numbers; the OpenAPI document."""
    model = send(served.port, "/model").json
    assert (model["kind"], model["classes"]) == ("onnx", ["ant", "bee", "unknown"])
    assert len(model["fingerprint"]) == 16
    assert model["metrics"]["accuracy"] > 0
    assert (send(served.port, "/healthz").status, send(served.port, "/readyz").status) == (200, 200)
    send(served.port, body=form(pictures(1)[0]))
    numbers = send(served.port, "/metrics").body.decode()
    assert 'darkroom_requests_total{path="/predict",status="200"}' in numbers
    assert "darkroom_batch_pictures_count" in numbers
    assert "/predict" in send(served.port, "/openapi.json").json["paths"]


def test_an_exported_model_is_served_without_torch(served: Served) -> None:
    """Neither the server nor its processes load it."""
    maps = Path(f"/proc/{served.process.pid}/maps")
    if not maps.exists():
        pytest.skip("only Linux tells what a process has loaded")
    assert "libtorch" not in maps.read_text()
    assert "onnxruntime" in maps.read_text()


def test_the_log_tells_of_requests_not_of_contents(served: Served) -> None:
    """A line of JSON for each."""
    send(served.port, "/predict?secret=1", form(pictures(1)[0], name="private.jpg"))
    served.log.seek(0)
    text = served.log.read()
    line = json.loads(text.splitlines()[-1])
    assert {"method": "POST", "path": "/predict", "status": 200, "pictures": 1}.items() <= line.items()
    assert "private" not in text
    assert "secret" not in text


def test_what_was_taken_is_finished_when_asked_to_stop(models: Path, tmp_path: Path) -> None:
    """SIGTERM while a request is half sent: it is answered, and the status is 0."""
    body = form(pictures(1)[0])
    head = (
        f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    with (
        serve("--model", str(models / "net.onnx"), folder=tmp_path) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=30) as client,
    ):
        client.sendall(head.encode() + body[:100])
        time.sleep(0.3)
        os.kill(server.process.pid, signal.SIGTERM)
        time.sleep(0.5)
        client.sendall(body[100:])
        reply = b"".join(iter(lambda: client.recv(65536), b""))
        assert reply.startswith(b"HTTP/1.1 200")
        assert server.process.wait(timeout=30) == 0


def test_a_token_guards_the_model(models: Path, tmp_path: Path) -> None:
    """From the environment; the page, which anyone may open, tells nothing of the model."""
    with serve(
        "--model", str(models / "net.onnx"), folder=tmp_path, environment={"DARKROOM_TOKEN": "s3cret"}
    ) as server:
        image = form(pictures(1)[0])
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "s3cret"}):
            for path, body in (("/predict", image), ("/model", None), ("/metrics", None)):
                reply = send(server.port, path, body, headers=headers)
                assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
        right = {"Authorization": "Bearer s3cret"}
        assert send(server.port, body=image, headers=right).status == 200
        assert send(server.port, "/healthz").status == 200
        page = send(server.port, "/").body
        assert b"Token" in page
        assert b"unknown" not in page


def test_a_port_that_is_taken_is_one_line(models: Path, served: Served) -> None:
    """It names the port, and what to do."""
    result = run_command(["--model", "net.onnx", "--port", str(served.port)], folder=models)
    assert result.returncode == 1
    assert result.stderr == (
        f"--host 127.0.0.1 --port {served.port}: cannot listen there: Address already in use; stop what "
        "does, or choose another\n"
    )


@pytest.mark.parametrize("kind", ["missing", "damaged", "foreign"])
def test_a_bad_model_is_one_line(models: Path, tmp_path: Path, kind: str) -> None:
    """Before anything is served."""
    data = bytearray((models / "net.onnx").read_bytes())
    data[len(data) // 3] ^= 1
    if kind != "missing":
        (tmp_path / "bad.onnx").write_bytes(data if kind == "damaged" else b"\x08\x0a\x3a\x00")
    result = run_command(["--model", "bad.onnx", "--port", "0"], folder=tmp_path)
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)
    words = {
        "missing": "there is no such ONNX file",
        "damaged": "is damaged",
        "foreign": "was not exported by darkroom",
    }
    assert words[kind] in result.stderr


def test_clients_at_the_same_time_do_not_wait_for_a_bomb(served: Served) -> None:
    """Hostile uploads beside good ones: each gets its own status."""
    statuses: dict[str, set[int]] = {"good": set(), "bad": set()}

    def upload(kind: str, body: bytes) -> None:
        for _ in range(10):
            statuses[kind].add(send(served.port, body=body).status)

    threads = [
        threading.Thread(target=upload, args=each)
        for each in (("good", form(pictures(1)[0])), ("bad", form(bomb())), ("bad", form(b"junk")))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == {"good": {200}, "bad": {422}}
