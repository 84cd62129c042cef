"""Requests a second: tools.serve beside a plain FastAPI script and LitServe, with the same network.

    python -m benchmarks.serve [--clients 1 8 64] [--rounds 3] [--python .venv.bench/bin/python]
    python -m benchmarks.serve --soak 600

wrk (a Debian package) uploads JPEGs of 224 px on loopback, one in a request; the servers take turns. The
plain script runs the checkpoint, LitServe and tools.serve the exported model. Wanted at 64 clients: 3 times
the plain script, and no less than LitServe. --soak serves for so many seconds while 2 % of the uploads are
hostile, and wants no status 500 and memory that stays within 5 % where nothing is being decoded.
"""

import argparse
import asyncio
import http.client
import itertools
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import psutil

from benchmarks.generated_project import write_project
from benchmarks.photographs import make_photograph
from schemas.shared.manifest import ImageForm
from schemas.vision.network import Cnn
from tests.images.bombs import image_bombs
from tests.tools.predict.models import export

ROOT = Path(__file__).parents[1]
FORM = ImageForm(color="grayscale", height_px=28, width_px=28, resize="squish")
BOUNDARY = "bench"
SIDE_PX = 224
NUM_PICTURES = 32
HOSTILE_FRACTION = 0.02

_REST_SECONDS = 3.0
"""After which nothing is being decoded, so that memory is what is kept, not what is in use."""


def main() -> None:
    """Write a model and pictures, and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--python", default=".venv.bench/bin/python", help="an environment with LitServe")
    parser.add_argument("--soak", type=int, metavar="SECONDS", help="soak instead")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cnn = Cnn(channels=(16, 32, 64), kernel_size=3, dropout=0.0)
        write_project(folder, FORM, num_images=10, num_classes=10, threads=2, cnn=cnn)
        checkpoint, model = folder / "data/model/best.safetensors", folder / "model.onnx"
        export(checkpoint, model)
        bodies = write_bodies(folder)
        if arguments.soak:
            soak(model, [body.read_bytes() for body in bodies], seconds=arguments.soak)
            return
        commands = {
            "plain script": [sys.executable, "-m", "benchmarks.serve_plain", str(checkpoint)],
            "LitServe": [arguments.python, "-m", "benchmarks.serve_litserve", str(model)],
            "darkroom": [sys.executable, "-m", "tools.serve", "--model", str(model), "--port"],
        }
        compare(commands, bodies, arguments)


def write_bodies(folder: Path) -> list[Path]:
    """Write forms, each with a photograph of 224 px, some 12 KB."""
    paths = []
    for seed in range(NUM_PICTURES):
        pixels = make_photograph(seed, height_px=SIDE_PX, width_px=SIDE_PX)
        _, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 88])
        paths.append(folder / f"body-{seed}")
        paths[-1].write_bytes(wrap(jpeg.tobytes()))
    return paths


def wrap(data: bytes) -> bytes:
    """Return a form with one file, in the field that LitServe reads."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="request"; filename="a.jpg"\r\n'
    return f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()


@contextmanager
def running(command: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Start a server, and yield its port and process number once it predicts."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tempfile.TemporaryFile("w+")  # noqa: SIM115
    process = subprocess.Popen(
        [*command, str(port)],
        # Threads that wait sleep, as ours do: on a busy machine the plain script would come to a standstill.
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"},
        stdout=subprocess.DEVNULL,
        stderr=log,
        start_new_session=True,
    )
    try:
        until = time.monotonic() + 120
        while not is_serving(port):
            if process.poll() is not None or time.monotonic() > until:
                log.seek(0)
                sys.exit(f"{command[2]} does not predict: {log.read()}")
            time.sleep(0.2)
        yield port, process.pid
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def is_serving(port: int) -> bool:
    """Return whether a picture is classified."""
    _, png = cv2.imencode(".png", make_photograph(0, height_px=32, width_px=32))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        connection.request("POST", "/predict", wrap(png.tobytes()), kind)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def compare(commands: dict[str, list[str]], bodies: Sequence[Path], arguments: argparse.Namespace) -> None:
    """Let the servers take turns, one running at a time, and print what wrk measured."""
    assert shutil.which("wrk"), "there is no wrk here; apt-get install wrk brings it"
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    for _ in range(arguments.rounds):
        for name, command in commands.items():
            with running(command) as (port, pid):
                for clients in arguments.clients:
                    load(port, bodies, clients=clients, seconds=1)
                    before, all_before = measure_cpu(pid), measure_all_cpu()
                    outcome = load(port, bodies, clients=clients, seconds=arguments.seconds)
                    cpu = measure_cpu(pid) - before
                    outcome["cpu_ms"] = 1000 * cpu / max(1, outcome["requests"])
                    outcome["others"] = (measure_all_cpu() - all_before - cpu) / outcome["seconds"]
                    found.setdefault((name, clients), []).append(outcome)
    for clients in arguments.clients:
        columns = (
            "requests/s (min .. max)      p50      p99      CPU  failed   ratio to plain (min .. max)"
            "   cores that wrk and others used (max)"
        )
        print(f"{clients} clients:  {columns}")
        base = [outcome["rate"] for outcome in found["plain script", clients]]
        for name in commands:
            outcomes = found[name, clients]
            rates = [outcome["rate"] for outcome in outcomes]
            ratios = [rate / max(other, 0.1) for rate, other in zip(rates, base, strict=True)]
            p50, p99, cpu = (
                statistics.median(outcome[key] for outcome in outcomes)
                for key in ("p50_ms", "p99_ms", "cpu_ms")
            )
            failed = sum(outcome["failed"] for outcome in outcomes)
            print(
                f"  {name:13} {statistics.median(rates):6.0f} ({min(rates):.0f} .. {max(rates):.0f})"
                f"  {p50:7.1f} ms {p99:7.1f} ms  {cpu:5.2f} ms  {failed:.0f}"
                f"  {statistics.median(ratios):.2f} ({min(ratios):.2f} .. {max(ratios):.2f})"
                f"  {max(outcome['others'] for outcome in outcomes):.1f}"
            )


def measure_cpu(pid: int) -> float:
    """Return the CPU seconds of a server and the processes it started that still run.

    For each request that says more than the clock where others use the machine, too.
    """
    server = psutil.Process(pid)
    times = [process.cpu_times() for process in (server, *server.children(recursive=True))]
    return float(sum(time.user + time.system for time in times))


def measure_all_cpu() -> float:
    """Return the CPU seconds of everybody, and those that another virtual machine had of this one's.

    A round in which others had the cores says nothing of a server.
    """
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0))


