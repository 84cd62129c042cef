"""ingest: turn `dataset.source` into pixels and one table of images. Run as `python -m stages.ingest`."""
