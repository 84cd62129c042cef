"""A project as it stands before evaluate: generated images, prepared, and an untrained checkpoint."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from schemas.audit.finding import FindingRow
from schemas.shared.inputs import Inputs
from schemas.shared.manifest import SPLIT_NAMES, FileRecord, ImageForm, IndexRow, Manifest, SplitCounts
from schemas.vision.checkpoint import (
    Calibration,
    Checkpoint,
    ConfidenceLevel,
    EpochRecord,
    History,
    Scores,
)
from schemas.vision.network import ChosenNetwork, Cnn
from schemas.vision.runtime import Numerics
from schemas.vision.transforms import Normalize, ToTensor
from stages.prepare_dataset.prepared import write_index
from stages.shared.files import describe_file, sha256_of, write_checksum, write_sealed_json
from stages.vision.checkpoint import hash_weights, write_checkpoint
from stages.vision.networks import build_network

_BLOCK = 10_000


def write_project(
    folder: Path, form: ImageForm, *, num_images: int, num_classes: int, threads: int, cnn: Cnn
) -> None:
    """Write the folders below data/ that evaluate reads, with so many test images, by turns of each class."""
    classes = tuple(f"class {number:04}" for number in range(num_classes))
    manifest = _write_prepared(folder / "data" / "prepared", form, classes, num_test=num_images)
    (folder / "data" / "audit").mkdir()
    findings = folder / "data" / "audit" / "findings.csv"
    findings.write_text(",".join(FindingRow.model_fields) + "\n")
    write_checksum(findings)
    epoch = EpochRecord(
        epoch=1,
        lr=0.1,
        train_loss=1.0,
        train_accuracy=0.5,
        val=Scores(loss=1.0, accuracy=0.5, balanced_accuracy=0.5, macro_f1=0.5),
    )
    torch.manual_seed(0)
    network = ChosenNetwork(name="cnn", arguments=cnn)
    weights = build_network(network, image=form, num_classes=num_classes).state_dict()
    checkpoint = Checkpoint(
        version=3,
        network=network,
        classes=classes,
        image=form,
        preprocessing=(
            ToTensor(name="ToTensor"),
            Normalize(name="Normalize", mean=manifest.mean, std=manifest.std),
        ),
        numerics=Numerics(threads=threads, precision="float32"),
        is_compiled=False,
        calibration=Calibration(
            temperature=1.5,
            levels=(
                ConfidenceLevel(probability=0.9, num_images=500, num_correct=499, num_effective=500.0),
                ConfidenceLevel(probability=0.1, num_images=1000, num_correct=800, num_effective=1000.0),
            ),
            label_probabilities=(0.9, 0.6, 0.3),
        ),
        epoch=epoch,
        num_epochs=1,
        seed=0,
        pretrained_weights=None,
        dataset_sha256=sha256_of(folder / "data" / "prepared" / "manifest.json"),
        weights_sha256=hash_weights(weights),
        inputs=Inputs(params="0" * 64, code="0" * 64, data="0" * 64),
        device="cpu",
        libraries={"torch": torch.__version__},
        parameters={},
    )
    write_checkpoint(folder / "data" / "model" / "best.safetensors", checkpoint, weights)
    history = History(
        num_parameters=1,
        best_metric="loss",
        best_epoch=1,
        ended_by="num_epochs",
        is_repeatable=True,
        epochs=(epoch,),
    )
    write_sealed_json(folder / "data" / "model" / "history.json", history)


def _write_prepared(folder: Path, form: ImageForm, classes: Sequence[str], *, num_test: int) -> Manifest:
    """Write one training and one validation image of each class, then the test images."""
    folder.mkdir(parents=True)
    shards = folder.parent / "images"
    shards.mkdir()
    num_classes, num_images = len(classes), 2 * len(classes) + num_test
    labels = np.arange(num_images) % num_classes
    splits = np.repeat(np.arange(3, dtype=np.uint8), [num_classes, num_classes, num_test])
    tested = np.bincount(labels[2 * num_classes :], minlength=num_classes)
    manifest = Manifest(
        version=3,
        classes=tuple(classes),
        image=form,
        num_images=num_images,
        counts=SplitCounts(train=(1,) * num_classes, val=(1,) * num_classes, test=tuple(tested.tolist())),
        mean=(0.5,) * form.num_channels,
        std=(0.3,) * form.num_channels,
        image_shards=(_write_images(shards / "images-00000.npy", form, num_images=num_images),),
        rows=_write_array(folder / "rows.npy", np.arange(num_images)),
        labels=_write_array(folder / "labels.npy", labels),
        splits=_write_array(folder / "splits.npy", splits),
        index=write_index(folder / "index.csv", _list_rows(classes, labels.tolist(), splits.tolist())),
    )
    write_sealed_json(folder / "manifest.json", manifest)
    return manifest


def _write_images(path: Path, form: ImageForm, *, num_images: int) -> FileRecord:
    """Write random pixels, in blocks."""
    shape = (num_images, form.height_px, form.width_px, form.num_channels)
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    generator = np.random.default_rng(0)
    for start in range(0, num_images, _BLOCK):
        block = images[start : start + _BLOCK]
        block[:] = generator.integers(256, size=block.shape, dtype=np.uint8)
    images.flush()
    return describe_file(path)


def _write_array(path: Path, values: np.ndarray) -> FileRecord:
    np.save(path, values)
    return describe_file(path)


def _list_rows(classes: Sequence[str], labels: Sequence[int], splits: Sequence[int]) -> Iterator[IndexRow]:
    """Yield a line for each image; every fourth shares its group with the three after it."""
    for row, (label, split) in enumerate(zip(labels, splits, strict=True)):
        yield IndexRow(
            path=f"{classes[label]}/{row:07}.jpg",
            label=classes[label],
            split=SPLIT_NAMES[split],
            status="used",
            reason="",
            group=f"{classes[0]}/{row // 8:07}.jpg" if row % 8 < 4 else "",
            sha256="0" * 64,
            phash="0" * 16,
            height_px=str(100 + row % 400),
            width_px=str(100 + row % 300),
        )
