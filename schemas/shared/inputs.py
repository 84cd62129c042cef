"""What a stage was run on, in three hashes."""

import hashlib
from typing import Annotated

from pydantic import Field

from schemas.shared.fields import Schema, Sha256

Fingerprint = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
"""Of a record of inputs, in short."""


class Inputs(Schema):
    """Stands in what a stage publishes; `python -m tools.verify` compares it with what is there now."""

    params: Sha256
    """Of the values of the stage's sections of params.yaml, those left out that change no result."""

    code: Sha256
    """Of the names and bytes of the stage's code files, its `deps` in dvc.yaml."""

    data: Sha256
    """Of the manifest that the stage before it wrote; ingest: of the images' paths and bytes."""

    @property
    def fingerprint(self) -> str:
        """Return the first digits of one SHA-256 over all three."""
        return hashlib.sha256(f"{self.params} {self.code} {self.data}".encode()).hexdigest()[:16]
