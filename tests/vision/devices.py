"""The devices that tests run on, and one that is only pretended.

A test for a GPU runs the same code on the CPU, so that it is known to work apart from the device. Two things
that a CPU cannot show can be told without a GPU: whether all operations find their tensors on one device, and
whether a copy makes the CPU wait.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]

_ATEN = torch.ops.aten


class PretendedGpu(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Tensors on `cuda` are shapes without contents in the block; all others are what they always are.

    torch refuses operations on tensors of several devices as it does on a GPU. Gradients are zeros.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._shapes_only = FakeTensorMode(allow_non_fake_inputs=True)
        self.waits: list[str] = []
        """Operations that make the CPU wait until the GPU has done all that it was given before."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        to_gpu = device is not None and torch.device(device).type == "cuda"
        if self._makes_wait(func, args, kwargs, to_gpu=to_gpu):
            self.waits.append(str(func))
        if to_gpu:
            with self._shapes_only:
                return func(*args, **kwargs)
        return func(*args, **kwargs)

    def _makes_wait(self, func: Any, args: Any, kwargs: Any, *, to_gpu: bool) -> bool:
        if func is _ATEN._local_scalar_dense.default:
            return _is_on_gpu(args[0])
        if func is _ATEN._to_copy.default:
            to_cpu = kwargs.get("device") is not None and not to_gpu
            crosses = (to_gpu and not _is_on_gpu(args[0])) or (to_cpu and _is_on_gpu(args[0]))
            return crosses and not kwargs.get("non_blocking")
        if func is _ATEN.copy_.default:
            crosses = _is_on_gpu(args[0]) != _is_on_gpu(args[1])
            return crosses and not (len(args) > 2 and args[2])
        return False


@contextmanager
def pretend_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedGpu]:
    """Yield a GPU that takes shapes alone."""

    def put_zeros(loss: Tensor) -> None:
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)

    def convert(module: nn.Module, change: Callable[[Tensor], Tensor]) -> nn.Module:
        """Do what torch does, which refuses to put shapes in the place of tensors."""
        for part in module.modules():
            for name, parameter in part._parameters.items():
                if parameter is not None:
                    part._parameters[name] = nn.Parameter(change(parameter.detach()))
            for name, buffer in part._buffers.items():
                if buffer is not None:
                    part._buffers[name] = change(buffer)
        parameters[:] = [*parameters, *module.parameters()]
        return module

    parameters: list[nn.Parameter] = []
    with monkeypatch.context() as patches, PretendedGpu() as gpu:
        patches.setattr(torch.cuda, "_lazy_init", lambda: None)
        torch._C._ensureCUDADeviceGuardSet()  # which torch does for its own compiler where there is no GPU
        patches.setattr(nn.Module, "_apply", convert)
        # torch's engine looks for a device.
        patches.setattr(Tensor, "backward", put_zeros)
        yield gpu


def _is_on_gpu(value: object) -> bool:
    return isinstance(value, Tensor) and value.device.type == "cuda"
