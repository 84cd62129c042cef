"""Run details: what was trained on what, in words, from the checkpoint's own record of its run."""

from collections.abc import Iterator, Mapping

from markupsafe import Markup

from schemas.shared.manifest import SplitCounts
from schemas.vision.checkpoint import Checkpoint, History
from schemas.vision.transforms import Transform
from stages.pages import wording

_MAX_VALUE = 300
_RESIZED = {"squish": "stretched to fit", "pad": "padded to fit", "crop": "cropped to fit"}

Terms = list[tuple[str, str]]


def list_run_details(checkpoint: Checkpoint, *, counts: SplitCounts, history: History) -> dict[str, Terms]:
    """Return terms and their values under three headings, as text or safe HTML."""
    return {
        "Data": _describe_data(checkpoint, counts=counts),
        "Network": [
            ("Name", checkpoint.network.name),
            *_list_arguments(checkpoint.network.arguments.model_dump()),
            *_list_pretrained(checkpoint),
            ("Preprocessing", ", ".join(map(_describe_transform, checkpoint.preprocessing))),
            ("Weights hash", wording.short_hash(checkpoint.weights_sha256)),
        ],
        "Training": _describe_training(checkpoint, history=history),
    }


def list_parameters(checkpoint: Checkpoint) -> Terms:
    """Return the training parameters, key by key as in params.yaml, without variants not chosen."""
    rows: Terms = []
    for section, value in checkpoint.parameters.items():
        if isinstance(value, dict):
            rows += _walk(section, value)
        else:
            rows.append((section, _write(value)))
    return [(key, value if len(value) <= _MAX_VALUE else value[:_MAX_VALUE] + "…") for key, value in rows]


def describe_image(checkpoint: Checkpoint) -> str:
    """Write the size and the color of the images: `28 × 28 px, grayscale`."""
    image = checkpoint.image
    return f"{image.width_px} × {image.height_px} px, {image.color}"


def _describe_data(checkpoint: Checkpoint, *, counts: SplitCounts) -> Terms:
    positions = range(len(counts.train))
    largest = max(positions, key=counts.train.__getitem__)
    smallest = min(positions, key=counts.train.__getitem__)

    def size(position: int) -> Markup:
        num_images = wording.plural(counts.train[position], "image")
        return Markup("{}, {}").format(wording.name(checkpoint.classes[position]), num_images)

    return [
        ("Classes", wording.count(len(checkpoint.classes))),
        ("Training images", wording.count(sum(counts.train))),
        ("Largest class", size(largest)),
        ("Smallest class", size(smallest)),
        ("Validation images", wording.count(sum(counts.val))),
        ("Test images", wording.count(sum(counts.test))),
        ("Image size", f"{describe_image(checkpoint)}, {_RESIZED[checkpoint.image.resize]}"),
        ("Dataset hash", wording.short_hash(checkpoint.dataset_sha256)),
    ]


def _describe_training(checkpoint: Checkpoint, *, history: History) -> Terms:
    last, tested = history.epochs[-1].epoch, checkpoint.epoch.epoch
    metric = f"validation {history.best_metric.replace('_', ' ')}"
    chosen = f"epoch {tested}, the best of {last} by {metric}"
    if tested != history.best_epoch:
        chosen = f"epoch {tested}; the best by {metric} is epoch {history.best_epoch}"
    numerics, libraries = checkpoint.numerics, checkpoint.libraries
    return [
        ("Epochs", wording.count(last)),
        ("Checkpoint", chosen),
        ("Seed", str(checkpoint.seed)),
        ("Temperature", f"{checkpoint.calibration.temperature:.3g}, fitted to the validation split"),
        ("Precision", f"{numerics.precision}, {wording.plural(numerics.threads, 'thread')}"),
        ("Device", checkpoint.device),
        ("Parameters hash", wording.short_hash(checkpoint.inputs.params)),
        ("Code hash", wording.short_hash(checkpoint.inputs.code)),
        ("Libraries", ", ".join(f"{name} {libraries[name]}" for name in sorted(libraries))),
    ]


def _list_arguments(arguments: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for key, value in arguments.items():
        yield key.replace("_", " ").capitalize(), _write(value)


def _list_pretrained(checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    if pretrained := checkpoint.pretrained_weights:
        num_new = len(pretrained.other_shape) + len(pretrained.only_in_network)
        yield "Pretrained weights", f"{pretrained.source}, {wording.plural(num_new, 'new tensor')}"
        yield "Their hash", wording.short_hash(pretrained.sha256)


def _walk(prefix: str, values: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if not isinstance(value, dict):
            yield f"{prefix}.{key}", _write(value)
        elif values.get("name", key) == key:  # the block of the chosen variant, or one that is no variant
            yield from _walk(f"{prefix}.{key}", value)


def _describe_transform(transform: Transform) -> str:
    """Write a transform with its arguments: `Normalize (mean 0.13, std 0.31)`."""
    arguments = {key: value for key, value in transform if key != "name"}
    if not arguments:
        return transform.name
    return f"{transform.name} ({', '.join(f'{key} {_write(value)}' for key, value in arguments.items())})"


def _write(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(
            f"{key} ({_write(each)})" if isinstance(each, dict) else f"{key} {_write(each)}"
            for key, each in value.items()
        )
    if isinstance(value, list | tuple):
        return ", ".join(map(_write, value))
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()  # as in YAML
    return f"{value:.4g}" if isinstance(value, float) else str(value)
