"""How training steps are computed: in which precision, and whether torch's compiler makes them."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from schemas.train.training import PrecisionChoice
from schemas.vision.runtime import Precision
from stages.shared.errors import InputError
from stages.vision.rng import find_dropouts

Forward = Callable[[Tensor], Tensor]
"""From images (N, C, H, W), or what stands for them, to logits (N, num_classes)."""


def choose_precision(wanted: PrecisionChoice, device: torch.device) -> Precision:
    """Return the precision that `training.precision` names; for auto, bfloat16 where the hardware has it.

    Raises:
        InputError: float16 on another device than cuda. Small gradients would vanish.
    """
    if wanted == "float16" and device.type != "cuda":
        raise InputError(
            f"params.yaml: training.precision: found float16, which trains on cuda only, not on "
            f"{device.type}; allowed: auto, float32, bfloat16"
        )
    if wanted != "auto":
        return wanted
    return "bfloat16" if has_bfloat16(device) else "float32"


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies matrices of bfloat16 by instructions of its own.

    Where it does not, torch emulates them: on a CPU with AVX2 alone a step takes up to ten times as long as
    in float32. Every x86 CPU that has AMX has AVX512_BF16 too. On other CPUs and on mps bfloat16 must be
    asked for by name.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # ATEN_CPU_CAPABILITY lowers what torch uses, not what the CPU has.
    uses_avx512 = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return device.type == "cpu" and uses_avx512 and bool(torch.cpu._is_avx512_bf16_supported())


def build_scaler(precision: Precision, device: torch.device) -> torch.amp.GradScaler:
    """Return what keeps float16 gradients from vanishing: it scales losses up and gradients down again.

    A scale that is too large costs a step, which is passed over, and is halved. Without float16 it does
    nothing.
    """
    if precision == "float16":
        # The first scale often is too large, and torch takes a passed over step for a schedule out of order.
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
    return torch.amp.GradScaler(device.type, enabled=precision == "float16")


def compile_steps(network: nn.Module) -> Forward:
    """Return the network's forward pass, which is compiled when it is first called.

    It computes with the network's own weights. For each shape of a batch there is code of its own: with code
    for all of them, which one a batch gets, and so its last bits, would depend on the batches before it, and
    a resumed run has seen others.

    The returned function raises InputError where torch cannot compile the network, or finds no C++ compiler.
    """
    for dropout in find_dropouts(network):
        if dropout.p > 0:
            # It draws random numbers in NumPy from a seed that changes every step: the compiler would make
            # code for each seed, or fail on NumPy's uint64.
            dropout.forward = torch.compiler.disable(dropout.forward)  # type: ignore[method-assign, no-untyped-call]
    # The compiler looks at gradients of what comes out of such a dropout, which nobody asked for.
    warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")
    compiled: Forward = torch.compile(network, dynamic=False)

    def forward(images: Tensor) -> Tensor:
        try:
            return compiled(images)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(
                f"params.yaml: training.compile: found true, but torch cannot compile this network here "
                f"({reason}); install a C++ compiler (g++) if there is none, or set training.compile: false"
            ) from error

    return forward
