"""What a network runs on: device, threads, precision, and the same bits on every run.

Also what is recorded of it: versions of libraries, the device, and all of the machine that changes last bits.
And what is said where a device cannot do what is asked of it.
"""

import os
import platform
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import Tensor

from schemas.vision.runtime import Device, Numerics
from schemas.vision.transforms import Transforms
from schemas.vision.transforms.torchvision_by_name import TorchvisionTransform
from stages.shared.errors import InputError

_ARITHMETIC = ("ATEN_", "DNNL_", "KMP_", "MKL_", "NVIDIA_", "ONEDNN_", "OPENBLAS_")
"""Prefixes of the environment variables that arithmetic libraries read."""

NOT_INSTALLED = "not installed"

_NO_MEMORY = re.compile(
    r"out of memory|(can't|cannot|not enough|unable to) (allocate|memory)|alloc_failed|bad_alloc",
    re.IGNORECASE,
)
"""What torch, CUDA and its libraries, Metal, NumPy and C++ say where memory runs out."""

_AMOUNTS = re.compile(
    r"(tried|unable) to allocate [\d.,]+ \w+|[\d.]+ \w+ is free|max allowed: [\d.]+ \w+", re.IGNORECASE
)
"""How much was wanted and how much is there, in their words."""

_ON_GPU = re.compile(r"cuda|cudnn|cublas|\bmps\b", re.IGNORECASE)
_NOT_DETERMINISTIC = re.compile(r"(\S+) does not have a deterministic implementation")


def choose_device(name: Device, *, place: str) -> torch.device:
    """Return the device a parameter names, or the best there is for auto.

    Args:
        name: The parameter's value.
        place: Where it is written, for the message: `params.yaml: training.device`.

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
    """Have torch compute the same bits on every run of this machine.

    Raises:
        InputError: OMP_DYNAMIC lets OpenMP change the number of threads while it runs.
    """
    if os.environ.get("OMP_DYNAMIC", "").strip().lower() in ("true", "1"):
        raise InputError(
            f"OMP_DYNAMIC: found {os.environ['OMP_DYNAMIC']}; allowed: false, as torch hangs with it, and "
            "the number of threads decides the last bits; unset OMP_DYNAMIC"
        )
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # read when cuBLAS starts
    torch.set_num_threads(numerics.threads)
    # As use_deterministic_algorithms(True), which imports torch's compiler on top: 1.3 s, 150 MB.
    torch.set_deterministic_debug_mode("error")
    # Deterministic mode would also fill every new tensor with NaN; nothing here reads one before writing it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    # float32 means float32, as on a CPU: cuDNN would round the factors of convolutions to TF32, 10 bits.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


@contextmanager
def explain_device_errors(command: str, advice: Callable[[], str]) -> Iterator[None]:
    """Say in one line what to do when memory runs out in the block, that of a GPU or that of the process.

    And where the network needs an operation that gives other bits every time on this device: CUDA has some.

    Args:
        command: Who says it: `train`.
        advice: Returns what takes less memory, and what is kept; called when memory ran out.

    Raises:
        InputError: One of the two happened.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error)
        if operation := _NOT_DETERMINISTIC.search(text):
            raise InputError(
                f"{command}: this network needs {operation[1]}, which gives other bits in every run on this "
                "device; take another network by network.name, or the CPU"
            ) from None
        if not isinstance(error, MemoryError) and not _NO_MEMORY.search(text):
            raise
        whose = "the GPU" if _ON_GPU.search(text) else "this process"
        in_gib = re.sub(r"(\d+) bytes", lambda found: f"{int(found[1]) / 2**30:,.2f} GiB", text)
        amounts = ", ".join(amount[0][0].lower() + amount[0][1:] for amount in _AMOUNTS.finditer(in_gib))
        reason = f" ({amounts})" if amounts else ""
        raise InputError(f"{command}: {whose} ran out of memory{reason}; {advice()}") from None


def send(
    tensor: Tensor, device: torch.device, *, memory_format: torch.memory_format = torch.preserve_format
) -> Tensor:
    """Return a tensor on a device, without waiting for a GPU at work: the CPU can load the next batch.

    Only CUDA is not waited for. A copy to mps may read memory that was freed meanwhile, and send anything:
    https://github.com/pytorch/pytorch/issues/189690.
    """
    return tensor.to(device, non_blocking=device.type == "cuda", memory_format=memory_format)


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed torch's global random number generator, as torch.manual_seed does.

    On a CPU without what else that does: it records its callers for a GPU that may be initialized later,
    which takes half a millisecond in every step.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def autocast(device: torch.device, numerics: Numerics) -> AbstractContextManager[None]:
    """Return the context in which forward passes run at the precision of `numerics`."""
    dtype = torch.float16 if numerics.precision == "float16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=numerics.precision != "float32")


def list_libraries(network: str, transforms: Transforms) -> dict[str, str]:
    """Return the versions of what decides the bits of a result.

    Args:
        network: The kind of network, `network.name`; one of torchvision or timm needs that library.
        transforms: Some of them need torchvision.
    """
    names = ["python", "torch", "numpy", "opencv"]
    if network == "timm":
        names.append("timm")  # which imports torchvision
    if network in ("timm", "torchvision") or any(isinstance(t, TorchvisionTransform) for t in transforms):
        names.append("torchvision")
    return {name: find_version(name) for name in names}


def find_version(library: str) -> str:
    """Return the version of a library as `list_libraries` names it, or NOT_INSTALLED."""
    if library == "python":
        return platform.python_version()
    if library == "torch":
        return torch.__version__
    return _version_of_opencv() if library == "opencv" else _version_of(library)


def describe_device(device: torch.device) -> str:
    """Return what computes: the model of a GPU, or which of a CPU's instructions torch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu {torch.backends.cpu.get_cpu_capability()}" if device.type == "cpu" else device.type


def describe_machine(device: torch.device) -> dict[str, str]:
    """Return all of this machine that can change the last bits of a result."""
    return {
        "device": describe_device(device),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _describe_cpu(),
        **{name: value for name, value in os.environ.items() if name.startswith(_ARITHMETIC)},
    }


def _version_of_opencv() -> str:
    found = map(_version_of, ("opencv-python", "opencv-python-headless"))
    return next((number for number in found if number != NOT_INSTALLED), NOT_INSTALLED)


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return NOT_INSTALLED


def _describe_cpu() -> str:
    """Return model and features of the CPU: libraries choose by them in which order they add up."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor()
    lines = text.split("\n\n")[0].splitlines()
    wanted = ("vendor_id", "cpu family", "model", "model name", "flags", "Features", "CPU part")
    return "; ".join(line for line in lines if line.split(":")[0].strip() in wanted)
