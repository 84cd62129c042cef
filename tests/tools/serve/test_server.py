"""What the HTTP interface does that takes a model of our own to see."""

import resource
import socket
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from fastapi import FastAPI

from stages.shared.errors import InputError
from tests.tools.serve.http import form, send, serve_in_thread
from tests.tools.serve.test_batching import Brightness, make_service, shade
from tools.serve import __main__ as command
from tools.serve import running
from tools.serve.description import ModelDescription
from tools.serve.server import Access, build_app
from tools.serve.uploads import Intake

DESCRIPTION = ModelDescription(
    kind="onnx",
    network="cnn",
    classes=["light", "dark"],
    color="grayscale",
    height_px=4,
    width_px=4,
    metrics={"accuracy": 0.9},
    metrics_split="test",
    threshold=0.9,
    target_accuracy=0.99,
    why_no_threshold=None,
    explains=False,
    fingerprint="0" * 16,
    weights_sha256="0" * 64,
    dataset_sha256="0" * 64,
    libraries={},
)


def make_app(
    model: Brightness, *, origins: Sequence[str] = (), max_held: int = 10**6, **changes: Any
) -> FastAPI:
    return build_app(
        make_service(model, **changes),
        DESCRIPTION,
        intake=Intake(max_bytes=10**6, max_pictures=8, max_held_bytes=max_held, max_seconds=5),
        access=Access(None, origins),
        page="",
        heatmaps=None,
        max_seconds=5,
        log=lambda _: None,
    )


def test_when_all_is_taken_clients_are_told_when_to_come_again() -> None:
    """503 with Retry-After at once; who was taken is served."""
    model = Brightness()
    with serve_in_thread(make_app(model, max_waiting=2)) as port:
        model.gate.clear()
        replies = []
        first = threading.Thread(target=lambda: replies.append(send(port, body=form(shade(1), shade(2)))))
        first.start()
        time.sleep(0.5)
        refused = send(port, body=form(shade(3)))
        model.gate.set()
        first.join()
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert "too many pictures" in refused.json["error"]
    assert replies[0].status == 200


def test_more_than_may_be_held_is_refused() -> None:
    """However many clients send it."""
    with serve_in_thread(make_app(Brightness(), max_held=5000)) as port:
        assert send(port, body=form(bytes(10_000))).status == 503
        assert send(port, body=form(shade(1))).status == 200


def test_a_failing_model_is_no_500_and_shows_no_traceback() -> None:
    """The client hears that it was not its picture's fault, and may try again."""
    model = Brightness()
    with serve_in_thread(make_app(model)) as port:
        model.error = RuntimeError("secret place")
        reply = send(port, body=form(shade(1)))
    assert reply.status == 503
    assert b"secret" not in reply.body
    assert "retry-after" in reply.headers


def test_a_bug_of_ours_shows_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """The client gets one line, the log the traceback."""
    app = make_app(Brightness())

    @app.get("/bug")
    async def fail() -> None:
        raise RuntimeError("secret place")

    with serve_in_thread(app) as port:
        reply = send(port, "/bug")
    assert (reply.status, reply.json) == (500, {"error": "darkroom failed; its log says why"})
    assert "secret place" in capsys.readouterr().err


def test_pages_of_other_origins_may_use_it_only_where_allowed() -> None:
    """CORS is off by default."""
    asked = {"Origin": "https://example.org"}
    with serve_in_thread(make_app(Brightness())) as port:
        assert "access-control-allow-origin" not in send(port, "/model", headers=asked).headers
    with serve_in_thread(make_app(Brightness(), origins=["https://example.org"])) as port:
        assert (
            send(port, "/model", headers=asked).headers["access-control-allow-origin"]
            == "https://example.org"
        )
        other = send(port, "/model", headers={"Origin": "https://evil.example"}).headers
        assert "access-control-allow-origin" not in other


ASKED = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("sent", [[b""], [b"GET /model HT"], [ASKED, b"GET /model HT"]])
def test_a_connection_without_a_request_is_closed(monkeypatch: pytest.MonkeyPatch, sent: list[bytes]) -> None:
    """A client that sends no head, or half of one, holds its connection for seconds only."""
    monkeypatch.setattr(running, "_MAX_HEAD_SECONDS", 0.5)
    with (
        serve_in_thread(make_app(Brightness())) as port,
        socket.create_connection(("127.0.0.1", port), timeout=4) as client,
    ):
        for piece in sent:
            client.sendall(piece)
            time.sleep(0.3)
        while client.recv(1000):
            pass


def test_who_comes_when_too_many_are_connected_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the form of all errors, with Retry-After; those who were there before are served."""
    monkeypatch.setattr(running._Protocol, "max_connections", 2)
    with serve_in_thread(make_app(Brightness())) as port:
        first, second = (socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(2))
        with first, second:
            second.sendall(ASKED)
            assert second.recv(1000).startswith(b"HTTP/1.1 200")
            refused = send(port, "/healthz")
            second.sendall(ASKED)
            assert second.recv(1000).startswith(b"HTTP/1.1 200")
        assert (refused.status, refused.headers["retry-after"], set(refused.json)) == (503, "1", {"error"})
        assert send(port, "/healthz").status == 200


def test_connections_leave_files_for_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """More may be open where the system lets us; otherwise there are fewer connections."""
    limits = [(1024, 4096)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, values: limits.append(values))
    assert (running.reserve_files(2), limits[-1]) == (1000, (1190, 4096))
    limits.append((1024, 1024))
    assert (running.reserve_files(2), limits[-1]) == (834, (1024, 1024))
    limits.append((resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert running.reserve_files(2) == 1000


def test_a_head_without_end_is_cut_off() -> None:
    """The server keeps 64 KB of it, and not all that comes."""
    with (
        serve_in_thread(make_app(Brightness())) as port,
        socket.create_connection(("127.0.0.1", port), timeout=30) as client,
        pytest.raises(ConnectionError),
    ):
        client.sendall(b"GET / HTTP/1.1\r\n" + 1000 * (b"X-A: " + b"a" * 10_000 + b"\r\n"))


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install."""
    monkeypatch.delitem(sys.modules, "tools.serve.running", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(InputError, match=r"uvicorn is not installed; .*pip install -r tools/serve"):
        command.import_server()