def load(port: int, bodies: Sequence[Path], *, clients: int, seconds: int) -> dict[str, float]:
    """Return what wrk measured."""
    output = subprocess.run(
        [
            *("wrk", "--threads", "1", "--connections", str(clients), "--duration", f"{seconds}s"),
            *("--timeout", "30s", "--script", str(ROOT / "benchmarks/serve.lua"), f"http://127.0.0.1:{port}"),
            *("--", BOUNDARY, *map(str, bodies)),
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    outcome: dict[str, float] = json.loads(output.splitlines()[-1])
    return outcome | {"rate": outcome["requests"] / outcome["seconds"]}


def soak(model: Path, good: Sequence[bytes], *, seconds: int) -> None:
    """Upload for a long time, a hostile picture now and then, and print statuses and memory."""
    hostile = [wrap(make()) for make in image_bombs().values()]
    hostile = [body for body in hostile if len(body) < 2**24]
    command = [sys.executable, "-m", "tools.serve", "--model", str(model), "--port"]
    with running(command) as (port, pid):
        statuses: Counter[int] = Counter()
        at_rest = []
        for _ in range(10):
            asyncio.run(soak_port(port, good, hostile, statuses, seconds=seconds / 10))
            time.sleep(_REST_SECONDS)
            at_rest.append(measure_memory(pid))
    print(f"{sum(statuses.values()):,} requests in {seconds} s, by status: {dict(sorted(statuses.items()))}")
    for name, sizes in zip(("server", "its processes"), zip(*at_rest, strict=True), strict=True):
        # The first tenth warms up. Of the rest a straight line says how much is kept from one to the next.
        slope = statistics.linear_regression(range(9), sizes[1:]).slope * 9 / statistics.mean(sizes[1:])
        print(f"resident memory of the {name} at rest after each tenth of the time, MB:")
        print(" ", *(f"{size / 1e6:.0f}" for size in sizes), f"(trend since the first: {slope:+.1%})")


async def soak_port(
    port: int, good: Sequence[bytes], hostile: Sequence[bytes], statuses: Counter[int], *, seconds: float
) -> None:
    """Let 16 clients upload, and count the statuses that they get."""
    until = time.monotonic() + seconds
    turns = itertools.count(statuses.total())

    async def client() -> None:
        while time.monotonic() < until:
            turn = next(turns)
            is_hostile = turn % round(1 / HOSTILE_FRACTION) == 0
            body = hostile[turn // 50 % len(hostile)] if is_hostile else good[turn % len(good)]
            statuses[await post(port, body)] += 1

    await asyncio.gather(*(client() for _ in range(16)))


async def post(port: int, body: bytes) -> int:
    """Return the status of one request on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        f"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    )
    try:
        writer.write(head.encode() + body)
        status = int((await reader.readline()).split()[1])
        await reader.read()
    finally:
        writer.close()
    return status


def measure_memory(pid: int) -> tuple[int, int]:
    """Return the resident bytes of the server, and of the processes it started that still run."""
    server = psutil.Process(pid)
    total = 0
    for process in server.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return server.memory_info().rss, total


if __name__ == "__main__":
    main()
