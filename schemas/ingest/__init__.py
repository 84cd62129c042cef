"""Schemas of the ingest stage."""
