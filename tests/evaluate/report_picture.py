"""Make docs/report.png: one screen of a real report, the confusion matrix with the images behind a number.

Run by `make picture`. The picture records a hash of the templates and styles that it shows, for a test.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, PngImagePlugin

from tests.evaluate.chromium import Chromium

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs/report.png"
SHOWN = (
    *(ROOT / f"stages/pages/style/{name}.css" for name in ("page", "charts", "tables")),
    ROOT / "stages/evaluate/report/style/matrix.css",
    ROOT / "stages/evaluate/report/templates/confusion.jinja",
)
LOOK = "look"
_WIDTH, _HEIGHT = 1280, 1040

# The matrix at the top of the window, the images of the largest mistake below it.
_ARRANGE = """
document.documentElement.style.scrollBehavior = "auto";
document.querySelector(".show-cell").click();
window.scrollTo(0, document.getElementById("confusion").getBoundingClientRect().top + scrollY - 30);
"""


def main() -> None:
    """Run the pipeline on a source, or take a report that there is, and write the picture."""
    parser = argparse.ArgumentParser(prog="python -m tests.evaluate.report_picture", description=__doc__)
    parser.add_argument("--source", type=Path, help="an archive as dataset.source may be; default: digits")
    parser.add_argument("-S", dest="changes", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--report", type=Path, help="a report.html, instead of a run of the pipeline")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report = arguments.report or make_report(folder / "clone", arguments.source, arguments.changes)
        write_picture(report, PICTURE, profile=folder / "profile")
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size:,} bytes")


def make_report(clone: Path, source: Path | None, changes: Sequence[str]) -> Path:
    """Run the pipeline in a clone of the last commit, with changes to params.yaml."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    if source:
        shutil.copy(source, clone / "data")
        changes = [f"dataset.source=data/{source.name}", *changes]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["dvc", "exp", "run", *(word for change in changes for word in ("-S", change))]
    subprocess.run(command, cwd=clone, env={**os.environ, "PATH": path}, check=True)
    return clone / "data/report/report.html"


def write_picture(report: Path, picture: Path, *, profile: Path) -> None:
    """Photograph a report in Chromium, and write it as a PNG of 256 colors that says what it shows."""
    program = shutil.which("chromium")
    if program is None:
        sys.exit("there is no chromium here; apt-get install chromium brings it")
    with Chromium(program, profile=profile) as browser:
        browser.open(report.resolve(), width_px=_WIDTH, height_px=_HEIGHT)
        browser.evaluate(_ARRANGE)
        shot = browser.photograph()
    bgr = cv2.imdecode(np.frombuffer(shot, dtype=np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None, "Chromium gives PNGs"
    colors = Image.fromarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)).quantize(256)
    about = PngImagePlugin.PngInfo()
    about.add_text(LOOK, hash_look())
    colors.save(picture, optimize=True, pnginfo=about)


def hash_look() -> str:
    """Return the SHA-256 of the templates and styles that the picture shows."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in SHOWN)).hexdigest()


if __name__ == "__main__":
    main()
