"""The exported page in chromium beside tools.predict: `python -m benchmarks.page MODEL.onnx PICTURE...`.

Both have the same model; what differs is who decodes and resizes. Prints for each picture by how much a
probability differs at most, and how long the page takes, decoding included.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from stages.export.onnx_model import read_onnx
from stages.export.web_page import write_page
from tests.evaluate.chromium import Chromium
from tests.export.browser_page import ask_page, wait_for_model
from tools.predict import load

_NUM_TIMED = 5


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    arguments = parser.parse_args()
    program = shutil.which("chromium")
    if program is None:
        sys.exit("there is no chromium here; apt-get install chromium brings it")
    predicted = load(arguments.model).predict(arguments.files, top_k=None)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "page.html")
        write_page(page, arguments.model.read_bytes(), read_onnx(arguments.model).exported)
        print(f"{page.stat().st_size / 2**20:.1f} MiB")
        with Chromium(program, profile=Path(folder, "profile")) as chromium:
            chromium.open(page)
            wait_for_model(chromium)
            changes, milliseconds = [], []
            for path, expected in zip(arguments.files, predicted, strict=True):
                found = ask_page(chromium, path.read_bytes())
                if "error" in found or expected.error:
                    print(f"{path.name}: page: {found.get('error')}; predict: {expected.error}")
                    continue
                before = {each.predicted: each.probability for each in expected.top}
                changes.append(max(abs(value - before[name]) for name, value in found["ranked"]))
                times = [ask_page(chromium, path.read_bytes())["ms"] for _ in range(_NUM_TIMED)]
                milliseconds.append(statistics.median(times))
                label = found["ranked"][0][0]
                same = "same class" if label == expected.predicted else f"{label}, not {expected.predicted}"
                print(f"{path.name}: {same}, {changes[-1]:.2g}, {milliseconds[-1]:.0f} ms")
    if changes:
        print(
            f"largest change {max(changes):.2g}, median {statistics.median(changes):.2g}; "
            f"median time {statistics.median(milliseconds):.0f} ms"
        )


if __name__ == "__main__":
    main()
