"""Device, threads and precision."""

import os
from collections.abc import Iterator

import pytest
import torch

from schemas.vision.runtime import Device, Numerics
from schemas.vision.transforms import TRANSFORMS, Transforms
from stages.shared.errors import InputError
from stages.vision.runtime import (
    autocast,
    choose_device,
    explain_device_errors,
    find_version,
    list_libraries,
    make_deterministic,
    seed_torch,
    send,
)
from tests.vision.torch_state import keep_torch_settings

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _keep_torch_settings() -> Iterator[None]:
    with keep_torch_settings():
        yield


def pretend(monkeypatch: pytest.MonkeyPatch, *, cuda: bool, mps: bool) -> None:
    """Have torch say which devices there are."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "best"), [(False, False, "cpu"), (False, True, "mps"), (True, True, "cuda")]
)
def test_auto_is_the_best_device_there_is(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, best: str
) -> None:
    """The choice is cuda, then mps, then cpu."""
    pretend(monkeypatch, cuda=cuda, mps=mps)
    assert choose_device("auto", place="params.yaml: training.device") == torch.device(best)


def test_named_device_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that is named is taken, also beside better ones."""
    pretend(monkeypatch, cuda=True, mps=True)
    assert choose_device("cpu", place="params.yaml: training.device") == CPU
    assert choose_device("mps", place="params.yaml: training.device") == torch.device("mps")


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_missing_device_is_refused(monkeypatch: pytest.MonkeyPatch, name: Device) -> None:
    """A device that is not there is refused: the key, what was found, what is allowed."""
    pretend(monkeypatch, cuda=False, mps=False)
    message = f"params.yaml: evaluation.device: found {name}, .*; allowed: auto, cpu$"
    with pytest.raises(InputError, match=message):
        choose_device(name, place="params.yaml: evaluation.device")


def test_threads_are_those_of_the_parameters() -> None:
    """The number of threads is what was asked for, more or fewer than the machine has cores."""
    for threads in (1, 3):
        make_deterministic(Numerics(threads=threads, precision="float32"))
        assert torch.get_num_threads() == threads


def test_only_deterministic_algorithms_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operation that torch cannot repeat bit for bit raises instead of computing."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    make_deterministic(Numerics(threads=1, precision="float32"))
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.benchmark
    assert not torch.backends.cudnn.allow_tf32
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    with pytest.raises(RuntimeError, match="does not have a deterministic implementation"):
        torch.zeros(2).put_(torch.tensor([0, 0]), torch.ones(2))


