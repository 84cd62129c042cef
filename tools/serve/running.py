"""Put the server together and run it: model, page, application, and uvicorn with deadlines for clients."""

import argparse
import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from stages.export.rule import choose_rule
from stages.export.web_page import SHARED
from stages.pages.page import render_page
from tools.predict.model import CheckpointFile, ModelFile, open_model
from tools.predict.prediction import check_share
from tools.serve.batching import Service
from tools.serve.description import describe_model
from tools.serve.server import Access, answer_when_full, build_app
from tools.serve.uploads import Intake

if TYPE_CHECKING:
    from tools.serve.heatmaps import Heatmaps

_MB = 10**6
_MAX_CONNECTIONS = 1000
_MAX_REFUSED = 50
_FILES_PER_WORKER, _OTHER_FILES = 20, 100 + _MAX_REFUSED
_MAX_HEAD_BYTES = 2**16
_MAX_HEAD_SECONDS = 10.0
_BATCH_WAIT_SECONDS = 0.002
_SWITCH_SECONDS = 0.0005


def run(arguments: argparse.Namespace, listener: socket.socket) -> None:
    """Serve until asked to stop.

    Raises:
        InputError: An argument or the model file is not what it may be.
    """
    # Threads hand pictures on within microseconds, and by default each may keep the others waiting for 5 ms:
    # with 64 clients 1.35 times as many requests a second.
    sys.setswitchinterval(_SWITCH_SECONDS)
    check_share("--target-accuracy", arguments.target_accuracy, with_ends=True)
    check_share("--confidence", arguments.confidence, with_ends=False)
    file = open_model(arguments.model)
    rule = choose_rule(
        file.calibration,
        target_accuracy=arguments.target_accuracy,
        confidence=arguments.confidence,
        coverage=None,
    )
    service = Service(
        model=file.load(device=arguments.device, place="--device"),
        image=file.image,
        classes=file.classes,
        rule=rule,
        workers=arguments.workers,
        batch_size=file.batch_size,
        max_wait_seconds=_BATCH_WAIT_SECONDS,
        max_waiting=arguments.max_waiting,
    )
    heatmaps = load_heatmaps(file)
    description = describe_model(
        file, rule, target_accuracy=arguments.target_accuracy, explains=heatmaps is not None
    )
    app = build_app(
        service,
        description,
        intake=Intake(
            max_bytes=arguments.max_request_mb * _MB,
            max_pictures=arguments.max_pictures,
            max_held_bytes=arguments.max_held_mb * _MB,
            max_seconds=arguments.max_seconds,
        ),
        access=Access(arguments.token, tuple(arguments.allow_origin)),
        page=render_page(SHARED, Path(__file__).parent, model=None if arguments.token else description),
        heatmaps=heatmaps,
        max_seconds=arguments.max_seconds,
        log=lambda line: print(line, flush=True),
    )
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2 * arguments.max_seconds,
    )
    _Protocol.max_connections = reserve_files(arguments.workers)
    host, port = listener.getsockname()[:2]
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    server = _Server(config, ready=f"serve: {arguments.model} at http://{place}")
    server.run([listener])
    print("serve: stopped; all that was taken is finished", file=sys.stderr)


def reserve_files(workers: int) -> int:
    """Return how many connections there may be, each an open file, so that processes can always be started.

    Many systems allow 1,024 open files unless a program asks for more.
    """
    if sys.platform == "win32":
        return _MAX_CONNECTIONS
    import resource

    reserved = _OTHER_FILES + _FILES_PER_WORKER * workers
    wanted = _MAX_CONNECTIONS + reserved
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed, most = (sys.maxsize if limit == resource.RLIM_INFINITY else limit for limit in limits)
    if allowed < wanted:
        allowed = min(wanted, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, limits[1]))
    return max(1, min(_MAX_CONNECTIONS, allowed - reserved))


def load_heatmaps(file: ModelFile) -> "Heatmaps | None":
    """Return what explains predictions: of a checkpoint whose network ends in convolutions."""
    if not isinstance(file, CheckpointFile):
        return None
    from tools.serve.heatmaps import GradCamUnavailable, Heatmaps

    try:
        return Heatmaps(file)
    except GradCamUnavailable as error:
        print(f"serve: there is no Grad-CAM of this network: {error}", file=sys.stderr)
        return None


class _Server(uvicorn.Server):
    """uvicorn's server, which says when it is ready, and ends without raising the signal again."""

    def __init__(self, config: uvicorn.Config, *, ready: str) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        gc.collect()
        gc.freeze()  # to go through all that was imported takes 50 to 170 ms, in which nobody is answered
        print(self._ready, file=sys.stderr, flush=True)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _Protocol(HttpToolsProtocol):
    """uvicorn's HTTP with limits on connections and on the head of a request, in bytes and seconds.

    uvicorn waits for it for ever and keeps all of it, so that a few slow clients could take all connections.
    Its own limit on these refuses clients that were there before, too, and not in the form of our errors.
    """

    max_connections = _MAX_CONNECTIONS

    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        num_too_many = len(self.connections) - self.max_connections
        if num_too_many > _MAX_REFUSED:  # to tell all of them would take what the limit keeps free
            transport.abort()
            return
        if num_too_many > 0:
            self.app = answer_when_full
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        if self._head_timer is None and not self._is_answering():
            self._expect_head()
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_timer is not None and self._head_bytes > _MAX_HEAD_BYTES:
            self.transport.close()

    def on_headers_complete(self) -> None:
        self._drop_timer()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._drop_timer()
        super().connection_lost(exc)

    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _expect_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(_MAX_HEAD_SECONDS, self.transport.close)

    def _drop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
