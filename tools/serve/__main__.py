"""Serve a model over HTTP: pictures in, predictions out, and a page to try it on.

    python -m tools.serve --model data/export/model.onnx
    curl -F images=@photo.jpg http://127.0.0.1:8000/predict

An exported model (.onnx) needs no torch. Whoever reaches the address may use it; beyond this machine, set a
token. Ctrl-C and SIGTERM stop it once it has finished what it took.
"""

import argparse
import errno
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from stages.images.workers import start_early
from stages.shared.errors import InputError, run_stage
from tools.predict.arguments import count_cores

TOKEN_VARIABLE = "DARKROOM_TOKEN"
_LOCAL = ("127.0.0.1", "::1", "localhost")


def main() -> None:
    """Serve until asked to stop."""
    arguments = parse_arguments()
    start_early("tools.serve.batching")
    run = import_server()
    listener = listen(arguments.host, arguments.port)
    if arguments.host not in _LOCAL and arguments.token is None:
        print(
            f"serve: whoever reaches {arguments.host} may use it; set {TOKEN_VARIABLE} to a secret",
            file=sys.stderr,
        )
    run(arguments, listener)


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.serve",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def add(name: str, kind: Callable[[str], object], default: object, text: str) -> None:
        parser.add_argument(
            name, type=kind, default=default, metavar="N", help=f"{text}; default: %(default)s"
        )

    parser.add_argument(
        "--model",
        type=Path,
        metavar="FILE",
        default=Path("data/model/best.safetensors"),
        help="checkpoint or exported model; default: %(default)s",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; default: %(default)s")
    add("--port", int, 8000, "port to listen at; 0: any that is free")
    parser.add_argument(
        "--token",
        default=os.environ.get(TOKEN_VARIABLE) or None,
        help="what clients must send as `Authorization: Bearer ...`; all users of this machine see it in the "
        f"list of processes, and not what {TOKEN_VARIABLE} in the environment holds",
    )
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="web pages that may use it, such as https://example.org (CORS); default: none but its own",
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="default: %(default)s"
    )
    parser.add_argument(
        "--target-accuracy",
        type=float,
        default=0.99,
        metavar="SHARE",
        help="as tools.predict's; default: %(default)s",
    )
    parser.add_argument(
        "--confidence",
        type=float,
        default=0.9,
        metavar="SHARE",
        help="as tools.predict's; default: %(default)s",
    )
    add("--workers", _positive, count_cores(), "processes that decode")
    add(
        "--max-waiting",
        _positive,
        256,
        "pictures inside at a time; above that, clients are told to come again",
    )
    add("--max-pictures", _positive, 32, "pictures in one request")
    add("--max-request-mb", _positive, 32, "size of one request")
    add("--max-held-mb", _positive, 256, "size of all requests at a time")
    add("--max-seconds", _positive, 30, "what a client may take to send a request, and an answer to come")
    arguments = parser.parse_args()
    if not 0 <= arguments.port < 2**16:
        parser.error(f"--port: found {arguments.port}; allowed: 0 to 65535")
    arguments.max_pictures = min(arguments.max_pictures, arguments.max_waiting)
    return arguments


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text}; allowed: a whole number of at least 1")
    return int(text)


def import_server() -> Callable[[argparse.Namespace, socket.socket], None]:
    """Return what serves.

    Raises:
        InputError: A library is not installed.
    """
    try:
        from tools.serve.running import run
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("schemas", "stages", "tools"):
            raise
        raise InputError(
            f"tools.serve: the library {error.name} is not installed; install what it needs with: "
            "pip install -r tools/serve/requirements.txt"
        ) from None
    return run


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that clients can connect to, before anything slow is loaded.

    Raises:
        InputError: The port is taken, or the address is not of this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        # socket adds the address to what the system says; a name that is not found has a negative number.
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        is_taken = error.errno == errno.EADDRINUSE
        advice = "stop what does, or choose another" if is_taken else "name one of this machine's addresses"
        raise InputError(f"--host {host} --port {port}: cannot listen there: {reason}; {advice}") from None


if __name__ == "__main__":
    run_stage(main)
