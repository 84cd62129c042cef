"""The command `python -m tools.show`: which images it shows, and the grid it draws of them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from schemas.vision.transforms import Normalize, ToTensor
from stages.vision.transforms import build_transforms
from tools.show import (
    Cell,
    draw_grid,
    has_display,
    name_shares,
    parse_arguments,
    unnormalize,
    write_picture,
)


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


def solid(value: int, *, height: int = 4, width: int = 4, channels: int = 3) -> np.ndarray:
    """Return an image of one value."""
    return np.full((height, width, channels), value, dtype=np.uint8)


def test_before_is_left_and_after_right() -> None:
    """A cell shows both pictures, enlarged by whole pixels, side by side."""
    grid = draw_grid([Cell("cat", solid(10), solid(200))], num_columns=1)
    bottom = grid[-20]
    assert (bottom == 10).all(axis=1).sum() == 96
    assert (bottom == 200).all(axis=1).sum() == 96
    assert (
        np.flatnonzero((bottom == 10).all(axis=1)).max() < np.flatnonzero((bottom == 200).all(axis=1)).min()
    )


def test_colours_are_in_the_order_opencv_shows() -> None:
    """RGB pixels become BGR."""
    red = solid(0)
    red[:, :, 0] = 255
    assert (draw_grid([Cell("", red, red)], num_columns=1) == (0, 0, 255)).all(axis=2).any()


def test_the_label_is_drawn() -> None:
    """Another label gives another picture, and differs only above the images."""
    grids = [draw_grid([Cell(label, solid(10), solid(10))], num_columns=1) for label in ("cat", "dog")]
    rows = np.flatnonzero((grids[0] != grids[1]).any(axis=(1, 2)))
    assert rows.size
    assert rows.max() < 12 + 32


@pytest.mark.parametrize("label", ["", "x" * 500, "schön", "猫", "\u202ereversed"])
def test_any_label_fits(label: str) -> None:
    """Long and foreign labels neither fail nor change the layout."""
    plain = draw_grid([Cell("cat", solid(10), solid(20))], num_columns=1)
    assert draw_grid([Cell(label, solid(10), solid(20))], num_columns=1).shape == plain.shape


@pytest.mark.parametrize(("num", "columns", "rows_wanted"), [(1, 6, 1), (6, 6, 1), (7, 6, 2), (24, 5, 5)])
def test_cells_fill_rows(num: int, columns: int, rows_wanted: int) -> None:
    """There are as many rows as the images need, and no wider than they are many."""
    one = draw_grid([Cell("", solid(1), solid(1))], num_columns=1)
    grid = draw_grid([Cell("", solid(1), solid(1))] * num, num_columns=columns)
    cell_height, cell_width = one.shape[0] - 12, one.shape[1] - 12
    assert grid.shape[0] == rows_wanted * cell_height + 12
    assert grid.shape[1] == min(num, columns) * cell_width + 12


@pytest.mark.parametrize("channels", [1, 3])
def test_large_and_oblong_images_keep_their_pixels(channels: int) -> None:
    """An image that is large enough is shown as it is."""
    image = solid(7, height=100, width=300, channels=channels)
    grid = draw_grid([Cell("", image, image)], num_columns=1)
    assert (grid == 7).all(axis=2).sum() == 2 * 100 * 300


def test_another_size_is_shown_as_it_is() -> None:
    """Transforms may make a picture larger or smaller; both are enlarged alike, side by side."""
    grid = draw_grid(
        [Cell("cat", solid(10, height=48, width=48), solid(200, height=60, width=30))], num_columns=1
    )
    for value, height, width in ((10, 96, 96), (200, 120, 60)):
        rows, columns = np.nonzero((grid == value).all(axis=2))
        assert np.ptp(rows) + 1 == height
        assert np.ptp(columns) + 1 == width
