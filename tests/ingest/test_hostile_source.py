"""A source full of damaged and odd files goes through the whole stage, and each is accounted for."""

import re
from collections import Counter
from pathlib import Path

import pytest

from stages.images.image_table import STATUSES, read_ingested
from stages.ingest.__main__ import main as ingest
from stages.shared.paths import IMAGES
from tests.images.hostile import hostile_files
from tests.images.samples import whole_files
from tests.images.test_mutations import mutate
from tests.images.trees import encode, photograph, write_folder
from tests.train.project import write_params

NUM_MUTATIONS = 200
NUM_SOUND = 40
CASES = hostile_files()


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Return status and reason of every file, by the file's path; two classes get half the files each."""
    folder = tmp_path_factory.mktemp("hostile")
    whole = list(whole_files().values())
    hostile = [case.data for case in CASES.values()]
    mutated = [mutate(whole[seed % len(whole)], seed) for seed in range(NUM_MUTATIONS)]
    sound = [encode(photograph(seed=seed), ".png") for seed in range(NUM_SOUND)]
    kinds = {"hostile": hostile, "mutated": mutated, "sound": sound}
    files = {
        f"{('cat', 'dog')[i % 2]}/{kind}-{i:04}.jpg": data
        for kind, some in kinds.items()
        for i, data in enumerate(some)
    }
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        monkeypatch.delenv("DVC_ROOT", raising=False)
        write_folder(folder / "raw", files)
        write_params(folder, dataset__source="raw", dataset__color="rgb", dataset__undecodable="exclude")
        ingest()
        ingested, table = read_ingested(folder / IMAGES)
    found = {
        path: {"status": STATUSES[status], "reason": reason}
        for path, status, reason in zip(table.path, table.status, table.reason, strict=True)
    }
    assert ingested.num_images == sum(row["status"] == "decoded" for row in found.values())
    assert sorted(found) == sorted(files)
    return found


def test_every_refusal_is_named_with_its_reason(rows: dict[str, dict[str, str]]) -> None:
    """No file is missing from the table; what is left out says why, and nothing else does."""
    assert len(rows) == len(CASES) + NUM_MUTATIONS + NUM_SOUND
    for path, row in rows.items():
        assert (row["status"] == "decoded") != bool(row["reason"]), path
        assert row["reason"].isprintable()


def test_what_becomes_of_each(rows: dict[str, dict[str, str]]) -> None:
    """Damaged files are refused for what is wrong with them; odd ones are taken."""
    for i, (name, case) in enumerate(CASES.items()):
        row = rows[f"{('cat', 'dog')[i % 2]}/hostile-{i:04}.jpg"]
        if case.reason:
            assert row["status"] == "undecodable", name
            assert re.search(case.reason, row["reason"]), (name, row["reason"])
        else:
            assert row["status"] == "decoded", (name, row["reason"])


def test_sound_images_suffer_nothing(rows: dict[str, dict[str, str]]) -> None:
    """Those between the damaged ones are decoded, every one."""
    fates = Counter(row["status"] for path, row in rows.items() if "sound" in Path(path).name)
    assert fates == {"decoded": NUM_SOUND}
