"""The training state: which epoch is the best, the clock, and the moving average of weights."""

import itertools

import pytest
import torch
from torch import Tensor, nn, optim
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from schemas.vision.checkpoint import EpochRecord, Scores
from stages.train.state import Clock, Snapshot, WeightAverage, begin_state
from tests.vision.documents import CALIBRATION


def make_network() -> nn.Sequential:
    """Return a network with running statistics and a count of batches."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


def change(network: nn.Module, seed: int) -> None:
    """Do what a step does: other weights, other statistics, one more batch."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
        network(torch.randn(4, 1, 4, 4, generator=generator))


def copy(network: nn.Module) -> dict[str, Tensor]:
    """Return all tensors as they are."""
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def test_first_steps_forget_the_initial_weights() -> None:
    """The decay is (1 + steps) / (10 + steps) until it reaches the one that is asked for."""
    network = make_network()
    average = WeightAverage(network, decay=0.3)
    expected = copy(network)
    for step, decay in enumerate((2 / 11, 3 / 12, 0.3, 0.3), start=1):
        change(network, step)
        average.update(network)
        now = copy(network)
        expected = {name: decay * old + (1 - decay) * now[name] for name, old in expected.items()}
    expected["1.num_batches_tracked"] = network.state_dict()["1.num_batches_tracked"]
    with average.swapped_into(network):
        torch.testing.assert_close(copy(network), expected)


def test_average_is_that_of_torch() -> None:
    """Once warm, weights and statistics follow torch's AveragedModel with averaged buffers."""
    network = make_network()
    average = WeightAverage(network, decay=0.5)
    for step in range(10):  # from the 8th step on the decay is 0.5
        change(network, step)
        average.update(network)
    averaging = get_ema_multi_avg_fn(0.5)  # type: ignore[no-untyped-call]
    reference = AveragedModel(network, multi_avg_fn=averaging, use_buffers=True)
    with average.swapped_into(network):
        reference.update_parameters(network)  # the first takes over what there is
    for step in range(10, 15):
        change(network, step)
        average.update(network)
        reference.update_parameters(network)
    with average.swapped_into(network):
        found = copy(network)
    expected = dict(reference.module.state_dict())
    assert found.pop("1.num_batches_tracked") == 15
    expected.pop("1.num_batches_tracked")
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("fails", [False, True])
def test_network_gets_its_own_weights_back(fails: bool) -> None:
    """After validation training continues with the network's own weights, even if it ended in an error."""
    network = make_network()
    average = WeightAverage(network, decay=0.9)
    change(network, 1)
    average.update(network)
    before = copy(network)
    for _ in range(2):
        try:
            with average.swapped_into(network):
                assert not torch.equal(network.state_dict()["3.weight"], before["3.weight"])
                if fails:
                    raise InterruptedError
        except InterruptedError:
            pass
        torch.testing.assert_close(copy(network), before, rtol=0, atol=0)


def test_resumed_average_goes_on() -> None:
    """A copy made from the saved state takes in the next steps as the unbroken one does."""
    network = make_network()
    average = WeightAverage(network, decay=0.9)
    change(network, 1)
    average.update(network)
    resumed = WeightAverage(make_network(), decay=0.9)
    resumed.load_state_dict(average.state_dict())
    change(network, 2)
    for each in (average, resumed):
        each.update(network)
    with average.swapped_into(network):
        expected = copy(network)
    with resumed.swapped_into(network):
        torch.testing.assert_close(copy(network), expected, rtol=0, atol=0)


def make_scores(
    *, loss: float = 1.0, accuracy: float = 0.5, balanced_accuracy: float = 0.5, macro_f1: float = 0.5
) -> Scores:
    """Return scores that differ from others in what is named."""
    return Scores(loss=loss, accuracy=accuracy, balanced_accuracy=balanced_accuracy, macro_f1=macro_f1)


def is_better(scores: Scores, best: Scores | None, *, metric: str) -> bool:
    """Return whether scores are the best after an epoch with others, or after none."""
    weights = [nn.Parameter(torch.zeros(1))]
    optimizer = optim.SGD(weights)
    schedule = optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    state = begin_state(nn.Identity(), optimizer, schedule, steps_per_epoch=1, device=torch.device("cpu"))
    if best is not None:
        record = EpochRecord(epoch=1, lr=0.1, train_loss=1.0, train_accuracy=0.5, val=best)
        state.best = Snapshot(record, CALIBRATION, weights={})
    return state.is_best(scores, metric=metric)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "macro_f1", "loss"])
def test_first_epoch_is_the_best_so_far(metric: str) -> None:
    """Without an epoch before it, any epoch is the best."""
    assert is_better(make_scores(accuracy=0.0), None, metric=metric)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "macro_f1"])
def test_higher_scores_are_better(metric: str) -> None:
    """A score counts up, even against a lower loss, and only the named one counts."""
    higher = make_scores(**{metric: 0.6, "loss": 2.0})
    assert is_better(higher, make_scores(), metric=metric)
    assert not is_better(make_scores(), higher, metric=metric)


def test_lower_loss_is_better() -> None:
    """The loss counts down, whatever the scores do."""
    lower = make_scores(loss=0.9, accuracy=0.1)
    assert is_better(lower, make_scores(), metric="loss")
    assert not is_better(make_scores(), lower, metric="loss")


def test_of_equal_scores_the_lower_loss_is_better() -> None:
    """Epochs of equal accuracy are compared by their loss."""
    assert is_better(make_scores(loss=0.9), make_scores(), metric="accuracy")
    assert not is_better(make_scores(loss=1.1), make_scores(), metric="accuracy")


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "macro_f1", "loss"])
def test_of_equals_the_earlier_stays(metric: str) -> None:
    """An epoch that is no better does not replace the best."""
    assert not is_better(make_scores(), make_scores(), metric=metric)


def test_clock_continues_after_a_stop() -> None:
    """The seconds before a stop count, those between stop and restart do not."""
    ticks = itertools.count(100.0, 5.0)
    clock = Clock(now=lambda: next(ticks))  # 100
    saved = clock.state_dict()  # 105
    resumed = Clock(now=lambda: next(ticks))
    resumed.load_state_dict(saved)  # 115: as if started at 110
    assert saved == {"seconds": 5.0}
    assert resumed.seconds == 10.0
