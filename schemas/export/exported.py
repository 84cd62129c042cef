"""What an exported model records beside its graph, and what the stage measured of each."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from schemas.export.export import Format
from schemas.shared.fields import ClassName, Items, PositiveCount, Schema, Sha256
from schemas.shared.inputs import Fingerprint
from schemas.shared.manifest import ImageForm
from schemas.vision.checkpoint import Calibration, Scores
from schemas.vision.runtime import Threads

EXPORT_VERSION = 1


class ExportedModel(Schema):
    """All that is needed to use an exported model, and where it came from.

    Its graph takes images uint8 (N, height, width, channels) of the form `image`, any N, and returns
    probabilities float32 (N, classes). Everything after decoding and resizing to that form is inside the
    graph. Stored as JSON beside its own SHA-256, in an ONNX file as the metadata entry `darkroom`.
    """

    version: Literal[1]
    format: Format
    classes: Annotated[Items[ClassName], Field(min_length=2)]

    image: ImageForm
    """What decoding brings a picture to: upright by its EXIF orientation, in this colour, at this size."""

    preprocessing: Items[JsonValue]
    """The checkpoint's transforms, for people to read: the graph applies them."""

    num_features: PositiveCount | None
    """Length of an image's embedding; null where the network has no one layer that turns features into
    logits."""

    calibration: Calibration
    """The checkpoint's: the graph divides logits by its temperature, and thresholds come from its levels."""

    num_test_images: PositiveCount
    test: Scores
    """Of the checkpoint on the test split; loss is the mean negative log-probability of the true class."""

    network: str
    """What params.yaml calls it, such as `cnn` or `timm resnet18`."""

    num_parameters: PositiveCount
    opset: PositiveCount | None
    """Version of ONNX's operators that the graph uses; null for torch_export."""

    threads: Threads
    """What the checkpoint was trained with; another number may give other last bits."""

    graph_sha256: Sha256 | None
    """Of all bytes of the file but its metadata; null for torch_export, whose file has a checksum of each
    part."""

    weights_sha256: Sha256
    """The checkpoint's: hash of the names, dtypes, shapes and bytes of all tensors."""

    dataset_sha256: Sha256
    """The checkpoint's: hash of the manifest of the prepared data."""

    fingerprint: Fingerprint
    """The checkpoint's: of the parameters, code and data that training ran on."""

    libraries: dict[str, str]
    """Versions of the libraries that wrote the file."""
