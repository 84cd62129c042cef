"""The Dockerfile: what it installs is all that serving an exported model imports."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.vision.completeness import ROOT

DOCKERFILE = (ROOT / "tools/serve/Dockerfile").read_text()
REQUIREMENTS = (ROOT / "tools/serve/requirements.txt").read_text()

LIST_LIBRARIES = """
import sys
import onnxruntime, tools.serve.__main__, tools.serve.running, tools.predict.reading
from importlib.metadata import packages_distributions
owners = packages_distributions()
print(*sorted({owner for name in sys.modules for owner in owners.get(name, ())}))
"""


def normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_everything_imported_is_pinned() -> None:
    """And torch is neither."""
    pinned = set(re.findall(r"^([a-z0-9-]+)==", REQUIREMENTS, flags=re.MULTILINE))
    output = subprocess.run(
        [sys.executable, "-c", LIST_LIBRARIES], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    imported = {normalize(name) for name in output.split()}
    imported = {"opencv-python-headless" if name == "opencv-python" else name for name in imported}
    tools_of_this_environment = {"setuptools", "coverage", "orjson"}
    assert imported - tools_of_this_environment <= pinned
    assert "torch" not in imported | pinned


def test_versions_are_those_of_the_environment() -> None:
    """So that predictions are those of tools.predict: one version of everything."""
    lock = (ROOT / "requirements.lock").read_text()
    for name, version in re.findall(r"^([a-z0-9-]+)==(\S+)", REQUIREMENTS, flags=re.MULTILINE):
        locked = "opencv-python" if name == "opencv-python-headless" else name
        assert f"\n{locked}=={version} " in lock, name


def test_it_runs_as_nobody_and_copies_what_is_there() -> None:
    """With a health check, and no secrets or caches of the project in it."""
    copied = re.findall(r"^COPY (\S+) ", DOCKERFILE, flags=re.MULTILINE)
    allowed = (ROOT / "tools/serve/Dockerfile.dockerignore").read_text().splitlines()
    assert all(any(path.startswith(line[1:]) for line in allowed if line.startswith("!")) for path in copied)
    assert all((ROOT / path).exists() for path in copied if not path.startswith("data/"))
    assert re.search(r"^USER [1-9]", DOCKERFILE, flags=re.MULTILINE)
    assert "HEALTHCHECK" in DOCKERFILE
    assert "--require-hashes" in DOCKERFILE


@pytest.mark.skipif("DARKROOM_IMAGE" not in os.environ, reason="installs 200 MB: make image-test")
@pytest.mark.timeout(900)
def test_the_pinned_requirements_install_and_serve(tmp_path: Path) -> None:
    """In an environment with nothing else, from a folder with what the Dockerfile copies."""
    import shutil

    from tests.images.trees import encode, photograph
    from tests.tools.predict.models import export, write_tiny_checkpoint
    from tests.tools.serve.http import form, send, serve
    from tests.vision.torch_state import keep_torch_settings
    from tools.predict import load

    write_tiny_checkpoint(tmp_path / "net.safetensors")
    export(tmp_path / "net.safetensors", tmp_path / "model.onnx")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    python = tmp_path / "env/bin/python"
    (install,) = re.findall(r"^RUN pip (install .*) -r ", DOCKERFILE, flags=re.MULTILINE)
    requirements = ["-r", str(ROOT / "tools/serve/requirements.txt")]
    subprocess.run([python, "-m", "pip", *install.split(), "--quiet", *requirements], check=True)
    folder = tmp_path / "darkroom"
    for name in ("schemas", "stages", "tools"):
        shutil.copytree(ROOT / name, folder / name)
    image = encode(photograph(3), ".jpg")
    with keep_torch_settings():
        expected = load(tmp_path / "model.onnx").compute_probabilities([image])
    with serve("--model", "../model.onnx", folder=folder, python=python, path=folder) as server:
        reply = send(server.port, body=form(image))
    assert reply.status == 200
    found = reply.json["predictions"][0]["probabilities"]
    assert [found[name] for name in ("ant", "bee", "unknown")] == expected[0].tolist()
