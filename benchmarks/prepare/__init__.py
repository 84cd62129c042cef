"""ingest and prepare-dataset beside what one would write oneself."""
