"""Load what is tested: the checkpoint, the test images, and what prepare-dataset says about them.

The network and its preprocessing are rebuilt from the checkpoint alone, never from params.yaml.
"""

import csv
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.utils.data import Dataset

from schemas.audit.finding import ClassKind, FindingRow, ImageKind, LeakKind
from schemas.evaluate.evaluation import Evaluation
from schemas.shared.manifest import Manifest
from schemas.vision.checkpoint import Checkpoint, History
from stages.evaluate.subgroups import list_columns
from stages.shared.errors import InputError, printable
from stages.shared.files import check_checksum, first_error, read_sealed_json, sha256_of
from stages.shared.paths import AUDIT, MAKE_MODEL, MAKE_PREPARED, MODEL, PREPARED
from stages.shared.progress import Progress
from stages.vision.checkpoint import read_checkpoint, restore_network
from stages.vision.dataset import (
    INDEX_ADVICE,
    PreparedImages,
    build_loader,
    check_header,
    read_index_columns,
    read_manifest,
)
from stages.vision.inference import compute_logits
from stages.vision.runtime import choose_device, make_deterministic
from stages.vision.transforms import Compose, build_transforms, only_form

MAX_EXAMPLES = 5


@dataclass
class AuditFindings:
    """The audit's findings of one kind."""

    kind: ImageKind | LeakKind | ClassKind
    num_found: int = 0
    num_left_out: int = 0
    num_tested: int = 0
    """Test images among those that are used."""

    examples: list[FindingRow] = field(default_factory=list)
    """The worst few."""


@dataclass(frozen=True)
class TestRun:
    """A trained network and the test images (N)."""

    __test__ = False  # pytest takes every class named Test... for a test

    checkpoint: Checkpoint
    history: History
    manifest: Manifest
    network: nn.Module
    """On the device."""

    device: torch.device
    batch_size: int
    transform: Compose
    """The checkpoint's preprocessing."""

    images: PreparedImages
    """With the preprocessing applied: what the network sees."""

    cropped: PreparedImages
    """uint8 with the geometric part of the preprocessing alone, so that heatmaps fit over them."""

    pixels: PreparedImages
    """uint8 as packed."""

    columns: dict[str, list[str]]
    """Columns of index.csv, (N,) each: path, group, leak, and those that evaluation.slices needs."""

    findings: list[AuditFindings]

    def compute_logits(self, images: Dataset[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Return logits float32 (N, C) and labels int64 (N,) for preprocessed images."""
        batches = build_loader(images, batch_size=self.batch_size, device=self.device)
        with Progress("evaluate: predicting", len(self.images)) as progress:
            return compute_logits(
                self.network,
                track(batches, progress),
                device=self.device,
                numerics=self.checkpoint.numerics,
            )


def track(batches: Iterable[tuple[Tensor, Tensor]], progress: Progress) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches, and count the images of each one when the next is asked for."""
    for images, labels in batches:
        yield images, labels
        progress.advance(len(labels))


def load_test_run(evaluation: Evaluation) -> TestRun:
    """Load all of it, and make torch compute as it did in training: precision, threads, determinism.

    Raises:
        InputError: Something is missing or damaged, or the data is not that of the checkpoint.
    """
    manifest = read_manifest(PREPARED)
    checkpoint, weights = read_checkpoint(MODEL / f"{evaluation.checkpoint}.safetensors")
    check_same_data(checkpoint, manifest)
    history = read_sealed_json(MODEL / "history.json", History, made_by=MAKE_MODEL)
    device = choose_device(evaluation.device, place="params.yaml: evaluation.device")
    make_deterministic(checkpoint.numerics)
    transform = build_transforms(checkpoint.preprocessing)
    geometry = build_transforms(only_form(checkpoint.preprocessing))
    pixels = PreparedImages(PREPARED, manifest, "test")
    names = ["path", "group", "leak", *list_columns(evaluation.slices)]
    columns = read_index_columns(PREPARED / "index.csv", rows=pixels.rows, names=names)
    return TestRun(
        checkpoint=checkpoint,
        history=history,
        manifest=manifest,
        network=restore_network(checkpoint, weights).to(device),
        device=device,
        batch_size=evaluation.batch_size,
        transform=transform,
        images=PreparedImages(PREPARED, manifest, "test", transform=transform),
        cropped=PreparedImages(PREPARED, manifest, "test", transform=geometry),
        pixels=pixels,
        columns=columns,
        findings=read_findings(AUDIT / "findings.csv", tested=columns["path"]),
    )


def check_same_data(checkpoint: Checkpoint, manifest: Manifest) -> None:
    """Refuse to test on other data than the checkpoint's: its test images may have been trained on.

    Raises:
        InputError: The prepared data changed since training.
    """
    if checkpoint.classes != manifest.classes:
        found = f"{len(manifest.classes)} classes that are not the checkpoint's {len(checkpoint.classes)}"
    elif checkpoint.dataset_sha256 != sha256_of(PREPARED / "manifest.json"):
        found = "other images or another split than the checkpoint was trained on"
    else:
        return
    raise InputError(f"{PREPARED}: holds {found}; train again with: {MAKE_MODEL}")


def read_findings(path: Path, *, tested: Collection[str]) -> list[AuditFindings]:
    """Return the audit's findings by kind, in the order of the file.

    Args:
        path: The findings.csv that prepare-dataset wrote.
        tested: Paths of the test images in the source.

    Raises:
        InputError: The file is missing or damaged, or is not such a table.
    """
    check_checksum(path, made_by=MAKE_PREPARED)
    printed = {printable(name) for name in tested}
    findings: dict[str, AuditFindings] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            for record in reader:
                row = FindingRow.model_validate(record)
                of_kind = findings.setdefault(row.kind, AuditFindings(row.kind))
                of_kind.num_found += 1
                of_kind.num_left_out += row.became == "left_out"
                of_kind.num_tested += row.became == "used" and row.path in printed
                if len(of_kind.examples) < MAX_EXAMPLES:
                    of_kind.examples.append(row)
            check_header(path, reader.fieldnames or (), tuple(FindingRow.model_fields))
    except ValidationError as error:
        raise InputError(f"{path}: {first_error(error)}; {INDEX_ADVICE}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read: {printable(str(error))}; {INDEX_ADVICE}") from None
    return list(findings.values())
