"""The picture of the worst findings."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from stages.prepare_dataset.audit import IMAGE_KINDS, Finding, Findings
from stages.prepare_dataset.contact_sheet import Pixels, write_contact_sheet
from stages.shared.files import describe_file
from stages.shared.packed_images import PackedImages
from tests.prepare_dataset.tables import audit_params, table_of

COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 0, 255), (0, 255, 255)]
TABLE = table_of(
    [f"é{'ab'[i % 2]}/{i}{'x' * 200}.png" for i in range(5)],
    row=np.array([4, 3, 2, 1, 0]),
)


@pytest.fixture
def images(tmp_path: Path) -> PackedImages:
    """Return five images, each of one colour, two a shard, in the opposite order of the table."""
    pixels = np.broadcast_to(np.array(COLORS[::-1], dtype=np.uint8)[:, None, None], (5, 4, 6, 3))
    paths = [tmp_path / f"images-{number}.npy" for number in range(3)]
    for number, path in enumerate(paths):
        np.save(path, pixels[2 * number : 2 * number + 2])
    return PackedImages(tmp_path, [describe_file(path) for path in paths])


def draw(findings: Findings, images: PackedImages, folder: Path, **policies: str) -> Pixels | None:
    """Return the sheet (height, width, 3) in RGB order; None if there is none."""
    path = folder / "worst.png"
    path.unlink(missing_ok=True)
    write_contact_sheet(
        path,
        findings,
        TABLE,
        audit_params(**policies),
        classes=("éa", "éb"),
        open_images=lambda: images,
    )
    if not path.exists():
        return None
    sheet = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR_RGB)
    return np.asarray(sheet, dtype=np.uint8)


def colors_in(sheet: Pixels | None) -> list[int]:
    """Return which of the images are on a sheet, by the place of their left edge."""
    assert sheet is not None
    places = {i: np.argwhere((sheet == color).all(axis=2)) for i, color in enumerate(COLORS)}
    shown = {i: tuple(place.min(axis=0)) for i, place in places.items() if len(place) > 1000}
    return sorted(shown, key=lambda i: (shown[i][0] // 60, shown[i][1]))


def findings_of(**found_images: list[Finding]) -> Findings:
    return Findings({kind: found_images.get(kind, []) for kind in IMAGE_KINDS}, {}, np.arange(2), 1.0)


def test_worst_first_each_with_its_twin(images: PackedImages, tmp_path: Path) -> None:
    """Images stand in the order of the findings, in their own colours, followed by what they are like."""
    blank = [Finding(4, "flat", 2.0), Finding(1, "flatter", 1.0)]
    copies = [Finding(3, "the same", 1.0, 0)]
    sheet = draw(findings_of(blank=blank, copies=copies), images, tmp_path)
    assert colors_in(sheet) == [4, 1, 3, 0]


def test_a_pair_is_shown_once(images: PackedImages, tmp_path: Path) -> None:
    """Of two findings about each other one is enough."""
    pair = [Finding(3, "", 1.0, 0), Finding(0, "", 1.0, 3)]
    one = draw(findings_of(conflicting_labels=pair[:1]), images, tmp_path)
    both = draw(findings_of(conflicting_labels=pair), images, tmp_path)
    assert one is not None
    assert both is not None
    np.testing.assert_array_equal(one[40:], both[40:])  # the number in the heading differs


def test_ignored_kinds_are_not_shown(images: PackedImages, tmp_path: Path) -> None:
    """Nothing to show is no picture."""
    findings = findings_of(blank=[Finding(2, "flat", 1.0)])
    assert colors_in(draw(findings, images, tmp_path)) == [2]
    assert draw(findings, images, tmp_path, blank="ignore") is None
    assert draw(findings_of(), images, tmp_path) is None


def test_the_sheet_is_bounded(images: PackedImages, tmp_path: Path) -> None:
    """A million findings of a kind are two rows of tiles."""
    many = [Finding(i % 5, "flat", 1.0) for i in range(5)] * 100
    sheet = draw(findings_of(blank=many, extreme_size=many), images, tmp_path)
    assert sheet is not None
    assert sheet.shape[0] < 1000


def test_two_sheets_are_the_same_bytes(images: PackedImages, tmp_path: Path) -> None:
    """Outputs repeat byte for byte."""
    findings = findings_of(blank=[Finding(2, "flat", 1.0)])
    draw(findings, images, tmp_path)
    first = (tmp_path / "worst.png").read_bytes()
    draw(findings, images, tmp_path)
    assert (tmp_path / "worst.png").read_bytes() == first
