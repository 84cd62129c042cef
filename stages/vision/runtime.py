"""What a network runs on: device, threads, precision, and the same bits every time."""

import os
from contextlib import AbstractContextManager

import torch

from schemas.vision.runtime import Device, Numerics
from stages.shared.errors import InputError


def choose_device(name: Device, *, place: str) -> torch.device:
    """Return the device a parameter names, or the best there is for auto.

    Args:
        name: The parameter's value.
        place: Where the name stands, for the message: `params.yaml: training.device`.

    Raises:
        InputError: This machine does not have it.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(device for device, is_there in there.items() if is_there))
    if not there[name]:
        allowed = ", ".join(device for device, is_there in there.items() if is_there)
        raise InputError(f"{place}: found {name}, which torch does not find here; allowed: auto, {allowed}")
    return torch.device(name)


def make_deterministic(numerics: Numerics) -> None:
    """Have torch compute the same bits on every run of this machine."""
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # read when cuBLAS starts
    torch.set_num_threads(numerics.threads)
    torch.use_deterministic_algorithms(True)
    # Deterministic mode would also fill every new tensor with NaN; nothing here reads one before writing it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False


def autocast(device: torch.device, numerics: Numerics) -> AbstractContextManager[None]:
    """Return the context in which forward passes run at the wanted precision."""
    dtype = torch.float16 if numerics.precision == "float16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=numerics.precision != "float32")
