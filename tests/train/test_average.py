"""The moving average of weights."""

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from stages.train.average import WeightAverage


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
    with average.lent_to(network):
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
    with average.lent_to(network):
        reference.update_parameters(network)  # the first takes over what there is
    for step in range(10, 15):
        change(network, step)
        average.update(network)
        reference.update_parameters(network)
    with average.lent_to(network):
        found = copy(network)
    expected = dict(reference.module.state_dict())
    assert found.pop("1.num_batches_tracked") == 15
    expected.pop("1.num_batches_tracked")
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("fails", [False, True])
def test_network_gets_its_own_weights_back(fails: bool) -> None:
    """After validation training goes on with the network's own weights, even if it ended in an error."""
    network = make_network()
    average = WeightAverage(network, decay=0.9)
    change(network, 1)
    average.update(network)
    before = copy(network)
    for _ in range(2):
        try:
            with average.lent_to(network):
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
    with average.lent_to(network):
        expected = copy(network)
    with resumed.lent_to(network):
        torch.testing.assert_close(copy(network), expected, rtol=0, atol=0)
