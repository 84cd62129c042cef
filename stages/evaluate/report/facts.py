"""What was trained on what, in words: the report's part about where the network comes from."""

from collections.abc import Iterator, Mapping

from markupsafe import Markup

from schemas.shared.manifest import Manifest
from schemas.vision.checkpoint import Checkpoint
from schemas.vision.history import History
from schemas.vision.transforms import Transform
from stages.evaluate.report import wording

_MAX_VALUE = 300
_RESIZED = {"squish": "squished to size", "pad": "padded to size", "crop": "cropped to size"}


def list_facts(
    manifest: Manifest, *, checkpoint: Checkpoint, history: History
) -> dict[str, list[tuple[str, str]]]:
    """Return terms and their values under three headings, strings or safe HTML."""
    form, counts = manifest.image, manifest.counts
    largest, smallest = (pick(range(len(counts.train)), key=counts.train.__getitem__) for pick in (max, min))
    last, tested = history.epochs[-1].epoch, checkpoint.epoch.epoch
    metric = history.best_metric.replace("_", " ")
    best = f"the best of {last} by validation {metric}"
    if tested != history.best_epoch:
        best = f"not the best: by validation {metric} that was epoch {history.best_epoch}"

    def size(position: int) -> Markup:
        num_images = wording.plural(counts.train[position], "image")
        return Markup("{}, {}").format(wording.name(manifest.classes[position]), num_images)

    return {
        "Data": [
            ("Classes", wording.count(len(manifest.classes))),
            ("Training images", wording.count(sum(counts.train))),
            ("Largest class", size(largest)),
            ("Smallest class", size(smallest)),
            ("Validation images", wording.count(sum(counts.val))),
            ("Test images", wording.count(sum(counts.test))),
            ("Image", f"{form.width_px} × {form.height_px} px, {form.color}, {_RESIZED[form.resize]}"),
            ("Hash of the data", wording.short_hash(checkpoint.dataset_sha256)),
        ],
        "Network": [
            ("Name", checkpoint.network.name),
            *_parameters(checkpoint.network.arguments.model_dump()),
            *_started_from(checkpoint),
            ("Preprocessing", ", ".join(map(_in_words, checkpoint.preprocessing))),
            ("Hash of the weights", wording.short_hash(checkpoint.weights_sha256)),
        ],
        "Training": [
            ("Epochs", wording.count(last)),
            ("Tested", f"weights after epoch {tested}, {best}"),
            ("Seed", str(checkpoint.seed)),
            ("Temperature", f"{checkpoint.calibration.temperature:.3g}, fitted to the validation split"),
            (
                "Arithmetic",
                f"{checkpoint.numerics.precision}, {wording.plural(checkpoint.numerics.threads, 'thread')}",
            ),
            ("Computed on", checkpoint.device),
            ("Hash of the parameters", wording.short_hash(checkpoint.inputs.params)),
            ("Hash of the code", wording.short_hash(checkpoint.inputs.code)),
            (
                "Versions",
                ", ".join(f"{name} {checkpoint.libraries[name]}" for name in sorted(checkpoint.libraries)),
            ),
        ],
    }


def list_parameters(checkpoint: Checkpoint) -> list[tuple[str, str]]:
    """Return what training was asked for, key by key as in params.yaml, without variants not chosen."""
    rows: list[tuple[str, str]] = []
    for section, value in checkpoint.parameters.items():
        if isinstance(value, dict):
            rows += _walk(section, value)
        else:
            rows.append((section, _value(value)))
    return [(key, value if len(value) <= _MAX_VALUE else value[:_MAX_VALUE] + "…") for key, value in rows]


def _walk(place: str, values: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if not isinstance(value, dict):
            yield f"{place}.{key}", _value(value)
        elif values.get("name", key) == key:
            yield from _walk(f"{place}.{key}", value)


def _started_from(checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    if found := checkpoint.initial_weights:
        num_new = len(found.other_shape) + len(found.only_in_network)
        yield "Started from", f"{found.source}, {wording.plural(num_new, 'tensor')} new"
        yield "Hash of those weights", wording.short_hash(found.sha256)


def _parameters(values: dict[str, object]) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        yield key.replace("_", " ").capitalize(), _value(value)


def _in_words(transform: Transform) -> str:
    """Write a transform with its arguments: Normalize (mean 0.13, std 0.31)."""
    arguments = {key: value for key, value in transform if key != "name"}
    if not arguments:
        return transform.name
    return f"{transform.name} ({', '.join(f'{key} {_value(value)}' for key, value in arguments.items())})"


def _value(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(
            f"{key} ({_value(each)})" if isinstance(each, dict) else f"{key} {_value(each)}"
            for key, each in value.items()
        )
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    if isinstance(value, bool):
        return str(value).lower()  # as YAML has it
    return f"{value:.4g}" if isinstance(value, float) else str(value)
