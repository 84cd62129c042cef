"""Training on images of another size than everything else sees."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from schemas.vision.network import Cnn
from stages.shared.errors import InputError
from stages.shared.paths import MODEL
from stages.train.__main__ import main
from stages.vision.checkpoint import read_checkpoint, restore_network
from stages.vision.networks.airbench import Airbench
from stages.vision.networks.resnet import ResNet
from tests.train.project import make_project, write_params
from tests.vision.torch_state import keep_torch_settings

CROPS = [
    {"RandomCrop": {"height_px": 5, "width_px": 5, "padding": 0}},
    "ToTensor",
    {"Normalize": {"mean": "dataset", "std": "dataset"}},
]


@pytest.fixture(autouse=True)
def _keep_torch_settings() -> Iterator[None]:
    with keep_torch_settings():
        yield


@pytest.fixture
def seen() -> Iterator[set[tuple[bool, int, int]]]:
    """Yield what networks are given: whether in training, height and width."""
    forms = set()

    def watch(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if isinstance(module, Airbench | ResNet):
            forms.add((module.training, *inputs[0].shape[2:]))

    handle = register_module_forward_pre_hook(watch)
    yield forms
    handle.remove()


@pytest.mark.parametrize("name", ["resnet", "airbench"])
def test_network_of_any_size_trains_on_crops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: set[tuple[bool, int, int]], name: str
) -> None:
    """Training sees crops of 5 x 5 px alone, validation all 6 x 9, and the checkpoint is whole."""
    make_project(tmp_path, monkeypatch)
    write_params(tmp_path, network__name=name, transforms=CROPS, training__num_epochs=1)
    main()
    assert {form[1:] for form in seen if form[0]} == {(5, 5)}
    assert (False, 6, 9) in seen
    restore_network(*read_checkpoint(MODEL / "best.safetensors"))


def test_network_that_takes_one_size_only_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that does not say so: it is tried before training, and named in one line."""
    make_project(tmp_path, monkeypatch)
    write_params(tmp_path, transforms=CROPS, training__num_epochs=1)
    with pytest.raises(InputError, match=r"images have 5 x 5 px in training and 6 x 9 px otherwise"):
        main()
    monkeypatch.setattr(Cnn, "takes_any_size", True)
    with pytest.raises(
        InputError, match=r"^network\.name: cnn: takes no images of 5 x 5 px \(.*\); "
    ) as caught:
        main()
    assert "\n" not in str(caught.value)
