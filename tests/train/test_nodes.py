"""A Ray cluster that is not there. On one that is, `python -m tests.processes.nodes` trains."""

import socket
import sys
from pathlib import Path
from types import ModuleType

import pytest

from schemas.params import Params
from stages.params.read import read_params
from stages.shared.errors import InputError
from stages.train.nodes import connect
from tests.train.project import write_params


def params_with(address: str, folder: Path) -> Params:
    write_params(folder, cluster__address=address)
    return read_params(folder / "params.yaml")


def test_without_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says how to get it."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError) as caught:
        connect(params_with("auto", tmp_path))
    line = "params.yaml: cluster.address: auto: needs Ray; install it with: pip install 'ray>=2.60'"
    assert str(caught.value) == line


@pytest.mark.parametrize("address", ["auto", "127.0.0.1:{port}"])
def test_nobody_answers(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is found in seconds, where Ray tries for minutes; the line says where it was looked for."""
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))  # is not asked for anything
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    with pytest.raises(InputError) as caught:
        connect(params_with(address.format(port=port), tmp_path))
    assert str(caught.value).startswith(f"params.yaml: cluster.address: {address.format(port=port)}")
    assert ": no Ray cluster answers; start one with: ray start --head; allowed: auto," in str(caught.value)
    assert f"127.0.0.1:{port}" in str(caught.value)
