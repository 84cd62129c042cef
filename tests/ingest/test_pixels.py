"""Shards hold the images of the files in their order, whatever earlier runs had decoded."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.ingest.decoded_cache import DecodedCache
from stages.ingest.measure import FEATURES
from stages.ingest.pixels import ShardWriter
from stages.shared.files import check_file
from tests.images.trees import form

FORM = form(height_px=2, width_px=2)
PER_SHARD = 4


def digest(level: int) -> bytes:
    return bytes([level]) * 32


class Run:
    """One run on a cache: writes shards of images of one grey level each."""

    def __init__(self, folder: Path, cache: DecodedCache, *, shard_bytes: int = PER_SHARD * 12) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.cache = cache
        self.writer = ShardWriter(cache, folder, FORM, shard_bytes)

    def add(self, levels: Sequence[int]) -> None:
        """Add images; those that the cache has are not decoded again."""
        for level in levels:
            known = self.cache.find_images([digest(level)])
            features = np.zeros(1, dtype=FEATURES)
            features["std"] = level
            if known.is_known[0]:
                assert known.features["std"][0] == level
                self.writer.add_known([digest(level)], known.features, known.shard, known.row)
            else:
                self.writer.add([digest(level)], features, np.full((1, 2, 2, 3), level, dtype=np.uint8))

    def finish(self) -> list[int]:
        """Finish the shards, and return the grey levels they hold, read plainly."""
        shards = self.writer.finish()
        arrays = [np.load(check_file(self.folder, shard, made_by="")) for shard in shards]
        assert all(len(array) == PER_SHARD for array in arrays[:-1])
        assert sorted(path.name for path in self.folder.iterdir()) == [shard.name for shard in shards]
        return [level for array in arrays for level in array[:, 0, 0, 0].tolist()]


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[DecodedCache]:
    with closing(DecodedCache(tmp_path / "cache")) as opened:
        yield opened


@settings(deadline=None, max_examples=60)
@given(runs=st.lists(st.lists(st.integers(0, 9), max_size=13), min_size=1, max_size=4))
def test_shards_hold_the_images_in_order(
    runs: list[list[int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any images, in any order, with copies, run after run; the bytes are those of a run from nothing."""
    folder = tmp_path_factory.mktemp("runs")
    for number, levels in enumerate(runs):
        with (
            closing(DecodedCache(folder / "cache")) as cache,
            closing(DecodedCache(folder / f"new-{number}")) as new,
        ):
            cache.forget_damaged()
            again, fresh = Run(folder / str(number), cache), Run(folder / f"fresh-{number}", new)
            again.add(levels)
            fresh.add(levels)
            assert again.finish() == fresh.finish() == levels
            for path in again.folder.iterdir():
                assert path.read_bytes() == (fresh.folder / path.name).read_bytes()
            cache.drop_others()


def test_a_shard_is_numpys_own(cache: DecodedCache, tmp_path: Path) -> None:
    """However many rows there are, the file is what NumPy saves."""
    run = Run(tmp_path / "run", cache)
    run.add(range(6))
    run.finish()
    np.save(
        tmp_path / "expected.npy", np.broadcast_to(np.array([[[[4]]], [[[5]]]], dtype=np.uint8), (2, 2, 2, 3))
    )
    assert (tmp_path / "run/images-00001.npy").read_bytes() == (tmp_path / "expected.npy").read_bytes()


def test_an_unchanged_shard_is_linked(cache: DecodedCache, tmp_path: Path) -> None:
    """It takes no more room; one that changed is written whole."""
    first = Run(tmp_path / "first", cache)
    first.add(range(8))
    first.finish()
    second = Run(tmp_path / "second", cache)
    second.add([0, 1, 2, 3, 9, 5, 6, 7])
    assert second.finish() == [0, 1, 2, 3, 9, 5, 6, 7]
    inodes = [(tmp_path / run / "images-00000.npy").stat().st_ino for run in ("first", "second")]
    assert inodes[0] == inodes[1]
    others = [(tmp_path / run / "images-00001.npy").stat().st_ino for run in ("first", "second")]
    assert others[0] != others[1]


def test_a_killed_run_keeps_its_finished_shards(tmp_path: Path) -> None:
    """What was not finished is decoded again, the rest is not."""
    with closing(DecodedCache(tmp_path / "cache")) as cache:
        killed = Run(tmp_path / "killed", cache)
        killed.add(range(10))
        killed.writer.close()
    with closing(DecodedCache(tmp_path / "cache")) as cache:
        cache.forget_damaged()
        assert (
            cache.find_images([digest(level) for level in range(10)]).is_known.tolist()
            == [True] * 8 + [False] * 2
        )


def test_an_image_larger_than_a_shard_has_one_of_its_own(cache: DecodedCache, tmp_path: Path) -> None:
    """The bound on a shard's bytes never makes an empty shard."""
    run = Run(tmp_path / "run", cache, shard_bytes=5)
    run.add([1, 2])
    assert [len(np.load(tmp_path / "run" / shard.name)) for shard in run.writer.finish()] == [1, 1]
