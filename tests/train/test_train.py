"""The train stage as a whole, on a tiny prepared data set."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from schemas.shared.manifest import Manifest
from schemas.train.loss import Loss
from schemas.train.lr_scheduler import LrScheduler
from schemas.train.optimizer import Optimizer
from schemas.train.training import TrainMetrics
from schemas.vision.checkpoint import History
from schemas.vision.network import Network
from schemas.vision.transforms import Normalize, ToTensor
from stages.shared.errors import InputError
from stages.shared.files import read_sealed_json, sha256_of, write_sealed_json
from stages.shared.paths import IMAGES, METRICS, MODEL, PREPARED
from stages.train.__main__ import main
from stages.train.build import Run
from stages.train.outputs import snapshot_epochs
from stages.train.state import Snapshot
from stages.vision.checkpoint import read_checkpoint, restore_network
from stages.vision.dataset import PreparedImages
from stages.vision.transforms import build_transforms
from tests.train.project import hash_files, make_project, write_params
from tests.vision.completeness import ROOT, names_of
from tests.vision.torch_state import keep_torch_settings

OUTPUTS = {
    "metrics/train.json",
    "model/best.safetensors",
    "model/history.json",
    "model/last.safetensors",
    "dvclive/metrics.json",
    "dvclive/plots/metrics/lr.tsv",
    "dvclive/plots/metrics/train/accuracy.tsv",
    "dvclive/plots/metrics/train/loss.tsv",
    "dvclive/plots/metrics/val/accuracy.tsv",
    "dvclive/plots/metrics/val/balanced_accuracy.tsv",
    "dvclive/plots/metrics/val/loss.tsv",
    "dvclive/plots/metrics/val/macro_f1.tsv",
}


@pytest.fixture(autouse=True)
def _keep_torch_settings() -> Iterator[None]:
    with keep_torch_settings():
        yield


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """Return the prepared data set of a project, which is the current folder."""
    return make_project(tmp_path, monkeypatch)


def train(folder: Path, **changes: Any) -> dict[str, str]:
    """Run the stage with changed parameters and return the hash of every file it wrote."""
    write_params(folder, **changes)
    main()
    hashes = hash_files(folder / "data")
    return {
        name: value
        for name, value in hashes.items()
        if not name.startswith(("images/", "prepared/", "audit/"))
    }


@pytest.mark.usefixtures("manifest")
def test_outputs_are_those_of_the_pipeline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The stage writes checkpoints, history, curves and metrics, nothing else, and says how it went."""
    assert train(tmp_path).keys() == OUTPUTS
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5  # a header, three epochs, the result
    assert lines[-1].startswith("train: best epoch ")


@pytest.mark.usefixtures("manifest")
def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    """Every file of a second run has the same hash, whatever was drawn before, and with workers too."""
    transforms = [
        {"RandomCrop": {"padding": 2}},
        "RandomHorizontalFlip",
        "RandomVerticalFlip",
        {"RandomRotation": {"degrees": 15.0}},
        "ToTensor",
        {"Normalize": {"mean": "dataset", "std": "dataset"}},
    ]
    first = train(tmp_path, transforms=transforms)
    torch.manual_seed(5)
    assert train(tmp_path, transforms=transforms) == first
    neutral = {"loader__num_workers": 2, "loader__prefetch_factor": 3, "training__save_every_steps": 2}
    assert train(tmp_path, transforms=transforms, **neutral) == first
    other = train(tmp_path, transforms=transforms, training__seed=1)
    assert other["model/last.safetensors"] != first["model/last.safetensors"]


