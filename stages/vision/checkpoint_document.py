"""What a checkpoint says about itself, read without torch, which takes seconds to import."""

import hashlib
import json
from pathlib import Path

from pydantic import ValidationError

from schemas.vision.checkpoint import Checkpoint
from stages.shared.errors import InputError
from stages.shared.files import first_error
from stages.shared.paths import MAKE_MODEL


def read_document(path: Path) -> tuple[Checkpoint, bytes]:
    """Read a checkpoint and check its document, not its weights.

    Returns:
        The document, and the whole file.

    Raises:
        InputError: The file is missing, no darkroom checkpoint, damaged, or of another version.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such checkpoint; make it with: {MAKE_MODEL}") from None
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        envelope = json.loads(header["__metadata__"]["darkroom"])
        document, document_sha256 = envelope["document"], envelope["sha256"]
        is_whole = hashlib.sha256(document.encode()).hexdigest() == document_sha256
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: is no darkroom checkpoint, or is damaged ({error})") from None
    if not is_whole:
        raise InputError(f"{path}: is damaged (its document does not have its recorded SHA-256)")
    try:
        return Checkpoint.model_validate_json(document), data
    except ValidationError as error:
        raise InputError(
            f"{path}: was written by another version of darkroom ({first_error(error)})"
        ) from None
