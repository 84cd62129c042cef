"""Several processes train to the bytes of one."""

from pathlib import Path

import pytest
import torch
from torch import nn

from stages.shared.errors import InputError
from stages.train.ranks import ALONE, Processes, check_same, check_same_weights
from tests.processes.cases import COMMON, TOGETHER
from tests.processes.ranks import train_on
from tests.train.project import make_project


@pytest.mark.parametrize("name", TOGETHER)
def test_any_number_of_processes_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Of all that training publishes, with processes that have nothing to do in the last batch.

    `python -m tests.processes` has many more features, each by itself.
    """
    make_project(tmp_path, monkeypatch, num_train=10, height_px=8, width_px=8)
    changes = {**COMMON, **TOGETHER[name], "dataset__height_px": 8, "dataset__width_px": 8}
    expected = train_on(tmp_path, 1, **changes)
    assert "best.safetensors" in expected
    for count in (2, 4):
        assert train_on(tmp_path, count, **changes) == expected


class Two(Processes):
    """The first of two processes; the other one says what is given here."""

    count = 2

    def __init__(self, other: str) -> None:
        self._other = other

    def collect(self, text: str) -> list[str]:
        """Return both."""
        return [text, self._other]


def test_processes_with_other_libraries_or_data_do_not_begin() -> None:
    """One line says which process, and in what it differs."""
    facts = {"data": "a", "torch": "2.14.1"}
    check_same(ALONE, facts)
    check_same(Two('{"data": "a", "torch": "2.14.1"}'), facts)
    with pytest.raises(
        InputError, match=r"^cluster: rank 1 has another torch than rank 0 \(2\.9, not 2\.14\.1\)"
    ):
        check_same(Two('{"data": "a", "torch": "2.9"}'), facts)


def test_weights_that_drift_apart_are_noticed() -> None:
    """At the end of an epoch, by the first bit; the message names what differs."""
    network = nn.BatchNorm1d(2, affine=False)
    same = '{"running_mean": 0, "running_var": 2130706432, "num_batches_tracked": 0}'
    check_same_weights(Two(same), network, epoch=0)
    network.running_mean = torch.tensor([0.0, torch.finfo(torch.float32).tiny])
    with pytest.raises(InputError, match=r"found 2, .* after epoch 3 .* running_mean, .* allowed: 1$"):
        check_same_weights(Two(same), network, epoch=2)
