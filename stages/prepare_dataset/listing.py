"""The images of a source with class, split and group, by its folders or by its table."""

from collections.abc import Sequence
from pathlib import Path

from schemas.ingest.dataset import Dataset
from stages.images.source import Source, UnreadableFile
from stages.prepare_dataset.collect import Collection, collect_images
from stages.prepare_dataset.table import collect_from_table, find_table
from stages.shared.errors import InputError
from stages.shared.text import printable


def list_images(source: Source, dataset: Dataset) -> Collection:
    """Return what a source holds, as dataset.labels says to read it.

    Raises:
        InputError: A folder cannot be listed or is a DVC project of its own, there is nothing to classify, or
            the table is wrong.
    """
    path = Path(dataset.source)
    name, is_archive = str(path), path.is_file()
    entries = source.list_entries()
    if not is_archive:
        _refuse_dvc_project(entries, name=name)
    if dataset.labels == "folders":
        return collect_images(entries, name=name, is_archive=is_archive)
    table = find_table(entries, dataset.labels, name=name, is_archive=is_archive)
    try:
        data = source.read(table, max_bytes=dataset.max_file_bytes)
    except UnreadableFile as error:
        raise InputError(f"dataset.labels: {name}/{table}: {error}") from None
    return collect_from_table(entries, data, table=table, labels=dataset.labels, name=name)


def _refuse_dvc_project(entries: Sequence[str], *, name: str) -> None:
    """Refuse folders that DVC takes for empty, so that no change in them would ever run the stage."""
    for entry in entries:
        if entry == ".dvc/" or entry.endswith("/.dvc/"):
            raise InputError(
                f"dataset.source: {printable(f'{name}/{entry}')} makes its folder a DVC project of its own, "
                "in which DVC sees no change from here; move that .dvc away, or the images"
            )
