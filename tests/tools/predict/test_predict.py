"""predict as a whole: the checkpoint alone gives evaluate's own predictions for image files."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from schemas.shared.manifest import ImageForm
from schemas.vision.checkpoint import Checkpoint, ConfidenceLevel
from stages.evaluate.__main__ import main as evaluate
from stages.ingest.__main__ import main as ingest
from stages.prepare_dataset.__main__ import main as prepare
from stages.shared.errors import InputError
from stages.shared.paths import MODEL, REPORT
from stages.train.__main__ import main as train
from stages.vision.checkpoint import read_checkpoint, write_checkpoint
from tests.images.trees import decode_to_form, encode, write_folder, write_zip
from tests.tools.predict.models import write_tiny_checkpoint
from tests.tools.predict.troubled_decoding import CRASH, HANG, TroubledDecoding
from tests.train.project import write_params
from tests.vision.completeness import ROOT
from tests.vision.documents import make_checkpoint
from tests.vision.torch_state import keep_torch_settings
from tools.predict.__main__ import main
from tools.predict.arguments import parse_arguments
from tools.predict.checkpoint_model import CheckpointModel
from tools.predict.model import CheckpointFile

CLASSES = ("ant", "bee", "cat")


def draw(label: int, number: int) -> bytes:
    """Return a colour picture of a size of its own, with the column of its class bright."""
    generator = np.random.default_rng([label, number])
    height, width = generator.integers(7, 30, 2)
    pixels = generator.integers(0, 90, (height, width, 3), dtype=np.uint8)
    pixels[:, label * width // 3 : (label + 1) * width // 3] += 120
    return encode(pixels, (".png", ".jpg", ".bmp")[number % 3])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder where all stages ran on image files."""
    folder = tmp_path_factory.mktemp("project")
    (folder / ".dvc").mkdir()
    files = {
        f"{label}/{number:02}{('.png', '.jpg', '.bmp')[number % 3]}": draw(place, number)
        for place, label in enumerate(CLASSES)
        for number in range(20)
    }
    with pytest.MonkeyPatch.context() as monkeypatch, keep_torch_settings():
        monkeypatch.chdir(folder)
        monkeypatch.delenv("DVC_ROOT", raising=False)
        write_folder(folder / "raw", files)
        write_params(
            folder,
            dataset__source="raw",
            dataset__color="rgb",
            dataset__resize="pad",
            split__test_fraction=0.4,
            optimizer__lr=0.02,
            training__threads=2,
        )
        ingest()
        prepare()
        train()
        evaluate()
    return folder


