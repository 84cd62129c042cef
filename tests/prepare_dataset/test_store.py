"""Decoded pixels come back as they were, whatever happened to the folder meanwhile."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.images.decode import DEFAULT_LIMITS
from stages.images.resize import Pixels
from stages.prepare_dataset.fingerprint import MEASURED, Measured
from stages.prepare_dataset.known import PLACE, Places
from stages.prepare_dataset.store import PixelStore, open_store
from stages.shared.files import check_file
from tests.faults.full_disk import NoSmallDisk, fill_up, small_disk
from tests.images.trees import form

FORM = form(height_px=2, width_px=2)
PER_SHARD = 4
NOTHING = np.empty(0, dtype=PLACE)


@pytest.fixture
def store(tmp_path: Path) -> Callable[[], PixelStore]:
    """Open the store as another run would."""
    return lambda: PixelStore(tmp_path / "store", FORM, shard_bytes=PER_SHARD * 12)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    folder = tmp_path / "published"
    folder.mkdir()
    return folder


def images(num_images: int, *, first: int = 0) -> Pixels:
    """Return images (num_images, 2, 2, 3), each of one colour."""
    colours = np.arange(first, first + num_images, dtype=np.uint8)
    return np.broadcast_to(colours[:, None, None, None], (num_images, 2, 2, 3)).copy()


def prints(num_images: int, *, first: int = 0) -> Measured:
    """Return fingerprints of images, each of another file."""
    rows = np.zeros(num_images, dtype=MEASURED)
    rows["fingerprint"]["sha256"][:, 7] = np.arange(first, first + num_images)
    rows["fingerprint"]["std"] = np.arange(first, first + num_images)
    return rows


def fill(store: PixelStore, num_images: int) -> Places:
    """Append images, a few at a time, and return where they are."""
    places = [
        store.append(
            prints(min(3, num_images - start), first=start), images(min(3, num_images - start), first=start)
        )
        for start in range(0, num_images, 3)
    ]
    store.finish_pack()
    return np.concatenate(places)


def colours(store: PixelStore, places: Places) -> list[int]:
    """Return the colour of the images at some places."""
    return [colour for block in store.gather(places) for colour in block[:, 0, 0, 0].tolist()]


def keep_all(store: PixelStore, places: Places, folder: Path, *, left_out: int = 0) -> None:
    """Publish all images but the last few, and keep them all."""
    used = len(places) - left_out
    shards = store.publish(folder, places[:used], left_out=places[used:])
    rows = np.arange(len(places))
    store.keep(
        folder,
        shards,
        measured=prints(len(places)).__getitem__,
        used=rows[:used],
        left_out=rows[used:],
        left_out_places=places[used:],
    )


def test_images_are_where_they_were_put(store: Callable[[], PixelStore]) -> None:
    """Any of them, in any order, over several packs."""
    opened = store()
    places = fill(opened, 11)
    assert colours(opened, places[[10, 0, 5, 5, 3]]) == [10, 0, 5, 5, 3]


def test_nothing_is_known_at_first(store: Callable[[], PixelStore]) -> None:
    """An empty store knows no image."""
    assert len(store().read_known()) == 0


@pytest.mark.parametrize("left_out", [0, 3])
def test_the_next_run_knows_all(store: Callable[[], PixelStore], published: Path, left_out: int) -> None:
    """Also what was decoded and left out; DVC's removing the outputs takes nothing away."""
    opened = store()
    keep_all(opened, fill(opened, 11), published, left_out=left_out)
    shutil.rmtree(published)
    again = store()
    known = again.read_known()
    assert known["measured"]["fingerprint"]["std"].tolist() == list(range(11))
    assert (np.diff(known["key"].astype(np.int64)) > 0).all()
    assert colours(again, known["place"]) == list(range(11))


def test_a_killed_run_leaves_its_whole_packs(store: Callable[[], PixelStore]) -> None:
    """What was not finished is decoded again, the rest is not."""
    opened = store()
    for start in range(0, 10, 2):
        opened.append(prints(2, first=start), images(2, first=start))
    opened.close()
    again = store()
    assert again.read_known()["measured"]["fingerprint"]["std"].tolist() == list(range(8))
    assert colours(again, again.read_known()["place"]) == list(range(8))


