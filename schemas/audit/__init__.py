"""Schemas of what the audit hands over to the test report."""
