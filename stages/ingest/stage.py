"""The ingest stage, top to bottom."""

from pathlib import Path

from schemas.ingest.ingested import Ingested
from schemas.params import Params
from schemas.shared.manifest import ImageForm
from stages.images.decode import DecodeLimits
from stages.images.image_table import write_table
from stages.images.sources import open_source
from stages.ingest.counts import count_files, print_summary, report_undecodable
from stages.ingest.decoded_cache import open_cache
from stages.ingest.listing import list_images
from stages.ingest.pixels import decode_images
from stages.shared.files import check_free_space, publish_folder, write_json, write_sealed_json
from stages.shared.inputs import StageInputs
from stages.shared.paths import COUNTS, IMAGES


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
        for note in listing.notes:
            print(f"ingest: {note}")
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
    write_json(COUNTS / "ingest.json", metrics)
    print_summary(metrics, decoded, name=dataset.source)
