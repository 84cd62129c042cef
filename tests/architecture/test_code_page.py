"""docs/code.md tells how to add a network, a loss ...: its blocks, added to a copy of the code, work."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.imports import ROOT
from tests.vision.completeness import read_params_file

PAGE = (ROOT / "docs" / "code.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n# (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
"""File and code."""

ABOVE = {
    "schemas/vision/network.py": "NetworkName",
    "schemas/train/loss.py": "class Loss(",
    "schemas/train/optimizer.py": "class Optimizer(",
    "stages/train/loss.py": "_BUILDERS",
    "stages/train/optimizer.py": "_BUILDERS",
    "stages/evaluate/metrics.py": "TALLY_METRICS",
}
"""Before what a block belongs in a file that exists."""

LINES = (
    ("schemas/vision/network.py", 'NetworkName = Literal["', 'NetworkName = Literal["mlp", "'),
    ("schemas/vision/network.py", "AnyArchitecture = ", "AnyArchitecture = Mlp | "),
    ("schemas/vision/network.py", "    cnn: Cnn\n", "    cnn: Cnn\n    mlp: Mlp\n"),
    ("schemas/train/loss.py", '    name: Literal["', '    name: Literal["poly", "'),
    ("schemas/train/loss.py", "    focal: Focal\n", "    focal: Focal\n    poly: Poly\n"),
    ("schemas/train/optimizer.py", '    name: Literal["', '    name: Literal["adagrad", "'),
    ("schemas/train/optimizer.py", "    sgd: Sgd\n", "    sgd: Sgd\n    adagrad: Adagrad\n"),
)
"""What the page says in words."""

TABLES = {
    "poly": ("stages/train/loss.py", "_BUILDERS"),
    "adagrad": ("stages/train/optimizer.py", "_BUILDERS"),
    "macro_precision": ("stages/evaluate/metrics.py", "TALLY_METRICS"),
}
"""Where a line belongs that the page gives as it is."""

USE = """
import numpy as np
import torch
from stages.evaluate.metrics import TALLY_METRICS
from stages.params.read import read_params
from schemas.shared.manifest import ImageForm
from stages.train.loss import build_loss
from stages.train.optimizer import build_optimizer
from stages.vision.networks import build_network
from stages.vision.scores import tally_confusion
from stages.vision.transforms import build_transforms

params = read_params()
image = ImageForm(color="rgb", height_px=5, width_px=6, resize="squish")
network = build_network(params.network.chosen(), image=image, num_classes=2)
optimizer = build_optimizer(params.optimizer, network.parameters())
vignette = build_transforms([each for each in params.transforms if each.name == "Vignette"])
images = vignette(torch.full((8, 3, 5, 6), 200, dtype=torch.uint8), samples=np.arange(8))
loss = build_loss(params.loss, class_counts=(1, 1))(network(images / 255), torch.tensor([0, 1] * 4))
loss.backward()
optimizer.step()
precision = TALLY_METRICS["macro_precision"](tally_confusion(np.array([[3, 1], [1, 1]])))
is_darker = bool(images[0, 0, 0, 0] < images[0, 0, 2, 2])
print(type(network).__name__, type(optimizer).__name__, is_darker, float(precision))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the code with all that the page adds."""
    for folder in ("schemas", "stages"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name, code in BLOCKS:
        if (tmp_path / name).exists():
            replace_in(tmp_path / name, f"\n{ABOVE[name]}", f"\n{code}\n\n{ABOVE[name]}")
        else:
            (tmp_path / name).write_text(code, encoding="utf-8")
    for name, old, new in LINES:
        replace_in(tmp_path / name, old, new)
    for key, (name, table) in TABLES.items():
        [line] = re.findall(rf'`("{key}": .*,)`', PAGE)
        text = (tmp_path / name).read_text(encoding="utf-8")
        [opening] = re.findall(rf"\n{table}\b.* = {{\n", text)
        replace_in(tmp_path / name, opening, f"{opening}    {line}\n")
    params = read_params_file()
    params["network"] |= {"name": "mlp", "mlp": {"num_hidden": 4}}
    params["loss"] |= {"name": "poly", "poly": {"epsilon": 1.0}}
    params["optimizer"] |= {"name": "adagrad", "adagrad": {"lr_decay": 0.0}}
    params["transforms"].insert(0, {"Vignette": {"max_strength": 1.0}})
    (tmp_path / "params.yaml").write_text(json.dumps(params), encoding="utf-8")
    return tmp_path


def replace_in(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path.name} does not hold {old}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_what_the_page_adds_works(project: Path) -> None:
    """A network, a loss, an optimizer, a transform and a metric, all at once and by name."""
    done = subprocess.run(
        [sys.executable, "-c", USE], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.stdout == "Sequential Adagrad True 0.625\n", done.stderr
