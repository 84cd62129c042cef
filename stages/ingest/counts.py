"""What ingest counts and prints: files by what became of them, and those that cannot be decoded."""

from schemas.ingest.dataset import Dataset
from schemas.ingest.ingest_metrics import IngestMetrics
from schemas.ingest.ingested import Ingested
from stages.images.heif import INSTALL_HEIF
from stages.images.image_table import ImageTable
from stages.ingest.pixels import Decoded
from stages.shared.errors import InputError, printable
from stages.shared.inputs import StageInputs

_MAX_LINES = 10
"""Reasons that are printed, each with its first file; the table names all files."""


def report_undecodable(table: ImageTable, dataset: Dataset) -> None:
    """Print a line for each of the first few reasons why files cannot be decoded, or refuse the files.

    Raises:
        InputError: No image can be decoded; or one cannot, and dataset.undecodable is error.
    """
    failed = table.take(table.has_status("undecodable"))
    if not len(failed):
        return
    source = dataset.source
    paths_of: dict[str, list[str]] = {}
    for path, reason in zip(failed.path, failed.reason, strict=True):
        paths_of.setdefault(reason, []).append(path)
    shown = list(paths_of.items())[:_MAX_LINES]
    lines = [
        f"{source}/{printable(paths[0])}{f' and {len(paths) - 1:,} more' if paths[1:] else ''}: {reason}"
        for reason, paths in shown
    ]
    if not table.has_status("decoded").any():
        raise InputError(
            f"dataset.source: {source}: none of its {len(failed):,} images can be decoded; the first: "
            f"{lines[0].removeprefix(f'{source}/')}; put readable images there"
        )
    if num_others := len(failed) - sum(len(paths) for _, paths in shown):
        lines.append(f"{source}: {num_others:,} more that cannot be decoded")
    if dataset.undecodable == "error":
        raise InputError(
            "\n".join(f"{line}; remove it, or set dataset.undecodable: exclude" for line in lines)
        )
    for line in lines:
        print(f"ingest: left out {line}")
    if any(INSTALL_HEIF in reason for reason in paths_of):
        print(
            "ingest: DVC does not see new libraries; when it is there: dvc repro --force ingest && dvc repro"
        )


def count_files(ingested: Ingested, table: ImageTable, inputs: StageInputs) -> IngestMetrics:
    """Return the files of the source by what became of them."""
    return IngestMetrics(
        num_images=ingested.num_images,
        num_undecodable=int(table.has_status("undecodable").sum()),
        num_not_an_image=int(table.has_status("not_an_image").sum()),
        num_outside_classes=int(table.has_status("outside_classes").sum()),
        num_not_in_table=int(table.has_status("not_in_table").sum()),
        num_hidden=ingested.num_hidden,
        num_system_files=ingested.num_system_files,
        fingerprint=inputs.describe(data_sha256=ingested.table.sha256).fingerprint,
    )


def print_summary(metrics: IngestMetrics, decoded: Decoded, *, name: str) -> None:
    """Print what was decoded and what was left out."""
    print(f"ingest: {metrics.num_images:,} images from {name}, {decoded.num_decoded:,} of them decoded now")
    left_out = {
        "cannot be decoded": metrics.num_undecodable,
        "are not images": metrics.num_not_an_image,
        "are outside the class folders": metrics.num_outside_classes,
        "are not in the table": metrics.num_not_in_table,
    }
    if any(left_out.values()):
        numbers = ", ".join(f"{number:,} that {what}" for what, number in left_out.items() if number)
        print(f"ingest: left out {numbers}; data/prepared/index.csv will name each")
    if metrics.num_hidden or metrics.num_system_files:
        print(
            f"ingest: skipped {metrics.num_hidden:,} hidden files and "
            f"{metrics.num_system_files:,} that operating systems leave behind"
        )
