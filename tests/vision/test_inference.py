"""From images to logits, probabilities and thresholds."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from schemas.vision.runtime import Numerics
from stages.vision.inference import compute_logits, compute_probabilities
from tests.vision.documents import CALIBRATION

CPU = torch.device("cpu")
EXACT = Numerics(threads=1, precision="float32")


def make_network() -> nn.Sequential:
    """Return a network whose logits differ in training mode."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Dropout(0.9), nn.Flatten(), nn.Linear(16, 3))


def make_batches(*sizes: int) -> list[tuple[Tensor, Tensor]]:
    """Return batches of these sizes, labels counting up."""
    images = torch.randn(sum(sizes), 1, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(sum(sizes))
    return list(zip(torch.split(images, [*sizes]), torch.split(labels, [*sizes]), strict=True))


@pytest.mark.parametrize("sizes", [(4, 4, 1), (9,), (1,) * 9, (3,) * 40 + (1,), (1, 30, 3)])
def test_logits_are_those_of_the_network(sizes: tuple[int, ...]) -> None:
    """Whatever the batches, logits and labels are those of all images, in order, without dropout."""
    network = make_network().train()
    batches = make_batches(*sizes)
    logits, labels = compute_logits(network, batches, device=CPU, numerics=EXACT)
    assert labels.tolist() == list(range(sum(sizes)))
    with torch.no_grad():
        expected = network.eval()(torch.cat([images for images, _ in batches]))
    torch.testing.assert_close(logits, expected)


def test_network_is_left_ready_for_use() -> None:
    """The network is in evaluation mode afterwards, and no gradient is kept."""
    network = make_network().train()
    logits, _ = compute_logits(network, make_batches(2), device=CPU, numerics=EXACT)
    assert not network.training
    assert not logits.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())


def test_same_batches_give_the_same_bits() -> None:
    """Two passes give equal logits, bit for bit."""
    network, batches = make_network(), make_batches(4, 3)
    first, _ = compute_logits(network, batches, device=CPU, numerics=EXACT)
    second, _ = compute_logits(network, batches, device=CPU, numerics=EXACT)
    assert torch.equal(first, second)


def test_bfloat16_gives_float32_logits() -> None:
    """Logits of 16-bit passes come back as float32, near those of float32 and not equal to them."""
    network, batches = make_network(), make_batches(4, 3)
    exact, _ = compute_logits(network, batches, device=CPU, numerics=EXACT)
    rough, _ = compute_logits(
        network, batches, device=CPU, numerics=Numerics(threads=1, precision="bfloat16")
    )
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, atol=0.05, rtol=0.05)


def test_an_image_alone_has_the_logits_that_it_has_in_a_batch() -> None:
    """To the last bits, which depend on the size of the batch on some CPUs."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 81, 10))
    network = network.to(memory_format=torch.channels_last)
    images = torch.randn(20, 1, 9, 9)
    together, _ = compute_logits(network, [(images, torch.arange(20))], device=CPU, numerics=EXACT)
    alone = [(image[None], torch.arange(1)) for image in images]
    one_by_one, _ = compute_logits(network, alone, device=CPU, numerics=EXACT)
    torch.testing.assert_close(one_by_one, together)


MANY = """
import re
from pathlib import Path
import torch
from torch import nn
from stages.shared.process import keep_freed_memory
from tests.vision.test_inference import CPU, EXACT, compute_logits
def held():
    return int(re.search(r"RssAnon:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024
def batches(number):
    for batch in range(number):
        if batch == 20:
            seen.append(held())
        images = torch.randint(0, 256, (250, 32, 32, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
        yield images.float().div_(255), torch.zeros(250, dtype=torch.int64)
    seen.append(held())
keep_freed_memory()
torch.set_num_threads(1)
seen = []
layers = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)]
layers += [nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 10))
compute_logits(network, batches(120), device=CPU, numerics=EXACT)
print(seen[1] - seen[0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_logits_do_not_fragment_memory() -> None:
    """A process that keeps what it frees holds the logits of 25,000 images more, and not a batch more."""
    done = subprocess.run([sys.executable, "-c", MANY], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 30, "MB"


def test_probabilities_are_tempered() -> None:
    """The softmax of logits divided by the temperature, in float64."""
    logits = torch.tensor([[2.5, 0.0, -1.0], [1e4, 0.0, 0.0]])
    found = compute_probabilities(logits, CALIBRATION)
    torch.testing.assert_close(found, torch.softmax(logits.double() / 1.25, dim=1))
    torch.testing.assert_close(found.sum(dim=1), torch.ones(2, dtype=torch.float64))
