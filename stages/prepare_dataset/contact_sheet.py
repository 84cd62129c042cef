"""A picture of the worst findings of the audit, to look at before trusting a policy."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from schemas.audit.finding import ImageKind, LeakKind
from schemas.prepare_dataset.audit import Audit
from schemas.shared.manifest import SPLIT_NAMES
from stages.images.image_table import ImageTable
from stages.prepare_dataset.audit import IMAGE_KINDS, Finding, Findings
from stages.shared.packed_images import PackedImages

Pixels = npt.NDArray[np.uint8]

_TILE_PX = 112
_GAP_PX = 10
_CAPTION_PX = 30
_HEADING_PX = 34
_PER_ROW = 8
_MAX_ROWS = 2
"""Of tiles for each kind; data/audit/findings.csv has all."""

_PAIRED: dict[ImageKind | LeakKind, str] = {
    "copies": "same file as the next",
    "near_duplicates": "looks like the next",
}
_PAPER, _INK, _FAINT = (255, 255, 255), (30, 30, 30), (120, 120, 120)


class _Tile(NamedTuple):
    row: int
    caption: str
    detail: str


def write_contact_sheet(
    path: Path,
    findings: Findings,
    table: ImageTable,
    audit: Audit,
    *,
    classes: Sequence[str],
    open_images: Callable[[], PackedImages],
) -> None:
    """Write a PNG with the worst images of each kind that is not ignored; nothing where there are none.

    An image that is compared with another one is followed by it.

    Args:
        path: Where the picture goes.
        findings: What was found.
        table: The files.
        audit: Which kinds are ignored.
        classes: All class names.
        open_images: Opens the shards, called only if there is something to show.
    """
    sections = []
    if findings.leaks:
        heading = f"leaks, in two splits: {len(findings.leaks):,}"
        sections.append((heading, _pick_tiles("leaks", findings.leaks, table, classes)))
    for kind in IMAGE_KINDS:
        found = [] if getattr(audit, kind) == "ignore" else findings.images[kind]
        if found:
            heading = f"{kind} ({getattr(audit, kind)}): {len(found):,}"
            sections.append((heading, _pick_tiles(kind, found, table, classes)))
    if not sections:
        return
    starts = np.cumsum([0, *(_section_height(len(tiles)) for _, tiles in sections)])
    width = _GAP_PX + _PER_ROW * (_TILE_PX + _GAP_PX)
    sheet = np.full((int(starts[-1]) + _GAP_PX, width, 3), _PAPER, dtype=np.uint8)
    shown = np.unique([tile.row for _, tiles in sections for tile in tiles])
    pixels = dict(zip(shown.tolist(), open_images()[table.row[shown]], strict=True))
    for top, (heading, tiles) in zip(starts.tolist(), sections, strict=False):
        _write(sheet, heading, left=_GAP_PX, bottom=top + 24, scale=0.55, color=_INK)
        for place, tile in enumerate(tiles):
            left = _GAP_PX + place % _PER_ROW * (_TILE_PX + _GAP_PX)
            y = top + _HEADING_PX + place // _PER_ROW * (_TILE_PX + _CAPTION_PX + _GAP_PX)
            _paste(sheet, pixels[tile.row], left=left, top=y)
            for line, (text, color) in enumerate(((tile.caption, _INK), (tile.detail, _FAINT))):
                _write(sheet, text, left=left, bottom=y + _TILE_PX + 12 + 13 * line, scale=0.33, color=color)
    written, data = cv2.imencode(".png", sheet[..., ::-1])
    assert written
    path.write_bytes(data.tobytes())


def _pick_tiles(
    kind: ImageKind | LeakKind, found: Sequence[Finding], table: ImageTable, classes: Sequence[str]
) -> list[_Tile]:
    """Return the worst images of a kind, each followed by the one it is compared with, each pair once."""
    tiles: list[_Tile] = []
    seen: set[frozenset[int]] = set()
    for finding in found:
        rows = [finding.row] if finding.twin is None else [finding.row, finding.twin]
        if frozenset(rows) in seen or len(tiles) + len(rows) > _PER_ROW * _MAX_ROWS:
            continue
        seen.add(frozenset(rows))
        labels = [classes[table.label[row]] for row in rows]
        details = [_PAIRED.get(kind, finding.detail), ""]
        if kind == "conflicting_labels":
            details = [f"{labels[0]} or {labels[1]}?", ""]
        elif kind == "leaks":
            details = [f"in {SPLIT_NAMES[max(0, table.split.item(row))]}" for row in rows]
        tiles += [
            _Tile(row, f"{label}/{table.path[row].rpartition('/')[2]}", detail)
            for row, label, detail in zip(rows, labels, details, strict=False)
        ]
    return tiles


def _section_height(num_tiles: int) -> int:
    num_rows = -(-num_tiles // _PER_ROW)
    return _HEADING_PX + num_rows * (_TILE_PX + _CAPTION_PX + _GAP_PX)


def _paste(sheet: Pixels, image: Pixels, *, left: int, top: int) -> None:
    """Put an image (height, width, channels) into its tile, as large as fits, small ones pixel by pixel."""
    height, width = image.shape[:2]
    image = np.broadcast_to(image, (height, width, 3)).copy()
    scale = _TILE_PX / max(height, width)
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    scaled = cv2.resize(image, shape, interpolation=cv2.INTER_NEAREST if scale > 1 else cv2.INTER_AREA)
    sheet[top : top + _TILE_PX, left : left + _TILE_PX] = 235
    y, x = top + (_TILE_PX - shape[1]) // 2, left + (_TILE_PX - shape[0]) // 2
    sheet[y : y + shape[1], x : x + shape[0]] = scaled


def _write(
    sheet: Pixels, text: str, *, left: int, bottom: int, scale: float, color: tuple[int, int, int]
) -> None:
    """Write text, cut to the width of a tile where it is small; OpenCV's letters are ASCII."""
    ascii_text = text.encode("ascii", "backslashreplace").decode("ascii")
    if scale < 0.5:
        while ascii_text and cv2.getTextSize(ascii_text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0] > _TILE_PX:
            ascii_text = ascii_text[:-1]
    cv2.putText(sheet, ascii_text, (left, bottom), cv2.FONT_HERSHEY_SIMPLEX, scale, color, 1, cv2.LINE_AA)
