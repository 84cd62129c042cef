"""Parameters of a split and an audit, and images that were found, for tests to change one thing in."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from stages.prepare_dataset.details import Details
from stages.prepare_dataset.fingerprint import Measured

from schemas.prepare_dataset.audit import Audit
from schemas.prepare_dataset.split import Split
from stages.prepare_dataset.found_images import FoundImage, FoundImages


def split_params(**changed: object) -> Split:
    """Return parameters of a split in which only copies of one file stay together, with these changes."""
    return Split.model_validate(
        {
            "val_fraction": 0.2,
            "test_fraction": 0.2,
            "seed": 0,
            "group": "none",
            "near_duplicate_bits": "none",
            "leaks": "warn",
            "folds": 1,
            "fold": 0,
            **changed,
        }
    )


def audit_params(**changed: object) -> Audit:
    """Return parameters of an audit that warns of everything, with these changes."""
    return Audit.model_validate(
        {
            **dict.fromkeys(
                (
                    "copies",
                    "near_duplicates",
                    "conflicting_labels",
                    "blank",
                    "extreme_size",
                    "extreme_shape",
                    "tiny_class",
                    "imbalance",
                ),
                "warn",
            ),
            "blank_std": 3.0,
            "min_side_px": 8,
            "max_side_px": 1000,
            "max_aspect_ratio": 4.0,
            "min_class_images": 2,
            "max_imbalance": 2.0,
            **changed,
        }
    )


def found(path: str) -> FoundImage:
    """Return the image at `<class>/<file>`."""
    return FoundImage(path=path, key=path, label=path.split("/", maxsplit=1)[0], split=None, group=None)


def in_columns(images: Iterable[FoundImage], classes: Iterable[str] = ()) -> FoundImages:
    """Return images as collect hands them over, with further classes that have none."""
    images = list(images)
    return FoundImages.pack(images, classes=sorted({*classes, *(image.label for image in images)}))


_FOLDER = tempfile.TemporaryDirectory()


def details_of(measured: Measured) -> Details:
    """Return the details of images as the stage has them, in a file."""
    path = Path(_FOLDER.name) / "details"
    path.unlink(missing_ok=True)
    path.write_bytes(measured["details"].tobytes())
    return Details(path, np.arange(len(measured)))