@pytest.mark.usefixtures("manifest")
def test_training_is_kept_when_parameters_change_under_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is published; with the parameters set back the same command ends without training again."""

    def change(run: Run) -> dict[str, Snapshot]:
        write_params(tmp_path, optimizer__lr=0.5)
        return snapshot_epochs(run)

    with monkeypatch.context() as context:
        context.setattr("stages.train.stage.snapshot_epochs", change)
        with pytest.raises(InputError, match=r"(?s)optimizer\.lr back to .* training of this run is kept"):
            train(tmp_path)
    assert not MODEL.exists()
    capsys.readouterr()
    train(tmp_path)
    first, *others = capsys.readouterr().out.splitlines()
    assert first == "train: resumes after epoch 3"
    assert len(others) == 1


def score(path: Path, manifest: Manifest) -> tuple[float, float]:
    """Return loss and accuracy on the validation split of what a checkpoint holds."""
    checkpoint, weights = read_checkpoint(path)
    images, labels = PreparedImages(
        PREPARED, manifest, "val", transform=build_transforms(checkpoint.preprocessing)
    ).gather(range(6))
    with torch.no_grad():
        logits = restore_network(checkpoint, weights).eval()(images)
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    return loss, (logits.argmax(dim=1) == labels).double().mean().item()


@pytest.mark.parametrize("metric", ["accuracy", "loss", "macro_f1"])
def test_checkpoints_are_of_the_best_and_the_last_epoch(
    tmp_path: Path, manifest: Manifest, metric: str
) -> None:
    """Each checkpoint scores what history says of its epoch, and the best is the best of all."""
    # So high a rate makes the epochs go up and down.
    train(tmp_path, training__num_epochs=6, training__best_metric=metric, optimizer__lr=0.05)
    history = read_sealed_json(MODEL / "history.json", History, made_by="")
    assert [record.epoch for record in history.epochs] == [1, 2, 3, 4, 5, 6]
    best: tuple[float, float] | None = None
    best_epoch = 0
    for record in history.epochs:
        value = -record.val.loss if metric == "loss" else getattr(record.val, metric)
        if best is None or (value, -record.val.loss) > best:
            best, best_epoch = (value, -record.val.loss), record.epoch
    assert (history.best_metric, history.best_epoch) == (metric, best_epoch)
    for name, epoch in (("best", best_epoch), ("last", 6)):
        checkpoint, _ = read_checkpoint(MODEL / f"{name}.safetensors")
        assert checkpoint.epoch == history.epochs[epoch - 1]
        loss, accuracy = score(MODEL / f"{name}.safetensors", manifest)
        assert loss == pytest.approx(checkpoint.epoch.val.loss, rel=1e-4)
        assert accuracy == pytest.approx(checkpoint.epoch.val.accuracy)
    metrics = TrainMetrics.model_validate_json((METRICS / "train.json").read_bytes())
    val = history.epochs[best_epoch - 1].val
    assert (metrics.val.loss, metrics.val.accuracy) == (val.loss, val.accuracy)


def test_checkpoint_tells_its_parameters(tmp_path: Path, manifest: Manifest) -> None:
    """It keeps what was asked of training, section by section, but not how many workers loaded the images."""
    write_params(tmp_path, optimizer__lr=0.02, training__num_epochs=1)
    main()
    checkpoint, _ = read_checkpoint(MODEL / "best.safetensors")
    dvc_yaml = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    assert set(checkpoint.parameters) == set(dvc_yaml["stages"]["train"]["params"])
    kept = json.loads(checkpoint.model_dump_json())["parameters"]
    assert kept["optimizer"]["lr"] == 0.02
    assert kept["loader"] == {"batch_size": 5, "shuffle": True, "sampling": "uniform"}
    first = hash_files(MODEL)
    write_params(tmp_path, optimizer__lr=0.02, training__num_epochs=1, loader__num_workers=1)
    main()
    assert hash_files(MODEL) == first


def test_checkpoint_stands_alone(tmp_path: Path, manifest: Manifest) -> None:
    """A checkpoint holds classes, form of the images, preprocessing with numbers, and what it came from."""
    train(tmp_path, training__precision="bfloat16", training__seed=3)
    checkpoint, weights = read_checkpoint(MODEL / "best.safetensors")
    assert checkpoint.classes == manifest.classes
    assert checkpoint.image == manifest.image
    assert checkpoint.preprocessing == (
        ToTensor(name="ToTensor"),
        Normalize(name="Normalize", mean=manifest.mean, std=manifest.std),
    )
    assert (checkpoint.numerics.threads, checkpoint.numerics.precision) == (1, "bfloat16")
    assert (checkpoint.num_epochs, checkpoint.seed) == (3, 3)
    assert checkpoint.dataset_sha256 == sha256_of(PREPARED / "manifest.json")
    history = read_sealed_json(MODEL / "history.json", History, made_by="")
    assert history.num_parameters == sum(weight.numel() for weight in weights.values())


VARIANTS = [
    *(("network__name", name) for name in names_of(Network)),
    *(("loss__name", name) for name in names_of(Loss)),
    *(("optimizer__name", name) for name in names_of(Optimizer)),
    *(("lr_scheduler__name", name) for name in names_of(LrScheduler)),
    ("loss__class_weights", "balanced"),
    ("loss__class_weights", [1.0, 2.0, 3.0]),
    ("loader__shuffle", False),
    ("loader__sampling", "balanced"),
    ("loader__sampling", "one_batch"),
    ("training__max_grad_norm", 0.1),
    ("training__accumulation_steps", 3),
    ("training__ema_decay", 0.9),
    ("training__limit_images", 7),
]


@pytest.mark.usefixtures("manifest")
@pytest.mark.parametrize(("key", "value"), VARIANTS, ids=str)
def test_every_variant_trains(tmp_path: Path, key: str, value: object) -> None:
    """One changed key is enough to train with another network, loss, optimizer or schedule."""
    train(tmp_path, training__num_epochs=1, **{key: value})
    read_checkpoint(MODEL / "best.safetensors")


@pytest.mark.usefixtures("manifest")
@pytest.mark.parametrize(
    ("changes", "ended_by", "num_epochs"),
    [
        ({}, "num_epochs", 3),
        # At such a rate nothing changes, so no epoch is better than the first.
        ({"training__early_stopping_epochs": 1, "optimizer__lr": 1e-30}, "early_stopping", 2),
        ({"training__max_minutes": 1e-6}, "time_budget", 1),
    ],
    ids=["num_epochs", "early_stopping", "time_budget"],
)
def test_history_says_what_ended_training(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    ended_by: str,
    num_epochs: int,
) -> None:
    """Early stopping and the time budget end a run; history and the printed lines say so."""
    train(tmp_path, **changes)
    history = read_sealed_json(MODEL / "history.json", History, made_by="")
    assert (history.ended_by, len(history.epochs)) == (ended_by, num_epochs)
    assert history.is_repeatable == (ended_by != "time_budget")
    printed = capsys.readouterr().out
    assert ("ended by training.early_stopping_epochs" in printed) == (ended_by == "early_stopping")
    assert ("need not give the same bytes" in printed) == (ended_by == "time_budget")


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"training__device": "cuda"}, r"^params\.yaml: training\.device: found cuda, .*; allowed: auto, cpu"),
    ({"training__precision": "float16"}, r"^params\.yaml: training\.precision: found float16, .*cuda only"),
    ({"loss__class_weights": [1.0, 2.0]}, r"^params\.yaml: loss\.class_weights: found 2 numbers; allowed: "),
    ({"dataset__height_px": 12}, r"^data/prepared: .*height_px=6 .*height_px=12 .*dvc repro prepare-dataset"),
    (
        {"optimizer__name": "sgd", "optimizer__lr": 1000.0, "training__num_epochs": 30},
        r"^train: the (validation )?loss became .*lower optimizer\.lr",
    ),
]


@pytest.mark.usefixtures("manifest")
@pytest.mark.parametrize(
    ("changes", "message"), REFUSALS, ids=[next(iter(changes)) for changes, _ in REFUSALS]
)
def test_bad_input_is_refused_and_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    """What cannot work is refused in one line, and the model of the last good run stays."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    train(tmp_path)
    before = hash_files(tmp_path / "data")
    with pytest.raises(InputError, match=message) as caught:
        train(tmp_path, **changes)
    assert "\n" not in str(caught.value)
    assert hash_files(tmp_path / "data") == before


