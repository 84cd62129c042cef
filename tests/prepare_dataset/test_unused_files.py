"""Files that are not used take little memory, and have their lines in the index."""

import tracemalloc

from stages.prepare_dataset.unused_files import Unused, UnusedFiles


def test_lines_are_made_of_columns() -> None:
    """Path, label, status and reason of each, in their order; files are counted by status."""
    files: list[tuple[str, str, Unused]] = [
        ("cat/a\n.txt", "cat", "not_an_image"),
        ("dog/README", "dog", "not_an_image"),
        ("x.png", "", "outside_classes"),
        ("y.png", "", "not_in_table"),
    ]
    unused = UnusedFiles(iter(files), classes=["cat", "dog"])
    assert [(row.path, row.label, row.status, row.reason) for row in unused] == [
        ("cat/a\\n.txt", "cat", "not_an_image", ".txt is no image suffix"),
        ("dog/README", "dog", "not_an_image", "has no suffix"),
        ("x.png", "", "outside_classes", "stands outside the class folders"),
        ("y.png", "", "not_in_table", "is not in the table"),
    ]
    assert (unused.count("not_an_image"), unused.count("outside_classes")) == (2, 1)
    assert len(list(unused)) == len(unused) == 4  # they can be gone through again


def test_memory_of_a_file() -> None:
    """A text beside each of a million images takes a million times this, beside the text of its path."""
    num_files = 10_000
    paths = [f"class/{i:06}.txt" for i in range(num_files)]
    tracemalloc.start()
    try:
        unused = UnusedFiles(((path, "class", "not_an_image") for path in paths), classes=["class"])
        num_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(unused) == num_files
    assert num_bytes / num_files < len(paths[0]) + 40
