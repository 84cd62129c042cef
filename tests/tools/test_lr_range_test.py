"""The learning-rate range test."""

import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from safetensors.torch import save_file
from torch import nn

from stages.params.read import read_params
from stages.shared.errors import InputError
from stages.train import loop
from stages.train.loop import Phase, Training
from stages.train.state import TrainingState
from stages.vision.networks import build_network
from stages.vision.pretrained import FrozenBackbone
from tests.train.project import hash_files, make_project, write_params
from tests.vision.torch_state import keep_torch_settings
from tools import lr_range_test
from tools.lr_range_test import Point, draw_plot, smooth, space_rates, suggest


@pytest.fixture(autouse=True)
def _keep_torch_settings() -> Iterator[None]:
    with keep_torch_settings():
        yield


def test_rates_rise_by_one_factor() -> None:
    """From start to end, the same factor between any two steps."""
    assert space_rates(0.001, 10.0, num_steps=5) == pytest.approx([0.001, 0.01, 0.1, 1.0, 10.0])


def test_smoothing_keeps_a_constant_and_starts_at_the_first_loss() -> None:
    """A constant loss stays what it is from the first step on; a test cut short has fewer points."""
    points = smooth([0.1, 0.2, 0.3, 0.4], [2.0, 2.0, 2.0])
    assert [point.smoothed for point in points] == pytest.approx([2.0, 2.0, 2.0])
    assert smooth([0.1, 0.2], [4.0, 2.0])[1].smoothed == pytest.approx((0.95 * 4 + 2) / 1.95)


def test_suggestion_is_where_the_loss_falls_fastest() -> None:
    """The steepest fall before the lowest loss, however the loss jumps after it."""
    losses = [3.0, 2.9, 2.7, 2.0, 1.4, 1.2, 1.1, 1.6, 5.0, 1.2]
    points = [Point(10.0**place, loss, loss) for place, loss in enumerate(losses)]
    assert suggest(points) == 10.0**3
    assert suggest([Point(place + 1.0, loss, loss) for place, loss in enumerate([1.0, 2.0, 3.0])]) is None


def test_plot_is_an_image() -> None:
    """The SVG is well-formed and marks the suggestion, also for flat losses and a single step."""
    for losses in ([3.0, 2.0, 1.0], [1.0, 1.0], [1.0]):
        points = smooth([0.01, 0.1, 1.0], losses)
        ElementTree.fromstring(draw_plot(points, 0.1))
    assert ">0.1<" in draw_plot(smooth([0.01, 0.1, 1.0], [3.0, 2.0, 1.0]), 0.1)


def test_run_writes_plot_and_suggestion_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command leaves a table and a plot that repeat byte for byte, and no output of the pipeline."""
    make_project(tmp_path, monkeypatch)
    before = hash_files(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lr_range_test", "--steps", "30", "--end-lr", "100"])
    lr_range_test.main()
    first = hash_files(tmp_path)
    added = {name for name in first.keys() - before.keys() if not name.startswith(".dvc/")}
    assert added == {"data/lr_range_test/losses.csv", "data/lr_range_test/losses.svg"}
    rows = (tmp_path / "data/lr_range_test/losses.csv").read_text().splitlines()
    assert rows[0] == "lr,loss,smoothed_loss"
    assert float(rows[1].split(",")[0]) == pytest.approx(1e-6)
    assert "optimizer.lr:" in capsys.readouterr().out
    lr_range_test.main()
    assert hash_files(tmp_path) == first


def test_a_frozen_backbone_is_frozen_here_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the head is trained in the test, as in the first epochs of the run that it is for."""
    image = make_project(tmp_path, monkeypatch).image
    network = build_network(read_params().network.chosen(), image=image, num_classes=3)
    save_file(network.state_dict(), tmp_path / "first.safetensors")
    trained: list[type[nn.Module]] = []

    def train_steps(training: Training, state: TrainingState, phase: Phase, **_: object) -> None:
        trained.append(type(phase.module))
        assert {
            name.split(".")[0] for name, weight in state.network.named_parameters() if weight.requires_grad
        } == {"head"}
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "train_steps", train_steps)
    write_params(tmp_path, transfer__freeze="backbone", network__weights_file="first.safetensors")
    with pytest.raises(KeyboardInterrupt):
        lr_range_test.measure_losses(read_params(), [0.1], max_rise=4.0)
    assert trained == [FrozenBackbone]


def test_rates_the_wrong_way_round_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the option, what was found and what is allowed."""
    monkeypatch.setattr(sys, "argv", ["lr_range_test", "--start-lr", "1", "--end-lr", "0.1"])
    with pytest.raises(InputError, match=r"--start-lr: found 1\.0; allowed: less than --end-lr, 0\.1"):
        lr_range_test.main()
