"""Training on the machines of a Ray cluster, which this stage drives.

    python -m stages.train            follows dvc, prints, says how the ranks ended
      a Ray actor for each rank       starts it as its child, and passes on what it prints
        rank 0, 1, ...                train, as they do on one machine

Ray places the actors and says when one is lost with its machine. Then all ranks start again on what is left,
from the last saved state, which lies in the project: so every machine needs the project at the same path. A
rank is a child, for Ray's own process takes signals in its own way; it lives no longer than its actor.
"""

import logging
import multiprocessing
import os
import select
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from schemas.params import Params
from stages.shared.errors import InputError, shorten
from stages.shared.inputs import StageInputs
from stages.shared.paths import find_dvc_folder
from stages.shared.stopping import STOPPED, Stopped, defer_stops, exit_if_orphaned, is_stop_requested
from stages.train.cluster import Place, run_rank
from stages.train.ranks import LOST

_LOOK_EVERY_SECONDS = 0.3
_SECONDS_TO_ANSWER = 5.0
_SECONDS_FOR_ROOM = 60.0
"""How long to wait until the cluster has room, also for Ray to notice that a machine is gone."""

_SECONDS_TO_NOTICE = 45.0
"""Until Ray says that a machine is lost that says nothing any more: 5 checks, 3 s apart, of up to 10 s."""

_MOST_LOST = 20
"""Machines in one run: where more are lost, something else is wrong."""

_PASSED_ON = ("DVC_", "OMP_", "MKL_", "OPENBLAS_", "KMP_", "CUBLAS_", "TORCH_", "NCCL_", "GLOO_")
"""Environment variables that ranks have as this process has them. Ray sets OMP_NUM_THREADS by itself."""


class _State(NamedTuple):
    """Of a rank, since it was last looked at."""

    status: int | None
    """Its exit status; None while it runs."""

    kind: str
    """When it has ended: `wrong`, `stopped` or empty."""

    message: str
    printed: str


class _Host:
    """What a Ray actor does: it keeps one rank."""

    def __init__(self, folder: str, environment: dict[str, str]) -> None:
        os.chdir(folder)
        for name in list(os.environ):
            if name.startswith(_PASSED_ON):
                del os.environ[name]
        os.environ.update(environment)
        os.environ.setdefault("GLOO_SOCKET_IFNAME", _name_interface(_find_address()))
        self._process: SpawnProcess | None = None

    def offer_meeting(self) -> str:
        """Return where ranks can meet if this is to be rank 0."""
        with socket.socket() as free:
            free.bind((_find_address(), 0))
            host, port = free.getsockname()
        return f"tcp://{host}:{port}"

    def start(self, place: Place, params: Params, inputs: StageInputs) -> None:
        """Start the rank, once."""
        context = multiprocessing.get_context("spawn")
        self._reports, reports = context.Pipe(duplex=False)
        self._output, output = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_run_here, args=(place, params, inputs, os.getpid(), reports, output)
        )
        self._process.start()
        reports.close()
        output.close()

    def look(self) -> _State:
        """Return how the rank is."""
        assert self._process is not None, "it was started"
        status = self._process.exitcode  # before what it said last
        printed = b""
        while select.select([self._output], [], [], 0)[0] and (more := os.read(self._output.fileno(), 65536)):
            printed += more
        kind, message = "", ""
        try:
            if status is not None and self._reports.poll():
                kind, message = self._reports.recv()
        except EOFError:
            pass
        return _State(status, kind, message, printed.decode(errors="replace"))

    def stop(self) -> None:
        """Ask the rank to stop as soon as all is safe."""
        if self._process is not None:
            self._process.terminate()

    def end(self) -> None:
        """End the rank, whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.join()


def _run_here(
    place: Place, params: Params, inputs: StageInputs, parent: int, reports: Connection, output: Connection
) -> None:
    """Be a rank: a child of the actor, in a new process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    run_rank(place, params, inputs, parent, reports)


def _end_with_parent() -> None:
    """Leave at once when the actor is gone: others may be about to train here in this rank's place."""
    parent = parent_process()
    assert parent is not None, "the actor started this process"
    parent.join()
    os._exit(STOPPED)


def _find_address() -> str:
    import ray

    return str(ray.util.get_node_ip_address())


def _name_interface(address: str) -> str:
    """Return the network interface by which other machines reach this one; gloo would ask for its name."""
    for name, addresses in psutil.net_if_addrs().items():
        if address in (each.address for each in addresses):
            return str(name)
    return ""


