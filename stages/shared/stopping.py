"""How a stage stops: Ctrl-C, SIGTERM, and the end of the dvc that started it.

A stage that is asked to stop raises Stopped where it is, unless it said with `defer_stops` that it will look
itself. A stage whose dvc is gone has become an orphan: the next run may be at work in the same folders, so it
leaves the process without touching them, not even to clean up.
"""

import ctypes
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import NoReturn

import psutil

STOPPED = 75
"""Exit status of a stage that was stopped, EX_TEMPFAIL: try again. DVC rightly takes it for a failure."""

KILLED_BY_CTRL_C = 130

_WITNESS = """trap '' HUP INT TERM; read -r _ || echo "$1" >&2"""
"""A shell that waits for a line, and says something if there is none before the other end is closed."""

_KILLED = (
    "was killed: for lack of memory if DVC says exited with -9 (try a smaller batch, fewer workers), else by "
    "a crash in a library (PYTHONFAULTHANDLER=1 dvc repro shows where)"
)

_REQUESTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SHELLS = {"sh", "ash", "bash", "dash", "fish", "ksh", "zsh", "busybox"}
_PR_SET_PDEATHSIG = 1
_LOOK_EVERY_SECONDS = 0.5
_SECONDS_TO_SAVE = 60.0
"""That an orphan has to save what it was asked to stop in."""


class Stopped(KeyboardInterrupt):
    """The stage was asked to stop; the message says what is kept and how to go on."""


class _Requests:
    """What has been asked of this process; signal handlers have nowhere else to put it."""

    num_interrupts = 0
    is_stopping = False
    is_orphan = False
    is_deferred = False
    is_publishing = False
    parents: tuple[int, ...] = ()
    witness: int | None = None
    """Where to write a line before the process ends in any way of its own."""


@contextmanager
def watch_for_stops(*, parent: int | None = None) -> Iterator[None]:
    """Stop in an orderly way in the block, which is all of a stage: when asked, and when dvc dies.

    Args:
        parent: For one of several processes of a stage: the one that started it, which is followed instead.
    """
    before = {request: signal.getsignal(request) for request in _REQUESTS}
    for request in _REQUESTS:
        if before[request] is not signal.SIG_IGN:  # as nohup and a shell's & leave it
            signal.signal(request, _handle)
    if parent is not None:
        _follow(parent)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _REQUESTS)
    elif "DVC_STAGE" in os.environ:  # DVC started this process, or a shell that it started
        _follow_dvc()
        _call_witness()
    try:
        yield
    finally:
        _dismiss_witness()
        for request, handler in before.items():
            signal.signal(request, handler)
        _Requests.num_interrupts, _Requests.is_stopping = 0, False


@contextmanager
def defer_stops() -> Iterator[None]:
    """Have requests wait in the block, for `is_stop_requested` to find them."""
    _Requests.is_deferred = True
    try:
        yield
    finally:
        _Requests.is_deferred = False


@contextmanager
def exit_if_orphaned() -> Iterator[None]:
    """Have an orphan leave at once in the block, also inside `defer_stops`: outputs are being written."""
    _Requests.is_publishing = True
    try:
        yield
    finally:
        _Requests.is_publishing = False


def is_stop_requested() -> bool:
    """Return whether the stage should stop as soon as all is safe."""
    return _Requests.is_stopping


def stop(message: str) -> NoReturn:
    """End the stage, saying how to go on."""
    if _Requests.is_orphan:
        _leave(message)
    raise Stopped(message)


