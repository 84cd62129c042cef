"""Schemas of the evaluate stage."""
