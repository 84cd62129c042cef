"""Transfer learning."""

from pathlib import Path
from typing import Literal

import pytest
import torch

from schemas.shared.manifest import Manifest
from schemas.train.transfer import Transfer
from schemas.vision.checkpoint import EpochRecord, Scores
from schemas.vision.runtime import Precision
from stages.train.loop import run_epoch
from stages.train.state import TrainingState
from stages.train.transfer import Phases, build_parameter_groups, is_frozen, remark_on_tuning
from stages.vision.features import FeatureStore
from stages.vision.pretrained import FrozenStatistics
from tests.train.toy import Toy, make_training, never_save
from tests.vision.prepared import write_prepared


def choose(freeze: Literal["backbone"] | None = "backbone", *, after: int | None = None) -> Transfer:
    """Return the section's values."""
    return Transfer(freeze=freeze, unfreeze_after_epochs=after, backbone_lr_factor=0.1, head_lr_factor=2.0)


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Return a prepared data set."""
    return write_prepared(tmp_path / "prepared")


def make_phases(run: Toy, transfer: Transfer, *, folder: Path | None) -> Phases:
    """Return the phases of a run, with features kept in a folder, or never."""
    training, state, whole = run
    phases = Phases(training, state.network, whole, transfer)
    if folder:
        phases.keep_features(FeatureStore(folder / "features", key="toy", say=print))
    return phases


def run(
    tmp_path: Path,
    manifest: Manifest,
    transfer: Transfer,
    *,
    caches: bool,
    num_epochs: int = 3,
    precision: Precision = "float32",
) -> tuple[list[EpochRecord], TrainingState]:
    """Train with features computed once, or with the whole network in every step."""
    run = make_training(
        tmp_path / "prepared", manifest, num_epochs=num_epochs, dropout=0.3, precision=precision
    )
    phases = make_phases(run, transfer, folder=tmp_path if caches else None)
    for epoch in range(num_epochs):
        run_epoch(run.training, run.state, phases.at(epoch), save_point=never_save)
    return run.state.history, run.state


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_features_computed_once_train_the_same(
    tmp_path: Path, manifest: Manifest, precision: Precision
) -> None:
    """Metrics and weights are those of the long way, within rounding, dropout included."""
    short, short_state = run(tmp_path, manifest, choose(), caches=True, precision=precision)
    long, long_state = run(tmp_path, manifest, choose(), caches=False, precision=precision)
    for ours, theirs in zip(short, long, strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-5)
        assert ours.val.loss == pytest.approx(theirs.val.loss, rel=1e-5)
        assert ours.train_accuracy == theirs.train_accuracy
    torch.testing.assert_close(short_state.network.state_dict(), long_state.network.state_dict())


def test_the_head_learns_and_the_backbone_stays(tmp_path: Path, manifest: Manifest) -> None:
    """Training on features changes the network's own head, and nothing else."""
    before = make_training(tmp_path / "prepared", manifest, dropout=0.3).state
    _, state = run(tmp_path, manifest, choose(), caches=True)
    for name, tensor in state.network.state_dict().items():
        assert torch.equal(tensor, before.network.state_dict()[name]) != name.startswith("head."), name


@pytest.mark.parametrize("caches", [True, False])
def test_a_backbone_thaws_after_its_epochs(tmp_path: Path, manifest: Manifest, caches: bool) -> None:
    """From the named epoch on, every weight is trained; statistics stay those of the pretrained weights."""
    run = make_training(tmp_path / "prepared", manifest)
    training, state, _ = run
    phases = make_phases(run, choose(after=1), folder=tmp_path if caches else None)
    first = state.network.state_dict()["features.0.0.weight"].clone()
    run_epoch(training, state, phases.at(0), save_point=never_save)
    assert torch.equal(state.network.state_dict()["features.0.0.weight"], first)
    assert phases.at(1) is phases.whole
    run_epoch(training, state, phases.at(1), save_point=never_save)
    assert not torch.equal(state.network.state_dict()["features.0.0.weight"], first)
    assert isinstance(phases.at(1).module, FrozenStatistics)


def test_what_was_never_frozen_takes_the_statistics_of_its_batches(
    tmp_path: Path, manifest: Manifest
) -> None:
    """Without a freeze, the network itself is trained."""
    run = make_training(tmp_path / "prepared", manifest)
    assert make_phases(run, choose(None), folder=None).at(0).module is run.state.network


def test_a_resumed_run_finds_its_phase(tmp_path: Path, manifest: Manifest) -> None:
    """What an epoch trains does not depend on the epochs before it, so a resumed run needs no state of it."""

    def train(run: Toy, epochs: range) -> list[EpochRecord]:
        phases = make_phases(run, choose(), folder=tmp_path)
        for epoch in epochs:
            run_epoch(run.training, run.state, phases.at(epoch), save_point=never_save)
        return [run.state.history[epoch] for epoch in epochs]

    unbroken = train(make_training(tmp_path / "prepared", manifest), range(3))
    run = make_training(tmp_path / "prepared", manifest)
    train(run, range(1))
    rest = train(run, range(1, 3))
    assert rest == unbroken[1:]


@pytest.mark.parametrize(
    ("transfer", "expected"),
    [
        (choose(None), [False, False, False]),
        (choose(None, after=1), [False, False, False]),
        (choose("backbone"), [True, True, True]),
        (choose("backbone", after=2), [True, True, False]),
    ],
)
def test_frozen_epochs_are_those_of_the_parameters(transfer: Transfer, expected: list[bool]) -> None:
    """The backbone is frozen never, always, or for the first epochs."""
    assert [is_frozen(transfer, epoch=epoch) for epoch in range(3)] == expected


def test_head_and_backbone_have_rates_of_their_own(tmp_path: Path, manifest: Manifest) -> None:
    """Every parameter is in one group, the head's first, at the rate times its factor."""
    state = make_training(tmp_path / "prepared", manifest).state
    head, backbone = build_parameter_groups(state.network, choose(), lr=0.5)
    assert (head["lr"], backbone["lr"]) == (1.0, 0.05)
    assert {id(parameter) for parameter in head["params"]} == {
        id(parameter) for name, parameter in state.network.named_parameters() if name.startswith("head.")
    }
    assert len(head["params"]) + len(backbone["params"]) == len(list(state.network.parameters()))


@pytest.mark.parametrize(
    ("accuracies", "best_epoch", "after", "is_said"),
    [
        ([0.9, 0.94, 0.6, 0.57], 2, 2, True),
        ([0.9, 0.94, 0.96, 0.95], 3, 2, False),
        ([0.9, 0.94, 0.93, 0.92], 2, None, False),  # never fine-tuned
        ([0.9, 0.94], 2, 5, False),  # not yet
    ],
)
def test_fine_tuning_that_brings_nothing_is_remarked(
    accuracies: list[float], best_epoch: int, after: int | None, is_said: bool
) -> None:
    """If the best epoch is one of the frozen backbone's, a line says from what to what accuracy went."""
    history = [
        EpochRecord(
            epoch=epoch,
            lr=0.1,
            train_loss=1.0,
            train_accuracy=0.5,
            val=Scores(loss=1 - accuracy, accuracy=accuracy, balanced_accuracy=0.5, macro_f1=0.5),
        )
        for epoch, accuracy in enumerate(accuracies, 1)
    ]
    remark = remark_on_tuning(history, choose(after=after), best_epoch=best_epoch)
    assert (remark is not None) == is_said
    if remark:
        assert "94.00% while the backbone was frozen, 57.00% at the end" in remark
