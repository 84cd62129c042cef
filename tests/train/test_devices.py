"""Training, testing and predicting on every device: bytes that repeat, resume, and agree with the CPU's.

What needs a GPU is marked so and skipped without one: `pytest -m gpu`. Each test runs the same code on the
CPU, so that a failure there tells of the GPU.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from schemas.train.loss import LABELS_ONLY, Loss
from schemas.train.optimizer import Optimizer
from schemas.vision.runtime import Numerics, Precision
from schemas.vision.transforms import CutMix, MixUp, Normalize, RandomCrop, RandomErasing, ToTensor, Transform
from stages.evaluate.__main__ import main as evaluate
from stages.shared.errors import InputError
from stages.shared.paths import MODEL, PREPARED
from stages.shared.stopping import Stopped
from stages.train import resume
from stages.train.__main__ import main as train
from stages.train.loop import run_epoch, train_steps
from stages.train.loss import build_loss
from stages.train.optimizer import build_optimizer
from stages.train.precision import choose_precision
from stages.train.state import WeightAverage
from stages.vision.checkpoint import hash_weights, read_checkpoint
from stages.vision.dataset import PreparedImages, build_loader, read_manifest
from stages.vision.rng import SampleDropout
from stages.vision.runtime import explain_device_errors, make_deterministic
from stages.vision.transforms import build_mixing, build_transforms
from tests.train.project import hash_files, make_project, write_params
from tests.train.toy import Toy, make_training, never_save
from tests.vision.completeness import names_of, read_section
from tests.vision.devices import DEVICES, pretend_gpu
from tests.vision.prepared import write_prepared
from tests.vision.torch_state import keep_torch_settings
from tools.predict.checkpoint_model import CheckpointModel

CPU = torch.device("cpu")
ON_GPU = pytest.mark.gpu

RANDOM = [
    "RandomHorizontalFlip",
    "ToTensor",
    {"Normalize": {"mean": "dataset", "std": "dataset"}},
    {"RandomErasing": {"value": "random"}},
    {"MixUp": {"alpha": 0.4, "p": 0.5}},
    {"CutMix": {"p": 0.5}},
]
"""As params.yaml has it: one transform of pictures, all that work on numbers."""


@pytest.fixture(autouse=True)
def _keep_torch_settings() -> Iterator[None]:
    with keep_torch_settings():
        make_deterministic(Numerics(threads=1, precision="float32"))
        yield


@pytest.mark.parametrize(
    ("device", "precision", "network", "optimizer"),
    [
        ("cpu", "float32", "cnn", "adamw"),
        ("cpu", "bfloat16", "resnet", "muon"),
        pytest.param("cuda", "float32", "cnn", "adamw", marks=ON_GPU),
        pytest.param("cuda", "bfloat16", "resnet", "muon", marks=ON_GPU),
        pytest.param("cuda", "float16", "cnn", "sgd", marks=ON_GPU),
        pytest.param("cuda", "float16", "airbench", "rmsprop", marks=ON_GPU),
        pytest.param("cuda", "float16", "resnet", "muon", marks=ON_GPU),
    ],
)
def test_a_run_repeats_and_resumes_byte_for_byte(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    precision: str,
    network: str,
    optimizer: str,
) -> None:
    """Two runs of train and evaluate write equal files; so does one that was stopped in the middle."""
    make_project(tmp_path, monkeypatch, height_px=16, width_px=16)
    write_params(
        tmp_path,
        dataset__height_px=16,
        dataset__width_px=16,
        transforms=RANDOM,
        network__name=network,
        network__cnn__dropout=0.5,
        optimizer__name=optimizer,
        training__num_epochs=2,
        training__device=device,
        training__precision=precision,
        training__accumulation_steps=2,
        training__max_grad_norm=1.0,
        training__ema_decay=0.9,
        evaluation__device=device,
    )

    def run() -> dict[str, str]:
        train()
        evaluate()
        return hash_files(tmp_path / "data")

    first = run()
    assert run() == first

    points = iter(range(100))
    with monkeypatch.context() as context:
        context.setattr(resume, "is_stop_requested", lambda: next(points) == 7)
        with pytest.raises(Stopped, match="in epoch 2, after step 2 of 5"):
            train()
    assert run() == first
    checkpoint, weights = read_checkpoint(MODEL / "last.safetensors")
    assert checkpoint.numerics.precision == precision
    assert checkpoint.device.startswith("cpu ") == (device == "cpu")
    assert all(weight.isfinite().all() for weight in weights.values())


@pytest.mark.parametrize("device", DEVICES)
def test_auto_trains_in_what_the_device_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    """The checkpoint says in what: on a GPU bfloat16 from compute capability 8.0 on, float32 before."""
    make_project(tmp_path, monkeypatch)
    write_params(tmp_path, training__device=device, training__precision="auto", training__num_epochs=1)
    train()
    checkpoint, _ = read_checkpoint(MODEL / "last.safetensors")
    expected = choose_precision("auto", CPU)
    if device == "cuda":
        expected = "bfloat16" if torch.cuda.get_device_capability() >= (8, 0) else "float32"
    assert checkpoint.numerics.precision == expected


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("num_workers", [0, 1])
def test_the_loader_sends_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, num_workers: int
) -> None:
    """Images arrive as bytes, from pinned memory, and are finished there as on the CPU, within 1e-5."""
    manifest = write_prepared(tmp_path, channels=3)
    transform = build_transforms(
        (ToTensor(name="ToTensor"), Normalize(name="Normalize", mean=manifest.mean, std=manifest.std))
    )
    images = PreparedImages(tmp_path, manifest, "train", transform=transform)
    sent: list[Tensor] = []

    def finish(self: PreparedImages, batch: Tensor, indices: Any) -> Tensor:
        sent.append(batch)
        return self._transform.change_numbers(batch, samples=indices)

    monkeypatch.setattr(PreparedImages, "finish", finish)
    batches = build_loader(images, batch_size=5, device=torch.device(device), num_workers=num_workers)
    if device == "cuda":
        assert all(tensor.is_pinned() for tensor in next(iter(batches.loader)))
    first_index = 0
    for finished, labels in batches:
        raw = sent.pop()
        assert (raw.dtype, raw.device.type) == (torch.uint8, device)
        assert (finished.dtype, finished.device.type) == (torch.float32, device)
        assert finished.is_contiguous(memory_format=torch.channels_last)
        indices = range(first_index, first_index + len(labels))
        expected = transform.change_numbers(images.__getitems__(indices).images)
        torch.testing.assert_close(finished.cpu(), expected, atol=1e-5, rtol=1e-5)
        assert torch.equal(labels, images.labels[first_index : first_index + len(labels)])
        first_index += len(labels)
    assert first_index == len(images)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "transform",
    [
        RandomErasing(name="RandomErasing", p=0.9),
        RandomErasing(name="RandomErasing", p=0.9, value=(0.1, 0.2, 0.3)),
        RandomErasing(name="RandomErasing", p=0.9, value="random"),
        MixUp(name="MixUp", alpha=1.0, p=1.0),
        CutMix(name="CutMix", alpha=1.0, p=1.0),
    ],
    ids=["zeros", "colour", "noise", "mixup", "cutmix"],
)
def test_random_numbers_are_the_cpus(device: str, transform: Transform) -> None:
    """The same pixels are erased and mixed on every device, and targets are the same."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (8, 3, 12, 15), dtype=torch.uint8, generator=generator)
    labels = torch.arange(8) % 3

    def change(batch: Tensor) -> tuple[Tensor, Tensor]:
        both = (ToTensor(name="ToTensor"), transform)
        numbers = build_transforms(both, seed=3).change_numbers(batch, samples=np.arange(8), epoch=1)
        mixing = build_mixing(both, num_classes=3, seed=3)
        targets = labels.to(batch.device)
        return mixing(numbers, targets, epoch=1, step=2) if mixing else (numbers, targets)

    found, expected = change(images.to(device)), change(images)
    assert not torch.equal(expected[0], images / 255)
    for each, other in zip(found, expected, strict=True):
        assert each.device.type == device
        torch.testing.assert_close(each.cpu(), other, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_dropout_is_the_cpus(device: str) -> None:
    """The same values of a sample are dropped on every device."""
    dropout = SampleDropout(0.5)
    features = torch.ones(6, 20)
    dropout.set_batch(7, np.arange(6))
    expected = dropout(features)
    assert 20 < (expected == 0).sum() < 100
    assert torch.equal(dropout(features.to(device)).cpu(), expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", names_of(Loss))
def test_losses_are_the_cpus(device: str, name: str) -> None:
    """Value and gradient of every loss with class weights."""
    section = {**read_section("loss"), "name": name, "class_weights": [0.5, 1.0, 2.0]}
    loss = build_loss(Loss.model_validate(section), class_counts=[2, 2, 2])

    def differentiate(device: str) -> tuple[Tensor, Tensor]:
        logits = torch.linspace(-3, 3, 18).view(6, 3).to(device).requires_grad_()
        value = loss.to(device)(logits, (torch.arange(6) % 3).to(device))
        (gradient,) = torch.autograd.grad(value, logits)
        return value.detach().cpu(), gradient.cpu()

    for found, expected in zip(differentiate(device), differentiate("cpu"), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", names_of(Optimizer))
def test_optimizers_are_the_cpus(device: str, name: str) -> None:
    """Four steps of each, down a slope that is the same on every device."""
    section = Optimizer.model_validate({**read_section("optimizer"), "name": name, "lr": 0.1})

    def step(device: str) -> list[Tensor]:
        torch.manual_seed(0)
        layer = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)).to(device)
        optimizer = build_optimizer(section, layer.parameters())
        for _ in range(4):
            for number, parameter in enumerate(layer.parameters()):
                parameter.grad = (parameter.detach() * (number + 1)).cos()
            optimizer.step()
        return [parameter.detach().cpu() for parameter in layer.parameters()]

    for found, expected in zip(step(device), step("cpu"), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_the_sample_is_learned(tmp_path: Path, device: str, precision: Precision) -> None:
    """In every precision, float16 by the scaler, ten epochs end at a tenth of the first loss or less."""
    toy = make_toy(tmp_path, device=device, precision=precision, lr=0.1, num_epochs=10)
    for _ in range(10):
        run_epoch(*toy, save_point=never_save)
    losses = [record.train_loss for record in toy.state.history]
    assert losses[-1] < losses[0] / 10


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("optimizer", ["adamw", "rmsprop", "muon"])
def test_float16_passes_over_steps_that_overflow(tmp_path: Path, device: str, optimizer: str) -> None:
    """Where the scale is too large the weights stay as they are, the scale falls, and training goes on.

    And torch does not warn that the schedule stepped first: any warning fails a test.
    """
    toy = make_toy(tmp_path, device=device, precision="float16")
    use_optimizer(toy, optimizer)
    toy.state.scaler = torch.amp.GradScaler(device, init_scale=2.0**60, growth_interval=10**6)
    after_step: list[str] = []
    scales: list[float] = []

    def look(state: Any) -> None:
        after_step.append(hash_weights(dict(state.network.named_parameters())))
        scales.append(state.scaler.get_scale())

    before = hash_weights(dict(toy.state.network.named_parameters()))
    for _ in range(12):
        run_epoch(*toy, save_point=look)
    assert after_step[0] == before
    assert scales[0] == 2.0**59
    assert 1 < scales[-1] == scales[-10] < 2.0**40
    assert after_step[-1] != before


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_step_does_not_wait_for_the_gpu(tmp_path: Path, device: str, precision: Precision) -> None:
    """Nothing in a step makes the CPU wait, which must be free to load the next batch: torch would raise."""
    toy = make_toy(tmp_path, device=device, precision=precision, is_busy=True)
    toy.state.average = WeightAverage(toy.state.network, decay=0.9)
    run_epoch(*toy, save_point=never_save)  # the first step may wait for memory and for libraries
    if device == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        train_steps(*toy, save_point=never_save)
    finally:
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    assert toy.state.step == 5


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, which need not be pretended")
@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set")
@pytest.mark.parametrize(
    ("optimizer", "loss"),
    [("adamw", "cross_entropy"), ("rmsprop", "focal"), ("muon", "binary_cross_entropy")],
)
def test_a_step_on_a_pretended_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str, loss: str
) -> None:
    """Without a GPU: all operations of a step find their tensors on one device, none makes the CPU wait."""
    section = Loss.model_validate({**read_section("loss"), "name": loss, "class_weights": "balanced"})
    criterion = build_loss(section, class_counts=[8, 8, 8])
    with pretend_gpu(monkeypatch) as gpu:
        toy = make_toy(
            tmp_path,
            device="cuda",
            precision="float32",
            is_busy=True,
            criterion=criterion,
            **({"mix": ()} if loss in LABELS_ONLY else {}),
        )
        use_optimizer(toy, optimizer)
        toy.state.average = WeightAverage(toy.state.network, decay=0.9)
        gpu.waits.clear()
        train_steps(*toy, save_point=never_save)
        assert toy.state.step == 5
        assert toy.state.losses.device.type == "cuda"
        assert gpu.waits == []


@pytest.mark.parametrize("device", DEVICES)
def test_predictions_are_the_cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    """One checkpoint gives the same probabilities on every device, within 1e-4 in float32."""
    make_project(tmp_path, monkeypatch)
    write_params(tmp_path, training__device="cpu", training__num_epochs=1)
    train()
    checkpoint, weights = read_checkpoint(MODEL / "best.safetensors")
    images = PreparedImages(PREPARED, read_manifest(PREPARED), "test")
    pixels = [images.pixels(index) for index in range(len(images))]

    def predict(device: str) -> Tensor:
        model = CheckpointModel(checkpoint, weights, device=torch.device(device))
        return torch.from_numpy(model.compute(pixels).probabilities)

    torch.testing.assert_close(predict(device), predict("cpu"), atol=1e-4, rtol=0.0)


@pytest.mark.parametrize("device", DEVICES)
def test_convolutions_are_in_float32(device: str) -> None:
    """A convolution in float32 is exact to its last bits; in TF32, cuDNN's default, errors reach 0.01."""
    generator = torch.Generator().manual_seed(0)
    images, kernel = (torch.randn(shape, generator=generator) for shape in ((2, 64, 9, 9), (64, 64, 3, 3)))
    found = nn.functional.conv2d(images.to(device), kernel.to(device)).cpu()
    exact = nn.functional.conv2d(images.double(), kernel.double())
    assert (found - exact).abs().max() < 1e-4


@pytest.mark.parametrize("device", DEVICES)
def test_a_full_device_is_one_line(device: str) -> None:
    """What the device really says is understood: no machine has so much memory."""
    whose = "this process" if device == "cpu" else "the GPU"
    expected = rf"^train: {whose} ran out of memory \(tried to allocate .* GiB.*\); lower it$"
    with pytest.raises(InputError, match=expected), explain_device_errors("train", lambda: "lower it"):
        torch.empty(2**50, dtype=torch.uint8, device=device)


def use_optimizer(toy: Toy, name: str) -> None:
    """Have a run take one of params.yaml's optimizers, which are fused where torch has them so."""
    section = Optimizer.model_validate({**read_section("optimizer"), "name": name})
    toy.state.optimizer = build_optimizer(section, toy.state.network.parameters())
    toy.state.lr_scheduler = LambdaLR(toy.state.optimizer, lambda step: 1.0)


def make_toy(
    folder: Path, *, device: str, precision: Precision, is_busy: bool = False, **arguments: Any
) -> Toy:
    """Return a tiny run, with all that a step may do if it is to be busy."""
    manifest = write_prepared(folder)
    busy: dict[str, Any] = {
        "dropout": 0.5,
        "augment": (RandomCrop(name="RandomCrop", padding=1),),
        "mix": (RandomErasing(name="RandomErasing", p=0.9), MixUp(name="MixUp", alpha=1.0, p=1.0)),
        "max_grad_norm": 1.0,
        "accumulation_steps": 2,
    }
    return make_training(
        folder,
        manifest,
        device=torch.device(device),
        precision=precision,
        **{**(busy if is_busy else {}), **arguments},
    )
