"""The `export` section: which files the trained network is published as, and what they must prove first."""

from typing import Annotated, Literal

from pydantic import AfterValidator

from schemas.shared.fields import Fraction, Items, Schema

Format = Literal["onnx", "onnx_int8", "torch_export", "page"]


def _check_different(formats: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(formats)) < len(formats):
        raise ValueError("allowed: each format once")
    return formats


class Export(Schema):
    """Exported models, and the gates that each passes on the test split or is not published."""

    formats: Annotated[Items[Format], AfterValidator(_check_different)]
    """onnx: for onnxruntime, without PyTorch; onnx_int8: smaller and faster, less exact; torch_export: a
    program for PyTorch; page: a web page with the model of onnx in it. An empty list exports nothing."""

    checkpoint: Literal["best", "last"]
    """Which checkpoint is exported: the best epoch by training.best_metric, or the last epoch."""

    min_agreement: Fraction
    """Fraction of the test images that must get the checkpoint's prediction in float32, but by onnx_int8."""

    max_probability_change: Fraction
    """By how much a probability of a test image may differ from the checkpoint's in float32, but
    by onnx_int8."""

    max_accuracy_drop: Fraction
    """How much of the checkpoint's accuracy on the test split onnx_int8 may lose."""
