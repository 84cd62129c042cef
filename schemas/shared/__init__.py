"""Schemas that every stage uses."""
