"""The images of a source, in columns."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, overload

import numpy as np
import numpy.typing as npt

from schemas.shared.manifest import SPLIT_NAMES, SplitName
from stages.images.packed_paths import PackedPaths


class FoundImage(NamedTuple):
    """A file that may be an image."""

    path: str
    """Path in the source, as the source lists it."""

    key: str
    """Path below what wraps everything: the same in a folder and in an archive of that folder."""

    label: str
    """Class name."""

    split: SplitName | None
    """The split whose folder it stands in; None where the source has no split folders."""

    group: str | None = None
    """What the table's column group says; None where it says nothing, or there is no table."""


class FoundImages(Sequence[FoundImage]):
    """Images by the million, at 25 bytes for each beyond the text of paths and groups.

    Every image is made when it is asked for: ask once, or take the columns.
    """

    def __init__(
        self,
        paths: PackedPaths,
        *,
        wrapper: str,
        classes: Sequence[str],
        labels: npt.NDArray[np.int32],
        splits: npt.NDArray[np.int8],
        groups: npt.NDArray[np.int32],
        group_names: Sequence[str],
    ) -> None:
        self.paths = paths
        self.classes = tuple(classes)
        """Class names, sorted."""

        self.labels = labels
        """Place in `classes` of each image's label."""

        self.splits = splits
        """Place in SPLIT_NAMES of each image's split, -1 where it has none."""

        self.groups = groups
        """Place in `group_names` of each image's group, -1 where it has none."""

        self.group_names = group_names
        self._wrapper = wrapper

    @classmethod
    def pack(
        cls, images: Iterable[FoundImage], *, classes: Sequence[str], wrapper: str = ""
    ) -> "FoundImages":
        """Return images in columns.

        Args:
            images: Read once, so that they may be made one by one.
            classes: All class names, sorted, also those without an image.
            wrapper: The start of every path that is not part of its key.
        """
        label_codes = {label: code for code, label in enumerate(classes)}
        group_codes: dict[str, int] = {}
        labels, splits, groups = array("i"), array("b"), array("i")

        def paths() -> Iterator[str]:
            for path, _, label, split, group in images:
                labels.append(label_codes[label])
                splits.append(-1 if split is None else SPLIT_NAMES.index(split))
                groups.append(-1 if group is None else group_codes.setdefault(group, len(group_codes)))
                yield path

        return cls(
            PackedPaths(paths()),
            wrapper=wrapper,
            classes=classes,
            labels=np.array(labels, dtype=np.int32),
            splits=np.array(splits, dtype=np.int8),
            groups=np.array(groups, dtype=np.int32),
            group_names=PackedPaths(group_codes),
        )

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, row: int) -> FoundImage: ...
    @overload
    def __getitem__(self, row: slice) -> "FoundImages": ...
    def __getitem__(self, row: int | slice) -> "FoundImage | FoundImages":
        if isinstance(row, slice):
            return self.take(np.arange(len(self))[row])
        path, group, split = self.paths[row], self.groups.item(row), self.splits.item(row)
        return FoundImage(
            path,
            path.removeprefix(self._wrapper),
            self.classes[self.labels.item(row)],
            None if split < 0 else SPLIT_NAMES[split],
            None if group < 0 else self.group_names[group],
        )

    def __iter__(self) -> Iterator[FoundImage]:
        return map(self.__getitem__, range(len(self)))

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> "FoundImages":
        """Return the images of the given rows, in their order, or of those where an array is true.

        The classes stay, also those that no image is left of.
        """
        if rows.dtype == np.bool_ and rows.all():
            return self
        return FoundImages(
            self.paths.take(rows),
            wrapper=self._wrapper,
            classes=self.classes,
            labels=self.labels[rows],
            splits=self.splits[rows],
            groups=self.groups[rows],
            group_names=self.group_names,
        )