def follow_parent() -> None:
    """Have a worker process live as long as its parent, and not be stopped by anyone else.

    Called first of all in the worker. Ctrl-C and SIGTERM often go to all processes of a run; the parent
    finishes its step with the workers' help. It can still end them, by `terminate` and `kill`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None, "a worker process has a parent"
    bosses = {os.getppid(), parent.pid}
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_obey, args=(bosses,), daemon=True).start()
    _ask_for_death_signal(signal.SIGKILL)
    # A fork server stands between the two and outlives the parent, so the kernel's word is not enough.
    threading.Thread(target=_leave_after, args=(parent,), daemon=True).start()


def _obey(bosses: set[int | None]) -> None:
    """Wait for SIGTERM from one of these processes, then leave. macOS does not tell from whom it is."""
    if not hasattr(signal, "sigwaitinfo"):
        signal.sigwait({signal.SIGTERM})
        os._exit(0)
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid not in bosses:
        pass
    os._exit(0)


def _leave_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(STOPPED)


def _handle(number: int, frame: FrameType | None) -> None:
    _Requests.num_interrupts += number == signal.SIGINT
    if _Requests.num_interrupts > 1:
        _dismiss_witness()
        os._exit(KILLED_BY_CTRL_C)
    _Requests.is_orphan = _Requests.is_orphan or not _is_parent_alive()
    was_stopping, _Requests.is_stopping = _Requests.is_stopping, True
    message = "stopped; nothing was published"
    if _Requests.is_orphan and (_Requests.is_publishing or not _Requests.is_deferred):
        _leave(message)
    if _Requests.is_deferred:
        return
    if not was_stopping:  # a second request must not break off the cleaning up after the first
        raise Stopped(message)


def _leave(message: str) -> NoReturn:
    """Leave without cleaning up."""
    _dismiss_witness()
    try:
        if message:
            print(message, file=sys.stderr, flush=True)
    finally:
        os._exit(STOPPED)


def _follow_dvc() -> None:
    """Be asked to stop when dvc dies, also if a shell stands between dvc and this process."""
    parent = os.getppid()
    _Requests.parents = (parent,)
    _ask_for_death_signal(signal.SIGTERM)
    with suppress(psutil.Error):  # it is gone: see below
        if (process := psutil.Process(parent)).name() in _SHELLS:
            _Requests.parents = (parent, process.ppid())
    if sys.platform != "linux" or len(_Requests.parents) > 1:
        threading.Thread(target=_await_end, args=_Requests.parents[-1:], daemon=True).start()
    # DVC does not give a stage a process group of its own. Whoever adopts an orphan is of another one.
    if os.getpgid(os.getppid()) != os.getpgid(0):
        _Requests.is_orphan = True
        _leave("stopped: the dvc that started this is gone")


def _follow(parent: int) -> None:
    """Be asked to stop when the process that started this one dies."""
    _Requests.parents = (parent,)
    _ask_for_death_signal(signal.SIGTERM)
    threading.Thread(target=_end_orphan, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        _Requests.is_orphan = True
        _leave("stopped: the process that started this is gone")


def _end_orphan(parent: int) -> None:
    """Ask an orphan to stop, and end it if it cannot: it may wait for others that are gone."""
    _await_end(parent)
    time.sleep(_SECONDS_TO_SAVE)
    os._exit(STOPPED)


@contextmanager
def hold_requests() -> Iterator[None]:
    """Have requests to stop wait in the block, for processes that are started in it as well.

    They take them in when they begin to watch for stops. Before that, they could only die of them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _REQUESTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _call_witness() -> None:
    """Have one line said should this process die by a signal, of which DVC only says `exited with -11`.

    Nothing of this process runs any more then. Its end of a pipe closes, and that tells the witness.
    """
    stage = os.environ["DVC_STAGE"].rpartition(":")[2]
    ours, theirs = os.pipe()[::-1]
    actions = [(os.POSIX_SPAWN_DUP2, theirs, 0), (os.POSIX_SPAWN_DUP2, 2, 1)]
    command = ("sh", "-c", _WITNESS, "sh", f"{stage}: {_KILLED}")
    os.posix_spawnp("sh", command, os.environ, file_actions=actions)
    os.close(theirs)
    _Requests.witness = ours


def _dismiss_witness() -> None:
    if _Requests.witness is not None:
        with suppress(OSError):  # it was killed as well
            os.write(_Requests.witness, b"\n")
        os.close(_Requests.witness)
        _Requests.witness = None


def _ask_for_death_signal(number: signal.Signals) -> None:
    """Have the kernel send a signal when the parent process dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)


def _await_end(process: int) -> None:
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        pass
    except (AttributeError, OSError):  # only Linux has it, since 5.3
        while _is_parent_alive() and psutil.pid_exists(process):
            time.sleep(_LOOK_EVERY_SECONDS)
    else:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll()
    _Requests.is_orphan = True
    os.kill(os.getpid(), signal.SIGTERM)


def _is_parent_alive() -> bool:
    return not _Requests.parents or os.getppid() == _Requests.parents[0]
