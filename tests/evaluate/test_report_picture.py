"""The picture of the report in README.md."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from stages.evaluate.report.render import render_report
from tests.evaluate.report_content import make_content
from tests.evaluate.report_picture import LOOK, PICTURE, hash_look, write_picture


def test_the_picture_is_not_stale() -> None:
    """It shows the templates and styles as they are; `make picture` takes it again."""
    with Image.open(PICTURE) as picture:
        assert picture.info[LOOK] == hash_look(), "docs/report.png is stale: make picture"


def test_the_picture_is_one_screen(tmp_path: Path) -> None:
    """A picture of any report is as large, and says what it shows."""
    if shutil.which("chromium") is None:
        pytest.skip("there is no chromium here")
    (tmp_path / "report.html").write_text(render_report(make_content()), encoding="utf-8")
    write_picture(tmp_path / "report.html", tmp_path / "shot.png", profile=tmp_path / "profile")
    with Image.open(tmp_path / "shot.png") as picture:
        assert picture.size == (1280, 1040)
        assert picture.info[LOOK] == hash_look()
