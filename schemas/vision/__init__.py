"""Schemas that train, evaluate and everything after them share."""
