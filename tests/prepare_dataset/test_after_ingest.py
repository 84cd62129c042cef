"""Both stages, one after the other: from image files to splits."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from schemas.prepare_dataset.split import Split
from schemas.shared.manifest import IndexRow, Manifest
from stages.ingest.__main__ import main as ingest
from stages.prepare_dataset.__main__ import main as prepare
from stages.shared.errors import InputError
from stages.shared.files import read_sealed_json
from tests.images.samples import save
from tests.images.trees import class_folders, encode, photograph, picture, write_folder, write_zip
from tests.ingest.test_ingest import params_with
from tests.prepare_dataset.index_rows import read_used_rows

PREPARED = Path("data/prepared")
Run = Callable[..., tuple[Manifest, dict[str, IndexRow]]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs both stages and returns the manifest and the used lines of the index."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)

    def run_both(
        source: str = "raw", *, split: Mapping[str, object] | None = None, **dataset: object
    ) -> tuple[Manifest, dict[str, IndexRow]]:
        params = params_with(source=source, **dataset)
        changed = Split.model_validate({**params.split.model_dump(), **(split or {})})
        params = params.model_copy(update={"split": changed})
        monkeypatch.setattr("stages.params.read.read_params", lambda: params)
        ingest()
        prepare()
        manifest = read_sealed_json(PREPARED / "manifest.json", Manifest, made_by="")
        return manifest, {row.path: row for row in read_used_rows(PREPARED / "index.csv")}

    return run_both


def test_copies_and_near_duplicates_stay_together(run: Run) -> None:
    """Copies, and pictures saved again as JPEG, are in the split of their original; the index names it."""
    files = {
        f"{label}/{i}.png": encode(photograph(i + 50 * (label == "b"))) for label in "ab" for i in range(20)
    }
    files |= {f"a/{i}-copy.png": files[f"a/{i}.png"] for i in range(10)}
    files |= {f"b/{i}-again.jpg": encode(photograph(i + 50), ".jpg") for i in range(10)}
    write_folder(Path("raw"), files)
    _, rows = run()
    for i in range(10):
        for first, second in ((f"a/{i}-copy.png", f"a/{i}.png"), (f"b/{i}-again.jpg", f"b/{i}.png")):
            assert rows[first].split == rows[second].split
            assert rows[first].group == rows[second].group == first


def test_renaming_moves_no_image(run: Run) -> None:
    """A file keeps its split when it is renamed, also in another form and colour."""
    files = class_folders(num_images=40)
    write_folder(Path("raw"), files)
    before = {row.sha256: row.split for row in run()[1].values()}
    write_folder(Path("more"), {path.replace("/", "/x-"): data for path, data in files.items()})
    rows = run("more", height_px=9, color="grayscale")[1].values()
    assert {row.sha256: row.split for row in rows} == before


def test_form_and_colour_move_no_image(run: Run) -> None:
    """Near duplicates, and so the splits, are those of the files: at 28 px, at 300, in gray, cropped."""
    files = {
        f"{label}/{i}-{quality}.jpg": save(
            photograph(i + 50 * (label == "b"), height=620, width=1030), "JPEG", quality=quality
        )
        for label in "ab"
        for i in range(6)
        for quality in (20, 90)
    }
    write_folder(Path("raw"), files)
    forms: list[dict[str, object]] = [
        {"height_px": 28, "width_px": 28},
        {"height_px": 300, "width_px": 40},
        {"height_px": 28, "width_px": 28, "color": "grayscale"},
        {"height_px": 64, "width_px": 64, "resize": "crop"},
    ]
    first, *others = [run(split={"near_duplicate_bits": 8}, **form)[1] for form in forms]
    assert {row.phash for row in first.values()} != {""}
    assert all(rows == first for rows in others)


def test_a_folder_and_an_archive_of_it_are_split_alike(run: Run) -> None:
    """Also by groups, whose pattern does not see the folder around everything in the archive."""
    files = {
        f"{label}/p{i % 9}-{i}.png": picture(i + 50 * (label == "b")) for label in "ab" for i in range(40)
    }
    write_folder(Path("raw"), files)
    manifest, rows = run(split={"group": r"/p(\d)-"})
    write_zip(Path("raw.zip"), {f"my pets/{path}": data for path, data in files.items()})
    zipped_manifest, zipped = run("raw.zip", split={"group": r"/p(\d)-"})
    assert {path.removeprefix("my pets/"): row.split for path, row in zipped.items()} == {
        path: row.split for path, row in rows.items()
    }
    for name in ("labels", "splits", "rows"):
        assert getattr(zipped_manifest, name) == getattr(manifest, name)


def test_a_table_gives_classes_splits_and_groups(run: Run) -> None:
    """All three reach the index; images that it does not name are left out."""
    images = {f"{i}.png": picture(i) for i in range(31)}
    lines = [f"{i}.png,{'ab'[i % 2]},{'test' if i > 19 else 'train'},g{i % 10 // 2}" for i in range(30)]
    write_folder(
        Path("raw"), {**images, "labels.csv": "\n".join(["path,label,split,group", *lines]).encode()}
    )
    manifest, rows = run(labels="labels.csv", split={"group": "column", "leaks": "ignore"})
    assert manifest.classes == ("a", "b")
    assert manifest.counts.test == (5, 5)
    assert {path: row.label for path, row in rows.items()} == {f"{i}.png": "ab"[i % 2] for i in range(30)}
    assert rows["0.png"].split == rows["1.png"].split == rows["10.png"].split == rows["11.png"].split


def test_a_class_folder_that_is_a_link(run: Run) -> None:
    """It is refused by name, never left out in silence."""
    write_folder(Path("raw"), class_folders())
    write_folder(Path("elsewhere"), class_folders(("mouse",)))
    Path("raw/mouse").symlink_to("../elsewhere/mouse", target_is_directory=True)
    with pytest.raises(
        InputError, match=r"class mouse: found no usable images.*links to folders are not followed"
    ):
        run()
