"""Images in columns are the images that went in."""

import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.shared.manifest import SPLIT_NAMES
from stages.prepare_dataset.found_images import FoundImage, FoundImages

images = st.lists(
    st.builds(
        lambda key, label, split, group: FoundImage(f"top/{key}", key, label, split, group),
        st.text(max_size=4),
        st.sampled_from(["a", "b", "ü"]),
        st.sampled_from([None, *SPLIT_NAMES]),
        st.none() | st.sampled_from(["p1", "p2", ""]),
    )
)


@given(images, st.data())
def test_it_is_the_list_it_was_made_of(listed: list[FoundImage], data: st.DataObject) -> None:
    """By iteration, by place, by slice and taken apart; columns hold the same as codes."""
    found = FoundImages.pack(iter(listed), classes=["a", "b", "c", "ü"], wrapper="top/")
    assert list(found) == [found[row] for row in range(len(listed))] == listed
    assert list(found[1:]) == listed[1:]
    assert [found.classes[code] for code in found.labels] == [image.label for image in listed]
    rows = data.draw(st.lists(st.sampled_from(range(len(listed))))) if listed else []
    taken = found.take(np.array(rows, dtype=np.int64))
    assert list(taken) == [listed[row] for row in rows]
    assert taken.classes == ("a", "b", "c", "ü")
    keep = np.array([image.split is None for image in listed], dtype=np.bool_)
    assert list(found.take(keep)) == [image for image in listed if image.split is None]


def test_memory_of_an_image() -> None:
    """A million images take a million times this, beside the text of their paths."""
    num_images = 10_000
    listed = [f"class/{i:06}.png" for i in range(num_images)]
    tracemalloc.start()
    try:
        made = (FoundImage(path, path, "class", None) for path in listed)
        found = FoundImages.pack(made, classes=["class"])
        num_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert num_bytes / num_images < len(found[0].path) + 60
