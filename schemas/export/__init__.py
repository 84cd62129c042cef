"""Schemas of the export stage."""
