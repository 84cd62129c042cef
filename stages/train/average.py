"""A moving average of a network's weights, which often answers better than the weights themselves."""

from copy import deepcopy
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
        self.network = deepcopy(network).eval().requires_grad_(False)
        self._decay = decay
        self._num_steps = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights after an optimizer step."""
        self._num_steps += 1
        decay = min(self._decay, (1 + self._num_steps) / (10 + self._num_steps))
        now, average = network.state_dict(), self.network.state_dict()
        is_float = {name: tensor.is_floating_point() for name, tensor in average.items()}
        torch._foreach_lerp_(
            [tensor for name, tensor in average.items() if is_float[name]],
            [tensor for name, tensor in now.items() if is_float[name]],
            weight=1 - decay,
        )
        for name, tensor in average.items():
            if not is_float[name]:
                tensor.copy_(now[name])

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes."""
        return {"network": self.network.state_dict(), "num_steps": self._num_steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Become what state_dict was taken from."""
        self.network.load_state_dict(state_dict["network"])
        self._num_steps = state_dict["num_steps"]
