"""`make photos`, from a folder of photographs to the report, with the real DVC."""

from pathlib import Path

import pytest
import torch
from torchvision import models

from benchmarks.photographs import write_photographs
from tests.pipeline.project import clone_project

pytestmark = pytest.mark.pipeline


def test_one_command_from_a_folder_to_the_report(tmp_path: Path) -> None:
    """Without a network it says how to give weights before an image is read; with a file, it goes on.

    What the user changes in params.yaml in between stays, and a third time there is nothing to do.
    """
    write_photographs(tmp_path / "my photos", 40, num_classes=2)
    project = clone_project(tmp_path / "project", num_epochs=2)
    # -o env: the environment is that of the tests.
    make = (
        f"TORCH_HOME='{tmp_path}' no_proxy= NO_PROXY= https_proxy=http://127.0.0.1:9 "
        "make -o env photos SOURCE='../my photos'"
    )

    told = project.run(make, status=None)
    (line,) = [line for line in told.splitlines() if "cannot be fetched" in line]
    assert "give a file of them as network.weights_file, with network.torchvision.weights: null" in line
    assert not (project.root / "data" / "images").exists()

    torch.save(models.resnet18().state_dict(), project.root / "data" / "weights" / "resnet18.pth")
    for old, new in (
        ("weights_file: data/weights/none", "weights_file: data/weights/resnet18.pth"),
        ("weights: IMAGENET1K_V1", "weights:"),
        ("unfreeze_after_epochs: 3", "unfreeze_after_epochs: 1"),
        ("num_epochs: ", "num_epochs: 2 # "),
        ("threads: 2", "threads: 1"),
    ):
        project.set(old, new)
    params = project.root / "params.yaml"
    params.write_text(params.read_text(encoding="utf-8").replace("_px: 224", "_px: 48"), encoding="utf-8")
    edited = params.read_bytes()

    project.run(make)
    assert params.read_bytes() == edited
    assert (project.root / "data" / "report" / "report.html").exists()
    assert "up to date" in project.run(make)