@pytest.mark.parametrize("name", ["pixels", "table"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damaged_packs_are_not_used(
    store: Callable[[], PixelStore], tmp_path: Path, name: str, damage: str
) -> None:
    """One flipped byte, a missing end, or a missing file: the pack is forgotten, and the others are not."""
    fill(store(), 8)
    table = min((tmp_path / "store").glob("*.table.npy"))
    path = table if name == "table" else tmp_path / "store" / f"{table.name.split('.')[0]}.npy"
    data = bytearray(path.read_bytes())
    path.unlink()
    if damage != "remove":
        data[-1] ^= 1
        path.write_bytes(data if damage == "flip" else data[:-1])
    again = store()
    known = again.read_known()
    assert len(known) == 4
    assert colours(again, known["place"]) == known["measured"]["fingerprint"]["std"].astype(int).tolist()
    assert len(list((tmp_path / "store").glob("*.npy"))) == 3  # pixels, table, known.npy


@pytest.mark.parametrize("order", [list(range(11)), [*range(4), *range(5, 11)], list(range(10, -1, -1))])
def test_published_shards(store: Callable[[], PixelStore], published: Path, order: list[int]) -> None:
    """They are the images in order, of bounded size, described as they are, linked or copied."""
    opened = store()
    shards = opened.publish(published, fill(opened, 11)[order], left_out=NOTHING)
    arrays = [np.load(check_file(published, shard, made_by="")) for shard in shards]
    assert np.concatenate(arrays)[:, 0, 0, 0].tolist() == order
    assert [len(array) for array in arrays] == [4, 4, len(order) - 8]
    assert sorted(path.name for path in published.iterdir()) == [shard.name for shard in shards]


def test_what_was_published_takes_no_more_room(store: Callable[[], PixelStore], published: Path) -> None:
    """A kept pack and its shard are one file."""
    opened = store()
    keep_all(opened, fill(opened, 8), published)
    assert all(path.stat().st_nlink == 2 for path in published.iterdir())


def test_what_is_no_longer_used_goes(
    store: Callable[[], PixelStore], published: Path, tmp_path: Path
) -> None:
    """The store holds the images of the last run, and no others."""
    opened = store()
    places = fill(opened, 11)
    shards = opened.publish(published, places[2:5], left_out=NOTHING)
    opened.keep(
        published,
        shards,
        measured=prints(11).__getitem__,
        used=np.arange(2, 5),
        left_out=np.arange(0),
        left_out_places=places[:0],
    )
    assert store().read_known()["measured"]["fingerprint"]["std"].tolist() == [2, 3, 4]


def publish_anew(store: PixelStore, places: Places, folder: Path) -> tuple[list[int], list[Path]]:
    """Publish as the next run would, and return the colours and the files."""
    shards = store.publish(folder, places, left_out=NOTHING)
    files = [check_file(folder, shard, made_by="") for shard in shards]
    return [colour for file in files for colour in np.load(file)[:, 0, 0, 0].tolist()], files


def open_after_dvc(store: Callable[[], PixelStore], folder: Path) -> tuple[PixelStore, Places, list[int]]:
    """Publish 12 images, remove them as DVC does, and open the store anew, with one image more.

    Returns:
        The store, the places of colours 0 to 12, and the inodes of the packs.
    """
    opened = store()
    keep_all(opened, fill(opened, 12), folder)
    inodes = [path.stat().st_ino for path in sorted(folder.iterdir())]
    for path in folder.iterdir():
        path.unlink()
    opened = store()
    known = opened.read_known()
    places = known["place"][np.argsort(known["measured"]["fingerprint"]["std"])]
    new = opened.append(prints(1, first=12), images(1, first=12))
    opened.finish_pack()
    return opened, np.concatenate((places, new)), inodes


def test_a_pack_is_made_into_a_shard_that_differs_in_an_image(
    store: Callable[[], PixelStore], published: Path
) -> None:
    """The file stays, with one row written over; what it was called before is forgotten."""
    opened, places, inodes = open_after_dvc(store, published)
    order = [0, 12, *range(2, 12)]
    found, files = publish_anew(opened, places[order], published)
    assert found == order
    assert [path.stat().st_ino for path in files] == inodes
    assert len(store().read_known()) == 9  # the pack has another name than its bytes until all is kept


@pytest.mark.parametrize(
    "order",
    [
        [1, 0, *range(2, 12)],  # each needs what the other would write over
        [0, 12, *range(2, 8), 1, *range(9, 12)],  # another shard needs it
        [0, 12, 2, 3, 0, 12, 2, 3, *range(8, 12)],  # two shards start from one pack
        [0, 12, 2, 3, 0, 11, 2, 3, *range(8, 11), 11],
        [12, 12, 2, 3, *range(4, 12)],  # so many that all may as well be written
        [*range(1, 13)],
    ],
)
def test_what_somebody_needs_is_not_written_over(
    store: Callable[[], PixelStore], published: Path, order: list[int]
) -> None:
    """Whatever is asked for, the shards hold it."""
    opened, places, _ = open_after_dvc(store, published)
    assert publish_anew(opened, places[order], published)[0] == order


def test_what_is_left_out_is_not_written_over(store: Callable[[], PixelStore], published: Path) -> None:
    """An image that another one takes the place of may be kept all the same."""
    opened, places, _ = open_after_dvc(store, published)
    order = [0, 12, *range(2, 12)]
    opened.publish(published, places[order], left_out=places[1:2])
    assert colours(opened, places) == list(range(13))


def test_a_file_that_is_not_ours_alone_is_not_written_over(
    store: Callable[[], PixelStore], published: Path, tmp_path: Path
) -> None:
    """With `cache.type: hardlink` DVC's object and ours are one file."""
    opened, places, _ = open_after_dvc(store, published)
    for number, path in enumerate((tmp_path / "store").glob("*.npy")):
        (tmp_path / f"object-{number}").hardlink_to(path)
    order = [0, 12, *range(2, 12)]
    assert publish_anew(opened, places[order], published)[0] == order
    assert colours(opened, places) == list(range(13))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.lists(st.integers(0, 12), min_size=1, max_size=14))
def test_shards_hold_what_is_asked_for(tmp_path_factory: pytest.TempPathFactory, order: list[int]) -> None:
    """Any images, in any order, each any number of times."""
    folder = tmp_path_factory.mktemp("store")
    (folder / "published").mkdir()
    opened, places, _ = open_after_dvc(
        lambda: PixelStore(folder / "store", FORM, shard_bytes=PER_SHARD * 12), folder / "published"
    )
    assert publish_anew(opened, places[order], folder / "published")[0] == order


LIMITS = DEFAULT_LIMITS


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a DVC repository, and return where pixels are kept in it."""
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path / ".dvc" / "tmp" / "darkroom" / "decoded"


def test_stores_of_a_repository(repository: Path, tmp_path: Path) -> None:
    """What one run keeps the next one finds; another form has its own; three stay."""
    for height in (1, 2, 3, 4, 1, 5):
        with open_store(form(height_px=height), LIMITS, private=tmp_path / "private"):
            pass
    assert len([path for path in repository.iterdir() if path.is_dir()]) == 3
    assert not (tmp_path / "private").exists()


def test_two_runs_at_once(repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second one keeps to itself, and says so."""
    with open_store(FORM, LIMITS, private=tmp_path / "a") as first:
        with open_store(FORM, LIMITS, private=tmp_path / "b") as second:
            assert first.known.is_relative_to(repository)
            assert second.known == tmp_path / "b" / "known.npy"
        assert not (tmp_path / "b").exists()
    assert "another run is at work" in capsys.readouterr().out


def test_without_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nowhere to keep pixels, and nothing is left behind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    with open_store(FORM, LIMITS, private=tmp_path / "private") as store:
        assert colours(store, fill(store, 5)) == list(range(5))
    assert list(tmp_path.iterdir()) == []


FULL = """
import errno, sys
from pathlib import Path
from tests.prepare_dataset.test_store import FORM, PER_SHARD
from stages.prepare_dataset.store import PixelStore
try:
    PixelStore(Path(sys.argv[1]), FORM, shard_bytes=PER_SHARD * 12).read_known()
except OSError as error:
    print(errno.errorcode[error.errno])
"""


def test_a_full_disk_is_an_error_and_not_a_kill(tmp_path: Path) -> None:
    """On a disk that is really full the list of known images ends the stage in words, not by a signal."""
    try:
        with small_disk(tmp_path / "disk") as disk:
            store = PixelStore(disk / "store", FORM, shard_bytes=PER_SHARD * 12)
            keep_all(store, fill(store, 200), disk)
            fill_up(disk / "filler", room_kib=16)
            done = subprocess.run(
                [sys.executable, "-c", FULL, str(disk / "store")], capture_output=True, text=True, check=False
            )
    except NoSmallDisk as reason:
        pytest.skip(f"cannot make a small disk: {reason}")
    assert (done.returncode, done.stdout) == (0, "ENOSPC\n"), done.stderr