def train_on_nodes(params: Params, inputs: StageInputs) -> None:
    """Train in the processes that params.yaml asks for, on the machines of a Ray cluster.

    Raises:
        InputError: There is no such cluster, or what a rank says is wrong, or that it was killed, and which.
        Stopped: The stage was asked to stop.
    """
    ray = connect(params)
    with defer_stops(), exit_if_orphaned():
        try:
            count, num_lost = params.cluster.processes, 0
            while True:
                hosts: list[Any] = []
                group = None
                try:
                    group, count = _take_room(ray, params, count, is_lost=num_lost > 0)
                    hosts += _start(ray, group, params, inputs, count)
                    _await(ray, hosts)
                    return
                except (
                    ray.exceptions.RayActorError,
                    ray.exceptions.NodeDiedError,
                    ray.exceptions.WorkerCrashedError,
                ) as error:
                    num_lost += 1
                    if "creation task" in str(error) or num_lost > _MOST_LOST:
                        # Python or a library differs there, or nothing stays up.
                        *_, reason = str(error).strip().splitlines() or [type(error).__name__]
                        raise InputError(f"train: a machine of the cluster: {shorten(reason)}") from None
                    print("train: a machine of the cluster is gone; goes on without it", flush=True)
                finally:
                    _end(ray, hosts, group)
        finally:
            ray.shutdown()