@pytest.mark.parametrize(
    ("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)], ids=str
)
def test_matrix_products_have_the_wanted_precision(precision: str, dtype: torch.dtype) -> None:
    """Inside the context, products of float32 matrices are computed in the precision of the parameters."""
    matrix = torch.randn(4, 4)
    with autocast(CPU, Numerics.model_validate({"threads": 1, "precision": precision})):
        assert (matrix @ matrix).dtype == dtype
    assert (matrix @ matrix).dtype == torch.float32


INVERT = next(schema for schema in TRANSFORMS if schema.__name__ == "RandomInvert").model_validate(
    {"name": "RandomInvert"}
)


@pytest.mark.parametrize(
    ("network", "transforms", "more"),
    [
        ("cnn", (), set()),
        ("torchvision", (), {"torchvision"}),
        ("timm", (), {"timm", "torchvision"}),
        ("cnn", (INVERT,), {"torchvision"}),
    ],
)
def test_versions_are_those_of_libraries_in_use(network: str, transforms: Transforms, more: set[str]) -> None:
    """Libraries are named where layers or transforms come from them, whatever else is imported."""
    assert set(list_libraries(network, transforms)) == {"python", "torch", "numpy", "opencv"} | more


def test_a_library_that_is_not_there() -> None:
    """It is recorded as not installed."""
    assert find_version("timm-that-nobody-has") == "not installed"


def test_seed_is_that_of_torch() -> None:
    """After seed_torch come the numbers that come after torch.manual_seed, also of the largest seed."""
    for seed in (0, 2**63 - 1):
        torch.manual_seed(seed)
        expected = torch.rand(4)
        seed_torch(seed, CPU)
        assert torch.equal(torch.rand(4), expected)


CUDA_FULL = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.15 GiB of which "
    "3.12 GiB is free. Including non-PyTorch memory, this process has 76.01 GiB memory in use. Of the "
    "allocated memory 74.00 GiB is allocated by PyTorch, and 1.00 GiB is reserved but unallocated."
)
MPS_FULL = (
    "MPS backend out of memory (MPS allocated: 5.00 GiB, other allocations: 2.00 GiB, max allowed: "
    "9.07 GiB). Tried to allocate 256.00 MiB on private pool."
)
CPU_FULL = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
    "allocate 4294967296 bytes. Error code 12 (Cannot allocate memory)"
)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            torch.OutOfMemoryError(CUDA_FULL),
            "the GPU ran out of memory (tried to allocate 20.00 GiB, 3.12 GiB is free)",
        ),
        (
            torch.OutOfMemoryError(MPS_FULL),
            "the GPU ran out of memory (max allowed: 9.07 GiB, tried to allocate 256.00 MiB)",
        ),
        (
            RuntimeError("CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA"),
            "the GPU ran out of memory",
        ),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "the GPU ran out of memory"),
        (RuntimeError(CPU_FULL), "this process ran out of memory (tried to allocate 4.00 GiB)"),
        (RuntimeError("std::bad_alloc"), "this process ran out of memory"),
        (MemoryError(), "this process ran out of memory"),
        (
            MemoryError("Unable to allocate 3.4 GiB for an array with shape (2,) and data type uint8"),
            "this process ran out of memory (unable to allocate 3.4 GiB)",
        ),
    ],
    ids=["cuda", "mps", "start of cuda", "cudnn", "torch", "c++", "python", "numpy"],
)
def test_a_lack_of_memory_is_one_line(error: Exception, reason: str) -> None:
    """It names who ran out of it, how much was wanted, and what to do; in the words of each library."""
    with (
        pytest.raises(InputError) as raised,
        explain_device_errors("train", lambda: "lower loader.batch_size"),
    ):
        raise error
    assert str(raised.value) == f"train: {reason}; lower loader.batch_size"


def test_torchs_own_lack_of_memory_is_recognized() -> None:
    """The text is that of the torch that is installed: no machine has so much memory."""
    with (
        pytest.raises(
            InputError, match=r"^train: this process ran out of memory \(tried to allocate 4,194,304\.00 GiB"
        ),
        explain_device_errors("train", lambda: "less"),
    ):
        torch.empty(2**52, dtype=torch.uint8)


def test_an_operation_without_a_deterministic_form_is_one_line() -> None:
    """It is named, with what to choose instead; nothing is computed that would differ in the next run."""
    make_deterministic(Numerics(threads=1, precision="float32"))
    with (
        pytest.raises(InputError, match=r"^train: this network needs put_, which .*; take another network"),
        explain_device_errors("train", lambda: ""),
    ):
        torch.zeros(2).put_(torch.tensor([0, 0]), torch.ones(2))


def test_other_errors_stay_what_they_are() -> None:
    """A bug keeps its traceback."""
    with pytest.raises(RuntimeError, match=r"^shapes differ$"), explain_device_errors("train", lambda: ""):
        raise RuntimeError("shapes differ")


@pytest.mark.parametrize(("device", "is_waited_for"), [("cuda", False), ("mps", True), ("cpu", True)])
def test_only_cuda_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, device: str, is_waited_for: bool
) -> None:
    """A copy to mps that is not waited for may read memory that was freed, and send anything."""
    asked: list[dict[str, object]] = []
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, device, **settings: asked.append(settings))
    send(torch.zeros(2), torch.device(device))
    assert asked == [{"non_blocking": not is_waited_for, "memory_format": torch.preserve_format}]
