"""The page of the data: what it shows, how large it grows, and that no name can take it over."""

import re
from pathlib import Path

import numpy as np
import pytest

from stages.prepare_dataset.audit import Finding
from stages.prepare_dataset.data_page.histograms import build_histograms
from stages.prepare_dataset.data_page.sections import PAGE_BYTES
from stages.prepare_dataset.data_page.thumbnails import choose_samples
from stages.shared.packed_images import PackedImages
from tests.evaluate.report_page import Page, decode
from tests.prepare_dataset.data_pages import HOSTILE, PATHS, findings_of, render
from tests.prepare_dataset.tables import (
    concatenate,
    other_files,
    table_of,
)


def test_counts_by_class_and_split(tmp_path: Path) -> None:
    """A row of the table for each class, with what is left out, and the sums above."""
    table = concatenate(table_of(PATHS), other_files(["cat/x.png"], "undecodable", reason="cut", label=0))
    html, _ = render(tmp_path, table)
    page = Page(html)
    assert ["cat", "4", "3", "3", "1", ""] in page.rows
    assert "20 images of 2 classes: 7 to train on, 6 to validate, 7 to test." in page.text


def test_broken_files_have_their_reasons(tmp_path: Path) -> None:
    """Each file that is left out is there with why, beside the key that decides."""
    table = concatenate(
        table_of(PATHS), other_files(["cat/x.png"], "undecodable", reason="is cut short", label=0)
    )
    page = Page(render(tmp_path, table)[0])
    assert ["cat/x.png", "is cut short"] in page.rows
    assert "Cannot be decoded: 1 file With dataset.undecodable: error they stop the run." in page.text


def test_a_pair_shows_both_images_once(tmp_path: Path) -> None:
    """A leak is two pictures with class and split, the pixels of their rows, whichever of them is found."""
    table = table_of(PATHS)
    pair = [Finding(1, "is the same file", 1.0, 12), Finding(12, "", 1.0, 1)]
    html, ingested = render(tmp_path, table, findings=findings_of(table, leaks=pair))
    part = html[html.index('id="leaks"') : html.index('id="left-out"')]
    addresses = re.findall('src="([^"]+)"', part)
    stored = PackedImages(tmp_path, ingested.shards)[np.array([1, 12])]
    np.testing.assert_array_equal([decode(address) for address in addresses], stored)
    assert re.findall("<b>.*?>(.*?)</bdi></b>, (.*)</p>", part) == [("cat", "val"), ("dog", "train")]
    assert "split.leaks: warn" in part


@pytest.mark.parametrize(("policy", "words"), [("warn", "with <code>exclude"), ("exclude", "all left")])
def test_a_finding_names_its_keys(tmp_path: Path, policy: str, words: str) -> None:
    """The key that decides about it, its value, what else decides, and what became of it."""
    table = table_of(PATHS)
    table.std[3] = 0
    html, _ = render(tmp_path, table, blank=policy)
    part = html[html.index('id="blank"') : html.index('id="left-out"')]
    assert f"<code>audit.blank: {policy}</code>, <code>audit.blank_std: 3.0</code>" in part
    assert words in part


def test_ignored_kinds_are_folded_away(tmp_path: Path) -> None:
    """They are no finding to look at, but can be opened."""
    table = table_of(PATHS)
    table.std[3] = 0
    page = Page(render(tmp_path, table, blank="ignore")[0])
    assert "The audit found nothing." in page.text
    assert "Ignored by params.yaml: 1 blank" in page.text


def test_every_histogram_counts_every_image() -> None:
    """The bars of each add up to the images; values beyond an axis stand in its last bar."""
    rng = np.random.default_rng(0)
    table = table_of(PATHS, height_px=rng.integers(1, 9000, 20), width_px=rng.integers(1, 9000, 20))
    table.brightness[:] = rng.uniform(0, 255, 20)
    table.std[0] = 500
    histograms, shared = build_histograms(table)
    assert [each.key for each in histograms] == ["size", "shape", "brightness", "contrast", "sharpness"]
    for each in histograms:
        assert sum(int(bar.title.split(": ")[1].split()[0]) for bar in each.bars) == 20
        assert len(each.ticks) >= 2
    assert shared == []


def test_what_all_images_share_is_a_sentence() -> None:
    """One bar would be no histogram."""
    histograms, shared = build_histograms(table_of(PATHS))
    assert [each.key for each in histograms] == ["brightness", "contrast", "sharpness"]
    assert shared == ["All images are 90 x 100 px."]


def test_samples_are_of_their_class_and_hardly_move() -> None:
    """Eight used images of each class at most; a new image replaces one at most."""
    paths = [f"{label}/{i:03}.png" for label in ("cat", "dog") for i in range(50)]
    table = table_of(paths).leave_out({0: "blank"}, "audit")
    samples = choose_samples(table, np.arange(2))
    assert {label: len(some) for label, some in samples.items()} == {0: 8, 1: 8}
    assert all(table.label[row] == label for label, some in samples.items() for row in some)
    assert 0 not in samples[0]
    more = table_of([*paths, "dog/999.png"])
    after = choose_samples(more, np.arange(2))
    assert len(set(after[1]) - set(samples[1])) <= 1


def test_a_thousand_classes_are_below_the_limit(tmp_path: Path) -> None:
    """The largest page: long names, pixels of noise, and a full house of findings."""
    table = table_of([f"{'long name ' * 20}{label:04}/{i}.png" for label in range(1100) for i in range(3)])
    found = [Finding(row, "detail " * 30, 1.0, row + 1) for row in range(0, 200, 2)]
    findings = findings_of(table, leaks=found, copies=found, blank=found, near_duplicates=found)
    html, _ = render(tmp_path, table, findings=findings)
    assert 1_000_000 < len(html.encode()) < PAGE_BYTES
    assert html.count('<li class="class">') == 1000


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    """Names of classes and files are text, whatever they hold; nothing is loaded from elsewhere."""
    table = table_of([f"{name}/{name}\udce9{i}".replace("</", "<\\") for name in HOSTILE for i in range(3)])
    table.std[:] = 0
    html, _ = render(tmp_path, table)
    page = Page(html)
    assert "alert" not in page.script
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert "{{ 7 * 7 }}" in page.text
    for _, attributes in page.elements:
        for key in ("src", "href"):
            assert (attributes.get(key) or "#").startswith(("data:image/", "#"))
    assert html.encode("utf-8")


def test_ids_stand_once_and_links_lead_somewhere(tmp_path: Path) -> None:
    """Headings and navigation say the same."""
    table = table_of(PATHS)
    table.std[3] = 0
    html, _ = render(tmp_path, table)
    elements = Page(html).elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {(attributes["href"] or "")[1:] for tag, attributes in elements if tag == "a"}
    assert links <= set(ids)
    nav = re.findall('<a href="#([\\w-]+)">(.*?)</a>', html[html.index("<nav") : html.index("</nav>")])
    assert nav == re.findall('<h2 id="([\\w-]+)-heading">(.*?)</h2>', html)


def test_the_same_bytes_every_time(tmp_path: Path) -> None:
    """The page repeats byte for byte."""
    table = table_of(PATHS)
    table.std[3] = 0
    assert render(tmp_path / "a", table)[0] == render(tmp_path / "b", table)[0]
