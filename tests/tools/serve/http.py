"""A server in a process of its own or in a thread, and a client."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import uvicorn
from fastapi import FastAPI

from tests.vision.completeness import ROOT
from tools.serve.running import _Protocol

BOUNDARY = "----boundary"


class Reply(NamedTuple):
    """A response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def form(*files: bytes, name: str = "a.jpg") -> bytes:
    """Return a form with files."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="{name}"\r\n\r\n'
    return b"".join(head.encode() + file + b"\r\n" for file in files) + f"--{BOUNDARY}--\r\n".encode()


def send(
    port: int,
    path: str = "/predict",
    body: bytes | None = None,
    *,
    method: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Send a request on a connection of its own; one with a body is a form."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        kind = {} if body is None else {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        connection.request(
            method or ("GET" if body is None else "POST"), path, body, {**kind, **(headers or {})}
        )
        response = connection.getresponse()
        return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


@contextmanager
def serve_in_thread(app: FastAPI) -> Iterator[int]:
    """Serve an application in this process, and yield its port."""
    config = uvicorn.Config(app, port=0, http=_Protocol, lifespan="on", log_config=None, log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(timeout=30)


class Served(NamedTuple):
    """A server in a process of its own."""

    port: int
    process: "subprocess.Popen[str]"
    log: IO[str]
    """Its access log."""

    errors: list[str]
    """Lines of its standard error."""


@contextmanager
def serve(
    *arguments: str,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    python: Path | str = sys.executable,
    path: Path = ROOT,
) -> Iterator[Served]:
    """Run the command in a folder, and yield once it is ready.

    Args:
        arguments: Of the command.
        folder: Where it runs.
        environment: What is added to this process's.
        python: What runs it.
        path: Where its code is.
    """
    with (folder / "access.log").open("w+") as log:
        process = subprocess.Popen(
            [python, "-m", "tools.serve", "--port", "0", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(path), **(environment or {})},
            stdout=log,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        errors: list[str] = []
        reader = threading.Thread(target=errors.extend, args=(process.stderr,))
        try:
            port = None
            for line in process.stderr:
                errors.append(line)
                if found := re.search(r" at http://127.0.0.1:(\d+)$", line):
                    port = int(found[1])
                    break
            assert port is not None, "".join(errors)
            reader.start()  # nobody else reads on, and a full pipe would stop the server
            yield Served(port, process, log, errors)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)
            if reader.is_alive():
                reader.join()
            process.stderr.close()


def run_command(arguments: Sequence[str], *, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end, which comes early where something is wrong."""
    return subprocess.run(
        [sys.executable, "-m", "tools.serve", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