def test_flat_images_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training images of one flat colour have no standard deviation to divide by."""
    manifest = make_project(tmp_path, monkeypatch)
    flat = manifest.model_copy(update={"std": (0.0,)})
    write_sealed_json(PREPARED / "manifest.json", flat)
    with pytest.raises(InputError, match=r"Normalize\.std: found dataset, but .*standard deviation 0"):
        main()


def test_missing_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without prepared data the message says how to make it."""
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path)
    with pytest.raises(
        InputError, match=r"manifest\.json: there is no such file; .*dvc repro prepare-dataset"
    ):
        main()


@pytest.mark.usefixtures("manifest")
def test_damaged_data_is_refused(tmp_path: Path) -> None:
    """One other bit in the pixels is found before training starts."""
    (path,) = IMAGES.glob("*.npy")
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(InputError, match=r"-00000\.npy: is damaged"):
        train(tmp_path)


def test_smallest_data_set_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two classes with one colour image in each split are enough."""
    make_project(tmp_path, monkeypatch, classes=("a", "b"), num_train=1, num_val=1, num_test=1, channels=3)
    train(tmp_path, dataset__color="rgb")
    assert read_checkpoint(MODEL / "best.safetensors")[0].image.color == "rgb"


@pytest.mark.usefixtures("manifest")
@pytest.mark.parametrize("edited", ["optimizer", "data"])
def test_inputs_that_change_meanwhile_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edited: str
) -> None:
    """What changes while training runs is named, and the outputs of the run before stay."""
    train(tmp_path)
    before = hash_files(tmp_path / "data")

    def edit(*arguments: Any) -> Any:
        if edited == "data":
            (PREPARED / "labels.npy").write_bytes((PREPARED / "labels.npy").read_bytes())
        else:
            write_params(tmp_path, optimizer__lr=0.5)
        return snapshot_epochs(*arguments)

    monkeypatch.setattr("stages.train.stage.snapshot_epochs", edit)
    named = (
        r"data/prepared/labels\.npy: changed" if edited == "data" else r"optimizer\.lr: was .*, became 0\.5"
    )
    with pytest.raises(InputError, match=f"{named} while the stage was running"):
        train(tmp_path)
    assert hash_files(tmp_path / "data") == before


@pytest.mark.usefixtures("manifest")
def test_threads_may_not_be_chosen_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OMP_DYNAMIC is refused in one line: with it torch hangs."""
    monkeypatch.setenv("OMP_DYNAMIC", "TRUE")
    with pytest.raises(InputError, match=r"^OMP_DYNAMIC: found TRUE; allowed: false") as caught:
        train(tmp_path)
    assert "\n" not in str(caught.value)
