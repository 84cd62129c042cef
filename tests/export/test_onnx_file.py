"""What cannot become ONNX is refused in one line."""

import re

import pytest
import torch
from torch import Tensor, nn

from schemas.shared.manifest import ImageForm
from stages.export import onnx_file
from stages.export.onnx_file import build_onnx
from stages.export.program import Program
from stages.shared.errors import InputError
from tests.vision.documents import make_checkpoint

FORM = ImageForm(color="grayscale", height_px=6, width_px=6, resize="pad")
EXAMPLE = torch.zeros(2, 6, 6, 1, dtype=torch.uint8)


class Tail(nn.Module):
    """A head, and then something that ONNX does not know."""

    def __init__(self, operation: str) -> None:
        super().__init__()
        self.head = nn.Linear(36, 2)
        self._operation = operation

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(images.flatten(1))
        if self._operation == "bessel":
            bessel: Tensor = torch.special.bessel_j0(logits)
            return bessel
        if logits.sum().item() > 0:  # a graph has no such branches
            return logits
        return -logits


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        ("bessel", r"the network's operator prims\.bessel_j0 has no counterpart in ONNX"),
        ("branch", "the network cannot be exported"),
    ],
)
def test_what_onnx_cannot_express_is_refused(operation: str, said: str) -> None:
    """One line names the operator, where it is one."""
    program = Program(make_checkpoint({}, image=FORM), Tail(operation)).eval()
    with torch.no_grad(), pytest.raises(InputError) as refused:
        build_onnx(program, EXAMPLE)
    text = str(refused.value)
    assert text.startswith("export.formats: found onnx, and ")
    assert re.search(said, text)
    assert "\n" not in text


def test_a_model_too_large_for_one_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protobuf holds at most 2 GiB."""
    monkeypatch.setattr(onnx_file, "_MAX_BYTES", 100)
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    program = Program(make_checkpoint({}, image=FORM), network).eval()
    with torch.no_grad(), pytest.raises(InputError, match="allowed: less than 2 GiB"):
        build_onnx(program, EXAMPLE)