def connect(params: Params) -> Any:
    """Return the module ray, connected to the cluster.

    Raises:
        InputError: There is no such cluster, or no Ray.
    """
    address = params.cluster.address
    assert address is not None, "params.yaml names a cluster"
    place = f"params.yaml: cluster.address: {address}"
    try:
        import ray
    except ImportError:
        raise InputError(f"{place}: needs Ray; install it with: pip install 'ray>=2.60'") from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    advice = "start one with: ray start --head; allowed: auto, or the host:port that it prints"
    found = address if address != "auto" else os.environ.get("RAY_ADDRESS") or _read_current_cluster()
    host, _, port = found.rpartition(":")
    try:
        # Ray itself would try for minutes.
        socket.create_connection((host, int(port)), timeout=_SECONDS_TO_ANSWER).close()
    except (OSError, ValueError):
        where = "" if found == address else f" ({found})" if found else ""
        raise InputError(f"{place}{where}: no Ray cluster answers; {advice}") from None
    handlers = {request: signal.getsignal(request) for request in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(address=found, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{place}: {shorten(first_line)}") from None
    finally:
        for request, handler in handlers.items():  # Ray sets its own
            signal.signal(request, handler)
    return ray


def _read_current_cluster() -> str:
    """Return the address of a cluster that was started on this machine; empty if there is none."""
    try:
        return Path("/tmp/ray/ray_current_cluster").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _take_room(ray: Any, params: Params, count: int, *, is_lost: bool) -> tuple[Any, int]:
    """Reserve a place for each rank, of as many as there is room for, at most so many and a power of two.

    Raises:
        InputError: There is no room, or at first not for all.
        Stopped: The stage was asked to stop.
    """
    bundle = {"CPU": float(params.training.threads)}
    if params.training.device == "cuda" or (
        params.training.device == "auto" and ray.cluster_resources().get("GPU", 0) >= count
    ):
        bundle["GPU"] = 1.0
    deadline = time.monotonic() + _SECONDS_FOR_ROOM
    while True:
        room = sum(
            int(min(node["Resources"].get(name, 0.0) // number for name, number in bundle.items()))
            for node in ray.nodes()
            if node["Alive"]
        )
        wanted = (min(count, 1 << (room.bit_length() - 1)) if room else 0) if is_lost else count
        if wanted > room or not wanted:
            what = " and ".join(f"{number:g} {name}" for name, number in bundle.items())
            raise InputError(
                f"params.yaml: cluster.processes: found {params.cluster.processes}; allowed: at most "
                f"{room}, the room that the Ray cluster has at {what} each"
            )
        group = ray.util.placement_group([bundle] * wanted, strategy="PACK")
        if group.wait(_LOOK_EVERY_SECONDS * 10):
            return group, wanted
        ray.util.remove_placement_group(group)
        if is_stop_requested():
            raise Stopped("stopped; nothing was published")
        if time.monotonic() > deadline:
            raise InputError(
                f"params.yaml: cluster.address: {params.cluster.address}: others use the cluster; try later"
            )


def _start(ray: Any, group: Any, params: Params, inputs: StageInputs, count: int) -> list[Any]:
    """Start the ranks and return their hosts, by rank.

    Raises:
        InputError: A machine does not have the project.
    """
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    def options(rank: int) -> dict[str, Any]:
        bundle = group.bundle_specs[rank]
        return {
            "num_cpus": bundle["CPU"],
            "num_gpus": bundle.get("GPU", 0.0),
            "scheduling_strategy": PlacementGroupSchedulingStrategy(group, rank),
        }

    _check_shared(ray, [options(rank) for rank in range(count)])
    environment = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
    host = ray.remote(max_restarts=0)(_Host)
    hosts = [host.options(**options(rank)).remote(str(Path.cwd()), environment) for rank in range(count)]
    meet_at = ray.get(hosts[0].offer_meeting.remote())
    alone = _count_one(params)
    ray.get(
        [host.start.remote(Place(rank, count, meet_at), alone, inputs) for rank, host in enumerate(hosts)]
    )
    return hosts


def _count_one(whole: Params) -> Params:
    """Return parameters for a rank that is alone with the GPUs that Ray gave to it, and sees no others."""
    return whole.model_copy(update={"cluster": whole.cluster.model_copy(update={"processes": 1})})


def _check_shared(ray: Any, options: Sequence[dict[str, Any]]) -> None:
    """Check that every machine sees a file that this one writes into the project now.

    Raises:
        InputError: One does not.
    """

    def look(name: str) -> tuple[str, bool]:  # travels by itself, without this module
        import os
        import socket

        return socket.gethostname(), os.path.exists(name)  # noqa: PTH110

    folder = find_dvc_folder()
    assert folder is not None, "a stage runs in a DVC repository"
    with tempfile.NamedTemporaryFile(dir=folder / "tmp" if (folder / "tmp").is_dir() else folder) as file:
        looks = [ray.remote(look).options(**each).remote(file.name) for each in options]
        for machine, is_there in ray.get(looks):
            if not is_there:
                raise InputError(
                    f"params.yaml: cluster.address: machine {machine} does not see {Path.cwd()} as this one "
                    "does; allowed: a project on a disk that all machines share, at the same path"
                )


def _await(ray: Any, hosts: Sequence[Any]) -> None:
    """Print what the ranks print, and wait until all have ended well.

    Raises:
        InputError: One has not; the others may still run.
        Stopped: The stage was asked to stop.
        RayActorError: One is lost with its machine.
    """
    was_told = False
    while True:
        states = _look(ray, hosts)
        if is_stop_requested() and not was_told:
            was_told = True
            ray.get([host.stop.remote() for host in hosts])
        statuses = [state.status for state in states]
        failed = [rank for rank, status in enumerate(statuses) if status not in (None, 0, STOPPED)]
        if failed and not is_stop_requested():
            raise InputError(_explain_failure(ray, hosts, states, failed[0]))
        if failed or all(status is not None for status in statuses) or statuses[0] == STOPPED:
            break
        time.sleep(_LOOK_EVERY_SECONDS)
    if is_stop_requested() or STOPPED in statuses:
        first = states[0]
        raise Stopped(first.message if first.kind == "stopped" else "stopped; nothing was published")


def _look(ray: Any, hosts: Sequence[Any]) -> list[_State]:
    """Return how the ranks are, and print what they have printed."""
    states: list[_State] = ray.get([host.look.remote() for host in hosts])
    for state in states:
        print(state.printed, end="", flush=True)
    return states


def _explain_failure(ray: Any, hosts: Sequence[Any], states: Sequence[_State], rank: int) -> str:
    """Return what a rank died of.

    Raises:
        RayActorError: Of the end of a machine.
    """
    name = f"train: rank {rank} of {len(hosts)}"
    found = states[rank]
    if rank > 0 and found.kind == "wrong":  # of what all find, rank 0 shall say it
        time.sleep(_LOOK_EVERY_SECONDS)
        first = _look(ray, hosts)[0]
        if first.kind == "wrong":
            name, found = "", first
    if found.kind == "wrong" and not found.message.startswith(LOST):
        return f"{name}: {found.message}" if name and rank else found.message
    deadline = time.monotonic() + _SECONDS_TO_NOTICE
    while found.kind == "wrong" and time.monotonic() < deadline:
        # Another was killed, or its machine is lost, which raises here as soon as Ray knows.
        for other, state in enumerate(_look(ray, hosts)):
            if state.status is not None and state.status < 0:
                name, found = f"train: rank {other} of {len(hosts)}", state
        time.sleep(_LOOK_EVERY_SECONDS)
    assert found.status is not None, "it has ended"
    if found.status < 0:
        how = f"was killed by {signal.Signals(-found.status).name}"
    else:
        how = "lost the others" if found.kind == "wrong" else "failed; its traceback is above"
    return f"{name} {how}; the same command resumes from the last saved state"


def _end(ray: Any, hosts: Sequence[Any], group: Any) -> None:
    """End all ranks that can still be reached, and give their places back."""
    for host in hosts:
        with suppress(ray.exceptions.RayError):  # it is gone, or cannot be reached: its rank ends with it
            ray.get(host.end.remote(), timeout=_SECONDS_TO_ANSWER)
        ray.kill(host)
    if group is not None:
        ray.util.remove_placement_group(group)
