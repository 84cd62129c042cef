"""How each shard comes about: from a pack as it is, from one with some images written over, or anew."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stages.prepare_dataset.known import Places
from stages.prepare_dataset.pack import count_rows

_MAX_CHANGED = 0.25
"""Of the images of a pack that is made into another one; of more, writing all costs little more."""


class Shard(NamedTuple):
    """One shard to publish."""

    places: Places
    """Of its images, in their order."""

    pack: int | None
    """The pack to start from; None: all is written anew."""

    changed: npt.NDArray[np.int64]
    """The rows of that pack to write over."""


def plan_shards(
    packs: Sequence[Path], places: Places, *, per_shard: int, left_out: Places
) -> tuple[Shard, ...]:
    """Return the shards of images, in their order.

    A pack may be written over if nobody needs what stands there, no other shard starts from it, and the file
    is nobody else's: DVC may have made it one with an object of its cache.

    Args:
        packs: The files that hold images.
        places: Of the images, in their order.
        per_shard: Images of a shard.
        left_out: Places of further images that are asked for later.
    """
    needed = np.concatenate((places, left_out)) if len(left_out) else places
    shards: list[Shard] = []
    taken = set()
    for start in range(0, len(places), per_shard):
        wanted = places[start : start + per_shard]
        pack = int(np.bincount(wanted["pack"]).argmax())
        is_changed = (wanted["pack"] != pack) | (wanted["row"] != np.arange(len(wanted)))
        is_as_long = count_rows(packs[pack]) == len(wanted)
        if is_as_long and (
            not is_changed.any() or (pack not in taken and _may_change(packs[pack], pack, is_changed, needed))
        ):
            taken.add(pack)
            shards.append(Shard(wanted, pack, np.flatnonzero(is_changed)))
        else:
            shards.append(Shard(wanted, None, np.empty(0, dtype=np.int64)))
    return tuple(shards)


def _may_change(path: Path, pack: int, is_changed: npt.NDArray[np.bool_], needed: Places) -> bool:
    if is_changed.mean() > _MAX_CHANGED or path.stat().st_nlink != 1 or not os.access(path, os.W_OK):
        return False
    is_needed = np.zeros(len(is_changed), dtype=np.bool_)
    is_needed[needed["row"][needed["pack"] == pack]] = True
    return not is_needed[is_changed].any()
