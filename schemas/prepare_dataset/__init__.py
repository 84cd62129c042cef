"""Schemas of the prepare-dataset stage."""
