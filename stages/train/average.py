"""A moving average of a network's weights, which often answers better than the weights themselves."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class WeightAverage:
    """Exponential moving average of all weights and buffers: average += (1 - decay) * (now - average).

    Of a young average decay is smaller, (1 + steps) / (10 + steps), so that the initial weights are soon
    forgotten. Running statistics of batch norm are averaged like weights, so that they fit them; whole
    numbers, such as how many batches were counted, are copied.
    Source: Polyak and Juditsky 1992, doi:10.1137/0330046; the warm-up is TensorFlow's.
    """

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        self._tensors = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        self._decay = decay
        self._num_steps = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights after an optimizer step."""
        self._num_steps += 1
        decay = min(self._decay, (1 + self._num_steps) / (10 + self._num_steps))
        for name, now in network.state_dict().items():
            if now.is_floating_point():
                self._tensors[name].lerp_(now, 1 - decay)
            else:
                self._tensors[name].copy_(now)

    @contextmanager
    def lent_to(self, network: nn.Module) -> Iterator[None]:
        """Have the network hold the average while the block runs, and its own weights again afterwards."""
        self._swap(network)
        try:
            yield
        finally:
            self._swap(network)

    @torch.no_grad()
    def _swap(self, network: nn.Module) -> None:
        for name, tensor in network.state_dict().items():
            kept = tensor.clone()
            tensor.copy_(self._tensors[name])
            self._tensors[name].copy_(kept)

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes."""
        return {"tensors": self._tensors, "num_steps": self._num_steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Become what state_dict was taken from."""
        for name, tensor in self._tensors.items():
            tensor.copy_(state_dict["tensors"][name])
        self._num_steps = state_dict["num_steps"]
