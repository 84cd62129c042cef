"""torch's optimizers without the hooks for its compiler, which their first use would import: 1.2 s, 150 MB.

What is compiled here, if anything is, is the forward pass; an optimizer's step is one pass over a weight in
torch's own code as it stands.
"""

import inspect
from typing import TypeVar, cast

import torch
from torch import optim

OptimizerT = TypeVar("OptimizerT", bound=optim.Optimizer)

_HOOKED = ("step", "zero_grad", "add_param_group", "state_dict", "load_state_dict")
"""Methods that torch wraps, so that its compiler passes over them or breaks its graph there."""


def make_eager(optimizer: type[OptimizerT]) -> type[OptimizerT]:
    """Return a class that computes the same, its methods bare of what torch wraps around them."""
    methods = {name: inspect.unwrap(getattr(optimizer, name)) for name in _HOOKED}
    # The wrapper of step turned gradients off, too.
    methods["step"] = torch.no_grad()(methods["step"])
    return cast("type[OptimizerT]", type(optimizer.__name__, (optimizer,), methods))
