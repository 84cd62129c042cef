"""The command `python -m stages.show`."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from schemas.vision.transforms import Normalize, ToTensor
from stages.show.__main__ import parse_arguments
from stages.show.display import has_display, write_picture
from stages.show.images import name_shares, unnormalize
from stages.vision.transforms import build_transforms


def test_what_is_shown_is_what_was_normalized() -> None:
    """Undoing Normalize and ToTensor gives back every pixel value."""
    transforms = (
        ToTensor(name="ToTensor"),
        Normalize(name="Normalize", mean=(0.1, 0.5, 0.9), std=(0.3, 0.2, 0.1)),
    )
    images = torch.arange(256, dtype=torch.uint8).repeat(3).reshape(1, 3, 16, 16)
    shown = unnormalize(build_transforms(transforms)(images)[0], transforms)
    assert torch.equal(torch.from_numpy(shown).permute(2, 0, 1), images[0])


def test_mixed_images_are_named_by_their_shares() -> None:
    """Classes with a share, the largest first; a class alone without a number."""
    assert name_shares([0.25, 0.0, 0.75], ["ant", "bee", "cat"]) == "cat 75%, ant 25%"
    assert name_shares([0.0, 1.0, 0.0], ["ant", "bee", "cat"]) == "bee"


def test_a_picture_is_written_as_png(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file holds the very pixels, and the command says where it is."""
    picture = torch.randint(0, 256, (5, 7, 3), dtype=torch.uint8).numpy()
    write_picture(tmp_path / "new" / "grid.png", picture, title="train")
    written = cv2.imread(str(tmp_path / "new" / "grid.png"))
    assert written is not None
    assert np.array_equal(written, picture)
    assert "grid.png" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("--num", "0", "a whole number of at least 1"),
        ("--num", "-1", "a whole number of at least 1"),
        ("--columns", "many", "a whole number of at least 1"),
        ("--output", "grid.jpg", "a file name that ends in .png"),
    ],
)
def test_a_wrong_argument_is_refused(
    option: str,
    value: str,
    allowed: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Before anything is read, in a line that names the argument and what is allowed."""
    monkeypatch.setattr("sys.argv", ["show", option, value])
    with pytest.raises(SystemExit):
        parse_arguments()
    printed = capsys.readouterr().err
    assert option in printed
    assert allowed in printed


def test_linux_without_a_display_has_no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither X nor Wayland: a PNG is written instead."""
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert not has_display()


def test_a_display_that_is_gone_is_no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of a display that nobody serves, as after a broken ssh connection, means a PNG too."""
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setenv("DISPLAY", ":9876")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert not has_display()
