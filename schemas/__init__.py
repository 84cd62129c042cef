"""What data may look like: every parameter and every file that crosses a stage.

Imports only pydantic and the standard library, so that checking a file costs no start-up time.
"""
