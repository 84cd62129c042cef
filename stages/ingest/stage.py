"""The ingest stage, top to bottom."""

from pathlib import Path

import numpy as np

from schemas.ingest.dataset import Dataset
from schemas.ingest.ingest_metrics import IngestMetrics
from schemas.ingest.ingested import Ingested
from schemas.params import Params
from schemas.shared.manifest import ImageForm
from stages.images.decode import DecodeLimits
from stages.images.image_table import ImageTable, write_table
from stages.images.sources import open_source
from stages.ingest.decoded_cache import open_cache
from stages.ingest.listing import list_images
from stages.ingest.pixels import Decoded, decode_images
from stages.shared.errors import InputError, printable
from stages.shared.files import check_free_space, publish_folder, write_json, write_sealed_json
from stages.shared.inputs import StageInputs
from stages.shared.paths import IMAGES, METRICS

_MAX_LINES = 10
"""Undecodable files that are printed; the table names all."""


def ingest(params: Params, inputs: StageInputs) -> None:
    """Decode the source that params.yaml names."""
    dataset = params.dataset
    form = ImageForm.model_validate(dataset.model_dump(include=set(ImageForm.model_fields)))
    limits = DecodeLimits(
        max_pixels=dataset.max_pixels,
        max_file_bytes=dataset.max_file_bytes,
        max_seconds=dataset.max_decode_seconds,
    )
    source = open_source(Path(dataset.source), place=f"dataset.source: {dataset.source}")
    with (
        publish_folder(IMAGES) as folder,
        open_cache(form, limits, private=folder / "decoded") as cache,
    ):
        listing = list_images(source, dataset)
        num_bytes = int(listing.table.has_status("decoded").sum()) * form.num_bytes
        check_free_space(IMAGES, num_bytes=num_bytes, linked_bytes=cache.num_bytes)
        decoded = decode_images(
            listing.table, source, cache, folder, form=form, limits=limits, workers=dataset.workers
        )
        report_undecodable(decoded.table, dataset)
        ingested = Ingested(
            version=1,
            image=form,
            classes=listing.classes,
            given_splits=listing.given_splits,
            wrapper=listing.wrapper,
            num_images=int(decoded.table.has_status("decoded").sum()),
            num_hidden=listing.num_clutter["hidden"],
            num_system_files=listing.num_clutter["system"],
            shards=decoded.shards,
            table=write_table(folder, decoded.table),
        )
        write_sealed_json(folder / "manifest.json", ingested)
        cache.drop_others()
        inputs.check_unchanged()
    metrics = count_files(ingested, decoded.table, inputs)
    write_json(METRICS / "ingest.json", metrics)
    print_summary(metrics, decoded, name=dataset.source)


def report_undecodable(table: ImageTable, dataset: Dataset) -> None:
    """Print a line for each of the first few files that cannot be decoded, or refuse them.

    Raises:
        InputError: No image can be decoded; or one cannot, and dataset.undecodable is error.
    """
    failed = table.take(table.has_status("undecodable"))
    if not len(failed):
        return
    source = dataset.source
    shown = failed.take(np.arange(min(_MAX_LINES, len(failed))))
    lines = [
        f"{source}/{printable(path)}: {reason}" for path, reason in zip(shown.path, shown.reason, strict=True)
    ]
    if not table.has_status("decoded").any():
        raise InputError(
            f"dataset.source: {source}: none of its {len(failed):,} images can be decoded; the first: "
            f"{lines[0].removeprefix(f'{source}/')}; put readable images there"
        )
    if len(failed) > len(shown):
        lines.append(f"{source}: {len(failed) - len(shown):,} more that cannot be decoded")
    if dataset.undecodable == "error":
        raise InputError(
            "\n".join(f"{line}; remove it, or set dataset.undecodable: exclude" for line in lines)
        )
    for line in lines:
        print(f"ingest: left out {line}")


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
