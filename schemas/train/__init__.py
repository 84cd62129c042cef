"""Schemas of the train stage."""
