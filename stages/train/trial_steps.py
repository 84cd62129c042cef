"""Training steps on black images, timed, for what is chosen by how fast it is on this machine."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import Tensor, nn

from schemas.shared.image import ImageForm
from schemas.vision.runtime import Numerics
from stages.vision.runtime import autocast

Forward = Callable[[Tensor], Tensor]
TimeStep = Callable[[Forward, Numerics], float]
"""Makes a step, forward and backward, and returns the seconds that it took."""


@contextmanager
def try_steps(
    network: nn.Module, *, image: ImageForm, device: torch.device, batch_size: int
) -> Iterator[tuple[nn.Module, TimeStep]]:
    """Yield a copy of a network, in training mode, and what makes steps with it.

    The network stays as it is, and so do torch's random numbers.

    Args:
        network: On the device.
        image: The images it takes.
        device: Where it is.
        batch_size: Images of a step.
    """
    images = torch.zeros(batch_size, image.num_channels, image.height_px, image.width_px, device=device)
    images = images.contiguous(memory_format=torch.channels_last)

    def time_step(forward: Forward, numerics: Numerics) -> float:
        start = time.perf_counter()
        with autocast(device, numerics):
            logits = forward(images)
        torch.autograd.backward(logits.float().square().mean())
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    random = torch.get_rng_state()
    try:
        yield deepcopy(network).train(), time_step
    finally:
        torch.set_rng_state(random)
