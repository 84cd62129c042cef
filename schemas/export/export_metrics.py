"""What the export stage measured: data/metrics/export.json, and the record of what it published."""

from pydantic import Field

from schemas.shared.fields import Count, Fraction, Items, Schema
from schemas.shared.inputs import Fingerprint
from schemas.shared.manifest import FileRecord


class FormatMetrics(Schema):
    """One exported model against the checkpoint, on the test split."""

    agreement: Fraction
    """Fraction of the images that get the checkpoint's prediction, as evaluate computes it."""

    agreement_in_float32: Fraction
    """The same beside the checkpoint in float32, as exported models compute whatever the checkpoint was
    trained in."""

    max_probability_change: Fraction
    """Largest difference of a probability of an image from the checkpoint's in float32."""

    accuracy: Fraction
    accuracy_change: float = Field(ge=-1, le=1)
    """Accuracy minus that of the checkpoint as evaluate computes it."""

    accuracy_change_low: float = Field(ge=-1, le=1)
    """Lower end of its 95 % confidence interval, from pairs: both models predict the same images."""

    accuracy_change_high: float = Field(ge=-1, le=1)
    num_bytes: Count
    """Size of the file."""


class ExportMetrics(Schema):
    """What `dvc metrics diff` compares; a format that was not exported is left out."""

    onnx: FormatMetrics | None = None
    onnx_int8: FormatMetrics | None = None
    torch_export: FormatMetrics | None = None
    page: FormatMetrics | None = None


class ExportManifest(Schema):
    """What was published: data/export/manifest.json."""

    files: Items[FileRecord]
    """All beside it."""

    fingerprint: Fingerprint
    """Of the stage's inputs: parameters, code and data."""
