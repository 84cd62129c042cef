"""Schemas of the search for settings."""
