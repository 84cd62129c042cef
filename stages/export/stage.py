"""The export stage, top to bottom: write each format, compare it with the checkpoint, publish.

PyTorch is imported only where there is something to export.
"""

from schemas.export.export_metrics import ExportManifest, ExportMetrics
from schemas.params import Params
from stages.export.libraries import check_libraries
from stages.shared.files import describe_file, publish_folder, sha256_of, write_json, write_sealed_json
from stages.shared.inputs import StageInputs, hash_json
from stages.shared.paths import EXPORT, METRICS, list_exported


def export(params: Params, inputs: StageInputs) -> None:
    """Write data/export and data/metrics/export.json: models that predict as the checkpoint does."""
    section = params.export
    check_libraries(section.formats)
    metrics, lines = ExportMetrics(), ["export: nothing to export; set export.formats, as to [onnx]"]
    with publish_folder(EXPORT) as folder:
        if section.formats:
            from stages.export.formats import write_models

            metrics, lines = write_models(folder, section)
        data_sha256 = hash_json([sha256_of(path) for path in list_exported(section.checkpoint)])
        manifest = ExportManifest(
            files=tuple(describe_file(path) for path in sorted(folder.iterdir())),
            fingerprint=inputs.describe(data_sha256=data_sha256).fingerprint,
        )
        write_sealed_json(folder / "manifest.json", manifest)
        inputs.check_unchanged()
    write_json(METRICS / "export.json", metrics)
    print(*lines, sep="\n")
