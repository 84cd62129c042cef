"""Files that could not be decoded: told of, or refused."""

from collections.abc import Mapping, Sequence

from schemas.ingest.dataset import Dataset
from stages.prepare_dataset.found_images import FoundImage
from stages.shared.errors import InputError
from stages.shared.text import printable


def report_undecodable(
    images: Sequence[FoundImage], reasons: Mapping[int, str], dataset: Dataset, *, at_most: int = 10
) -> None:
    """Print a line for each of the first few files that cannot be decoded, or refuse them.

    Args:
        images: All images of the source.
        reasons: Why some of them cannot be decoded.
        dataset: What to do then.
        at_most: How many lines are printed.

    Raises:
        InputError: No image can be decoded; or one cannot, and dataset.undecodable is error.
    """
    if not reasons:
        return
    source = dataset.source
    lines = [
        f"{source}/{printable(images[row].path)}: {reason}" for row, reason in list(reasons.items())[:at_most]
    ]
    if len(reasons) == len(images):
        raise InputError(
            f"dataset.source: {source}: none of its {len(images):,} images can be decoded; the first: "
            f"{lines[0].removeprefix(f'{source}/')}; put readable images there"
        )
    if len(reasons) > at_most:
        lines.append(f"{source}: {len(reasons) - at_most:,} more that cannot be decoded")
    if dataset.undecodable == "error":
        raise InputError(
            "\n".join(f"{line}; remove it, or set dataset.undecodable: exclude" for line in lines)
        )
    for line in lines:
        print(f"prepare-dataset: left out {line}")
