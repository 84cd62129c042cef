"""The page of the data in a real browser: nothing fails or is fetched, phones show it, tables sort."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.evaluate.chromium import Chromium
from tests.prepare_dataset.data_pages import HOSTILE, PATHS, render
from tests.prepare_dataset.tables import concatenate, other_files, table_of

BROKEN = other_files(["cat/" + "folder" * 50], "undecodable", reason="is cut " * 50, label=0)
TABLES = {
    "plain": concatenate(table_of(PATHS), BROKEN),
    "many": table_of([f"{'long name ' * 20}{label:03}/{i}.png" for label in range(300) for i in range(3)]),
    "hostile": table_of(
        [f"{name}/{name}\udce9{i}".replace("</", "<\\") for name in HOSTILE for i in range(3)]
    ),
}


def test_opens_without_errors(tmp_path: Path) -> None:
    """No error, no request but the file itself, no sideways scrolling on a desktop or a phone."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium here; apt-get install chromium brings it")
    with Chromium(program, profile=tmp_path / "profile") as chromium:
        for kind, table in TABLES.items():
            table.std[3] = 0
            table.sharpness[:] = np.linspace(0, 1, len(table))
            file = tmp_path / f"{kind}.html"
            file.write_text(render(tmp_path / kind, table)[0], encoding="utf-8")
            for width_px, dark in ((1280, False), (390, True)):
                chromium.open(file, width_px=width_px, dark=dark)
                assert chromium.errors == []
                assert chromium.evaluate("document.documentElement.scrollWidth") <= width_px
                assert chromium.evaluate("document.title").startswith("Data: ")
            chromium.evaluate("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
            assert chromium.evaluate(
                "Promise.all([...document.images].map(image => image.decode())).then(() => true)"
            )
        addresses = {address for address in chromium.requests if not address.startswith("data:")}
        assert addresses == {(tmp_path / f"{kind}.html").as_uri() for kind in TABLES}
        chromium.open(tmp_path / "plain.html")
        chromium.click("#classes th:first-child button")
        chromium.click("#classes th:first-child button")
        classes = "[...document.querySelectorAll('#classes tbody th')].map(cell => cell.innerText)"
        assert chromium.evaluate(classes) == ["dog", "cat"]
