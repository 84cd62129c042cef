"""What was measured on this machine, remembered from run to run."""

from schemas.shared.schema import Schema


class Measured(Schema):
    """A file of answers, such as `.dvc/tmp/darkroom/precision.json`."""

    answers: dict[str, str]
    """By the SHA-256 of the question, a word."""