@pytest.fixture
def alone(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an empty folder the current one, with nothing in it but the checkpoint and the images."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(project / MODEL / "best.safetensors", "net.safetensors")
    shutil.copytree(project / "raw", "raw")
    return tmp_path


def predict(
    monkeypatch: pytest.MonkeyPatch, *arguments: str, checkpoint: str = "net.safetensors"
) -> tuple[int, str]:
    """Run the command and return its exit status and what it wrote to stdout."""
    monkeypatch.setattr(sys, "argv", ["predict", *arguments, "--checkpoint", checkpoint, "--device", "cpu"])
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    with keep_torch_settings(), pytest.raises(SystemExit) as caught:
        main()
    assert isinstance(caught.value.code, int)
    return caught.value.code, out.getvalue()


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def expected_rows(project: Path) -> list[dict[str, str]]:
    """Return what evaluate says of the test images."""
    return read_csv((project / REPORT / "predictions.csv").read_text(encoding="utf-8"))


@pytest.mark.parametrize("text", ["0", "1", "1.5", "most"])
def test_a_coverage_that_is_none(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is wrong with it, the same range is named."""
    status, _ = predict(monkeypatch, "raw", "--coverage", text)
    assert status == 2
    assert f"--coverage: found {text}; allowed: a number between 0 and 1\n" in capsys.readouterr().err


@pytest.mark.parametrize("batch_size", [1, 2, 7, 256])
@pytest.mark.parametrize("workers", [1, 3])
def test_predictions_are_those_of_evaluate(
    project: Path, alone: Path, monkeypatch: pytest.MonkeyPatch, batch_size: int, workers: int
) -> None:
    """Test images as files get the labels and probabilities of predictions.csv, whatever the batches.

    To 1e-6: on some CPUs (seen on one with AMX) torch adds up in another order in batches of another size,
    and the ninth digit differs.
    """
    expected = expected_rows(project)
    assert len(expected) > 20
    status, printed = predict(
        monkeypatch,
        *(f"raw/{row['path']}" for row in expected),
        *("--batch-size", str(batch_size), "--workers", str(workers), "--top-k", "9"),
        *("--target-accuracy", "0"),
    )
    assert status == 0
    found = read_csv(printed)
    assert [row["path"] for row in found] == [f"raw/{row['path']}" for row in expected]
    assert [row["predicted"] for row in found] == [row["predicted"] for row in expected]
    assert [float(row["probability"]) for row in found] == pytest.approx(
        [float(row["probability"]) for row in expected], abs=1e-6
    )
    assert len({row["probability"] for row in found}) > len(expected) - 4
    for row, other in zip(found, expected, strict=True):
        of_class = {row[f"predicted:{rank}"]: float(row[f"probability:{rank}"]) for rank in (1, 2, 3)}
        expected_of_class = {label: float(other[f"probability:{label}"]) for label in CLASSES}
        assert of_class == pytest.approx(expected_of_class, abs=1e-6)


def test_probabilities_are_the_same_in_any_batch(
    project: Path, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One image at a time, or all at once."""
    with keep_torch_settings():
        checkpoint, weights = read_checkpoint(Path("net.safetensors"))
        model = CheckpointModel(checkpoint, weights, device=torch.device("cpu"))
        images = [
            decode_to_form(path.read_bytes(), checkpoint.image) for path in sorted(Path("raw").rglob("*.*"))
        ]
        together = model.compute(images).probabilities
        for start in (0, 1):
            parts = [images[:start], *([image] for image in images[start:])]
            one_by_one = [model.compute(part).probabilities for part in parts if part]
            np.testing.assert_allclose(np.concatenate(one_by_one), together, rtol=0, atol=1e-6)


def test_no_bit_depends_on_the_other_images(tmp_path: Path) -> None:
    """Also where a network's layers are of odd widths, so that images lie differently in memory."""
    form = ImageForm(color="rgb", height_px=28, width_px=28, resize="pad")
    write_tiny_checkpoint(tmp_path / "net.safetensors", image=form)
    images = list(np.random.default_rng(0).integers(0, 256, (9, 28, 28, 3), dtype=np.uint8))
    with keep_torch_settings():
        checkpoint, weights = read_checkpoint(tmp_path / "net.safetensors")
        model = CheckpointModel(checkpoint, weights, device=torch.device("cpu"))
        together = model.compute(images).probabilities
        alone = np.concatenate([model.compute([image]).probabilities for image in images])
    assert np.array_equal(alone, together)


def write_calibrated(path: Path, *levels: ConfidenceLevel, **changes: Any) -> Checkpoint:
    """Write a checkpoint of the same network with another calibration, and return its document."""
    checkpoint, weights = read_checkpoint(Path("net.safetensors"))
    calibration = checkpoint.calibration.model_copy(update={"levels": levels, **changes})
    changed = checkpoint.model_copy(update={"calibration": calibration})
    write_checkpoint(path, changed, weights)
    return changed


def level(probability: float, num_images: int, num_correct: int) -> ConfidenceLevel:
    return ConfidenceLevel(
        probability=probability, num_images=num_images, num_correct=num_correct, num_effective=num_images
    )


@pytest.mark.usefixtures("alone")
def test_improbable_predictions_are_not_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the threshold that the target asks for, and only there; `predicted` always has the class."""
    _, printed = predict(monkeypatch, "raw", "--target-accuracy", "0")
    plain = read_csv(printed)
    assert {(row["accepted"], row["reason"]) for row in plain} == {("", "")}
    middle = sorted(float(row["probability"]) for row in plain)[30]
    write_calibrated(Path("sure.safetensors"), level(middle, 500, 500), level(0.1, 1000, 800))

    _, printed = predict(monkeypatch, "raw", checkpoint="sure.safetensors")
    rows = read_csv(printed)
    assert sum(row["accepted"] == "false" for row in rows) in (29, 30, 31)
    for row, other in zip(rows, plain, strict=True):
        if float(row["probability"]) != middle:
            assert row["accepted"] == str(float(row["probability"]) > middle).lower()
        assert row["reason"].startswith("probability below 0.") is (row["accepted"] == "false")
        assert (row["predicted"], row["probability"]) == (other["predicted"], other["probability"])
    _, printed = predict(monkeypatch, "raw", "--target-accuracy", "0.7", checkpoint="sure.safetensors")
    assert {row["accepted"] for row in read_csv(printed)} == {"true"}
    arguments = ("--target-accuracy", "0.79", "--confidence", "0.999")
    _, printed = predict(monkeypatch, "raw", *arguments, checkpoint="sure.safetensors")
    assert "false" in {row["accepted"] for row in read_csv(printed)}


@pytest.mark.usefixtures("alone")
def test_target_out_of_reach(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing can be promised `accepted` is empty, and the reason stands beside it and on stderr."""
    write_calibrated(Path("few.safetensors"), level(0.1, 19, 19))
    status, printed = predict(monkeypatch, "raw/ant", checkpoint="few.safetensors")
    why = "19 validation images are too few to promise 99 % accuracy; the most that can be promised is 88.5 %"
    assert status == 0
    assert {(row["accepted"], row["reason"]) for row in read_csv(printed)} == {("", why)}
    assert f"predict: `accepted` is empty: {why}\n" in capsys.readouterr().err


@pytest.mark.usefixtures("alone")
def test_class_may_be_called_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name of a class means anything else."""
    checkpoint, weights = read_checkpoint(Path("net.safetensors"))
    renamed = checkpoint.model_copy(update={"classes": ("unknown", *checkpoint.classes[1:])})
    write_checkpoint(Path("unknown.safetensors"), renamed, weights)
    _, plain = predict(monkeypatch, "raw")
    _, printed = predict(monkeypatch, "raw", checkpoint="unknown.safetensors")
    assert [row["predicted"] for row in read_csv(printed)] == [
        "unknown" if row["predicted"] == checkpoint.classes[0] else row["predicted"]
        for row in read_csv(plain)
    ]


@pytest.mark.usefixtures("alone")
def test_prediction_sets(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every class from the threshold on, the most probable first, and never none; in both formats."""
    levels = (level(0.1, 4, 3),)
    write_calibrated(Path("sets.safetensors"), *levels, label_probabilities=(0.9, 0.6, 0.3, 0.05))
    for coverage, threshold in (("0.2", 0.9), ("0.8", 0.05)):
        arguments = ("raw", "--coverage", coverage, "--top-k", "9")
        _, printed = predict(monkeypatch, *arguments, checkpoint="sets.safetensors")
        _, lines = predict(monkeypatch, *arguments, "--format", "jsonl", checkpoint="sets.safetensors")
        for row, line in zip(read_csv(printed), lines.splitlines(), strict=True):
            ranked = [(row[f"predicted:{rank}"], float(row[f"probability:{rank}"])) for rank in (1, 2, 3)]
            expected = [name for name, probability in ranked if probability >= threshold]
            found = json.loads(row["prediction_set"])
            assert found == (expected or [row["predicted"]])
            assert json.loads(line)["prediction_set"] == found
    _, printed = predict(monkeypatch, "raw", "--coverage", "0.9", checkpoint="sets.safetensors")
    assert {row["prediction_set"] for row in read_csv(printed)} == {""}
    assert "4 validation images are too few for prediction sets of 90 %" in capsys.readouterr().err


def test_target_is_that_of_the_report() -> None:
    """Who changes neither params.yaml nor the command line gets what the report speaks of."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "argv", ["predict", "x"])
        for name in ("target_accuracy", "confidence"):
            assert getattr(parse_arguments(), name) == params["evaluation"][name]


@pytest.mark.usefixtures("alone")
def test_unreadable_files_have_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """They stand in their place with the reason, the others are classified, and the exit status is 3."""
    write_folder(Path("raw/bee"), {"00a.png": b"junk", "00b.png": b""})
    status, printed = predict(monkeypatch, "raw/bee", "nowhere.png")
    rows = read_csv(printed)
    assert status == 3
    assert [row["error"] for row in rows if row["error"]] == [
        "is text; supported are JPEG, PNG, BMP, WebP, GIF, TIFF, JPEG 2000, HEIC, AVIF, PBM, PGM and PPM",
        "the file is empty",
        "there is no such file or folder",
    ]
    assert all(bool(row["predicted"]) is bool(row["probability"]) is not bool(row["error"]) for row in rows)
    assert [row["path"] for row in rows][:3] == ["raw/bee/00.png", "raw/bee/00a.png", "raw/bee/00b.png"]
    assert len(rows) == 23


@pytest.mark.usefixtures("alone")
def test_files_that_crash_or_hang_the_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """They have a line that says so, as other unreadable files do, and cost no other file its answer."""
    _, sound = predict(monkeypatch, "raw/bee")
    write_folder(Path("raw/bee"), {"00a.png": CRASH, "00b.png": HANG})
    monkeypatch.setattr("tools.predict.reading.Decoding", TroubledDecoding)
    status, printed = predict(monkeypatch, "raw/bee")
    rows = read_csv(printed)
    assert status == 3
    assert [row["error"] for row in rows if row["error"]] == [
        "crashes the decoder (SIGSEGV)",
        "takes more than 1 s to decode",
    ]
    # In a batch of another size an image may get other last bits.
    assert [(row["path"], row["predicted"], row["probability"][:7]) for row in rows if not row["error"]] == [
        (row["path"], row["predicted"], row["probability"][:7]) for row in read_csv(sound)
    ]


@pytest.mark.usefixtures("alone")
def test_nothing_but_unreadable_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table has its header and a line for each."""
    status, printed = predict(monkeypatch, "a", "b")
    assert status == 3
    assert [row["path"] for row in read_csv(printed)] == ["a", "b"]


@pytest.mark.usefixtures("alone")
def test_json_lines_hold_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """One object a line, with null for what is not there; --output's suffix chooses the form."""
    _, printed = predict(monkeypatch, "raw/ant", "nowhere")
    status, nothing = predict(monkeypatch, "raw/ant", "nowhere", "--output", "out/predictions.jsonl")
    assert (status, nothing) == (3, "")
    lines = [json.loads(line) for line in Path("out/predictions.jsonl").read_text().splitlines()]
    rows = read_csv(printed)
    for line, row in zip(lines, rows, strict=True):
        assert (line["path"], line["error"]) == (row["path"], row["error"] or None)
        assert (line["predicted"], line["probability"]) == (
            row["predicted"] or None,
            float(row["probability"]) if row["probability"] else None,
        )
        top = [(guess["predicted"], guess["probability"]) for guess in line["top"]]
        expected = [
            (row[f"predicted:{i}"], row[f"probability:{i}"]) for i in (1, 2, 3) if row[f"predicted:{i}"]
        ]
        assert top == [(label, float(probability)) for label, probability in expected]


@pytest.mark.usefixtures("alone")
def test_archive_and_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """A zip gives the predictions of the folder that it is made of."""
    files = {path.relative_to("raw").as_posix(): path.read_bytes() for path in Path("raw").rglob("*.*")}
    write_zip(Path("raw.zip"), files)
    _, of_folder = predict(monkeypatch, "raw")
    _, of_zip = predict(monkeypatch, "raw.zip")
    assert of_zip.replace("raw.zip/", "raw/") == of_folder


@pytest.mark.usefixtures("alone")
def test_hostile_names_stay_in_their_field(monkeypatch: pytest.MonkeyPatch) -> None:
    """Newlines and quotes in a file's name neither end a line nor a field."""
    name = 'a"\n,b\u202e.png'
    shutil.copy("raw/ant/00.png", name)
    _, printed = predict(monkeypatch, name, "raw/ant/00.png")
    first, second = read_csv(printed)
    assert first["path"] == 'a"\\n,b\\u202e.png'
    assert first["probability"] == second["probability"]


@pytest.mark.usefixtures("alone")
def test_a_spreadsheet_runs_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths that begin as formulas do lead to the same file by ./; such classes are for JSON lines alone."""
    shutil.copy("raw/ant/00.png", "=1+1.png")
    _, printed = predict(monkeypatch, "=1+1.png")
    assert [row["path"] for row in read_csv(printed)] == ["./=1+1.png"]
    checkpoint, weights = read_checkpoint(Path("net.safetensors"))
    renamed = checkpoint.model_copy(update={"classes": ("=1+1", *checkpoint.classes[1:])})
    write_checkpoint(Path("formula.safetensors"), renamed, weights)
    status, printed = predict(
        monkeypatch, "=1+1.png", "--format", "jsonl", "--top-k", "3", checkpoint="formula.safetensors"
    )
    assert status == 0
    assert '"=1+1.png"' in printed
    assert '"=1+1"' in printed
    monkeypatch.setattr(sys, "argv", ["predict", "=1+1.png", "--checkpoint", "formula.safetensors"])
    with keep_torch_settings(), pytest.raises(InputError, match="the class '=1\\+1', which a spreadsheet"):
        main()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["raw", "--output", "raw"], "^--output: raw: is a folder or a device"),
        (["raw", "--output", "/dev/null"], "^--output: /dev/null: is a folder or a device"),
        (["raw", "--output", "/dev/fd/2"], "^--output: /dev/fd/2: is a folder or a device"),
    ],
)
@pytest.mark.usefixtures("alone")
def test_impossible_outputs_are_refused(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    """Nothing but a file is written to; above all no device is replaced by one."""
    monkeypatch.setattr(sys, "argv", ["predict", *arguments, "--checkpoint", "net.safetensors"])
    with keep_torch_settings(), pytest.raises(InputError, match=message):
        main()


def run(*arguments: str, folder: Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run the command as a person does."""
    return subprocess.run(
        [sys.executable, "-m", "tools.predict", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
        **options,
    )


def test_as_a_person_runs_it(alone: Path) -> None:
    """An image on standard input, a list on it, a reader that leaves, and a checkpoint that is missing."""
    image = (alone / "raw/ant/00.png").read_bytes()
    done = run("/dev/stdin", "--checkpoint", "net.safetensors", folder=alone, input=image)
    assert done.returncode == 0, done.stderr
    assert len(read_csv(done.stdout.decode())) == 1
    assert b"1 of 1 files classified" in done.stderr

    done = run("-", "--checkpoint", "net.safetensors", folder=alone, input=b"raw/ant\nno\n")
    assert done.returncode == 3
    assert len(read_csv(done.stdout.decode())) == 21
    assert b"files that cannot be read: 1; `error` says why\n" in done.stderr
    assert b"predict: no: there is no such file or folder\n" in done.stderr

    done = run("raw/ant", "--output", "-", "--checkpoint", "net.safetensors", folder=alone)
    assert done.returncode == 0
    assert len(read_csv(done.stdout.decode())) == 20
    assert not (alone / "-").exists()

    done = run("raw", "--checkpoint", "raw/ant/01.jpg", folder=alone)
    assert done.returncode == 1
    assert done.stderr == (
        b"raw/ant/01.jpg: is a JPEG image; allowed: a checkpoint that train wrote (.safetensors), or an ONNX "
        b"file that export wrote (.onnx)\n"
    )

    done = run("raw", folder=alone)
    assert done.returncode == 1
    assert done.stderr == (
        b"data/model/best.safetensors: there is no such checkpoint; make it with: dvc repro train\n"
    )

    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tools.predict", "raw"),
            *("--checkpoint", "net.safetensors", "--target-accuracy", "0"),
        ],
        cwd=alone,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.usefixtures("alone")
def test_score_of_class_folders(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The nearest folder with the name of a class is the true class; other files do not count."""
    shutil.copy("raw/ant/00.png", "alone.png")
    write_folder(Path("raw/ant/more"), {"a.png": b"junk"})
    status, printed = predict(monkeypatch, "raw", "alone.png", "--score")
    rows = read_csv(printed)
    assert status == 3
    assert {row["path"]: row["label"] for row in rows}["raw/ant/more/a.png"] == "ant"
    assert rows[-1]["label"] == ""
    counted = [row for row in rows if row["label"] and not row["error"]]
    num_correct = sum(row["label"] == row["predicted"] for row in counted)
    share = f"{100 * num_correct / len(counted):.2f} %"
    assert f"{num_correct} of {len(counted)} are correct, {share} (95 % conf" in capsys.readouterr().err
    _, lines = predict(monkeypatch, "raw", "alone.png", "--score", "--format", "jsonl")
    assert [json.loads(line)["label"] for line in lines.splitlines()] == [
        row["label"] or None for row in rows
    ]


@pytest.mark.usefixtures("alone")
def test_score_needs_class_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any, a line says what is looked for."""
    shutil.copy("raw/ant/00.png", "alone.png")
    monkeypatch.setattr(sys, "argv", ["predict", "alone.png", "--score", "--checkpoint", "net.safetensors"])
    with keep_torch_settings(), pytest.raises(InputError, match=r"^--score: no readable file .* such as ant"):
        main()


def test_example_in_python(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of docs/predicting.md run, and find what the command finds."""
    page = (ROOT / "docs" / "predicting.md").read_text(encoding="utf-8")
    (example,) = re.findall("```python\n(.*?)```", page, flags=re.DOTALL)
    Path("photos").mkdir()
    shutil.copy("raw/ant/01.jpg", "photos/1.jpg")
    shutil.copy("raw/bee/04.jpg", "photos/2.jpg")
    (alone / MODEL).mkdir(parents=True)
    shutil.copy("net.safetensors", MODEL / "best.safetensors")
    names: dict[str, Any] = {}
    with keep_torch_settings():
        exec(example, names)
    _, printed = predict(monkeypatch, "photos/1.jpg", "photos/2.jpg")
    assert [(each.path, each.predicted) for each in names["predictions"]] == [
        (row["path"], row["predicted"]) for row in read_csv(printed)
    ]


def test_decoding_is_that_of_ingest(project: Path) -> None:
    """The files become, pixel by pixel, what ingest packed."""
    checkpoint, _ = read_checkpoint(project / MODEL / "best.safetensors")
    assert checkpoint.image.resize == "pad"
    rows = read_csv((project / "data/prepared/index.csv").read_text())
    packed = np.load(project / "data/images/images-00000.npy")
    for row, pixels in zip(rows, packed, strict=True):
        data = (project / "raw" / row["path"]).read_bytes()
        assert np.array_equal(decode_to_form(data, checkpoint.image), pixels)


@pytest.mark.parametrize(("side_px", "batch_size"), [(28, 256), (256, 256), (512, 64), (4096, 1)])
def test_large_images_are_classified_fewer_at_a_time(side_px: int, batch_size: int) -> None:
    """A batch has no more pixels than 256 images of 256 px, so that memory does not grow with the images."""
    image = ImageForm(color="grayscale", height_px=side_px, width_px=side_px, resize="pad")
    assert CheckpointFile(Path("x"), make_checkpoint({}, image=image), b"").batch_size == batch_size


def test_a_gpu_without_memory_is_one_line(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to do, and no table is left that lacks rows."""

    def predict_nothing(*arguments: object, **more: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr("tools.predict.checkpoint_model.compute_batch_logits", predict_nothing)
    with pytest.raises(InputError) as raised:
        predict(monkeypatch, "raw", "--output", "table.csv")
    assert str(raised.value) == (
        "predict: the GPU ran out of memory (tried to allocate 2.00 GiB); "
        "end what else uses it, or use another --device"
    )
    assert not (alone / "table.csv").exists()
