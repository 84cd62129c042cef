"""Every way to name images becomes the same row of files."""

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from stages.images.sources import UnreadableFile
from tests.images.trees import write_compressed, write_folder, write_tar, write_zip
from tools.predict.requested_files import Inputs

FILES = {"b/2.png": b"2", "b/1.JPG": b"1", "a.png": b"a", "notes.txt": b"n", "b/.hidden.png": b"h"}
IMAGES = {"a.png": "a", "b/1.JPG": "1", "b/2.png": "2"}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


def look_up(*arguments: str, stdin: bytes = b"", separator: bytes = b"\n") -> dict[str, str]:
    """Return the bytes of every file by its name, or why it has none."""
    return dict(contents(Inputs(arguments, stdin=io.BytesIO(stdin), separator=separator)))


def contents(inputs: Inputs) -> Sequence[tuple[str, str]]:
    found = []
    for file in inputs:
        assert file is not None
        try:
            found.append((file.name, file.ref.read(max_bytes=10**6).decode()))
        except UnreadableFile as error:
            found.append((file.name, str(error)))
    return found


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "tar.gz", "tgz", "tar.bz2", "tar.xz", "tar.zst"])
def test_a_folder_and_its_archives_hold_the_same(kind: str) -> None:
    """Visible files that are images are taken in the order of their paths, the others counted."""
    name = "top" if kind == "folder" else f"top.{kind}"
    if kind == "folder":
        write_folder(Path(name), FILES)
    elif kind == "zip":
        write_zip(Path(name), FILES)
    elif kind == "tar":
        write_tar(Path(name), FILES)
    else:
        write_compressed(f".{kind}", FILES, Path()).rename(name)
    inputs = Inputs([name], stdin=io.BytesIO())
    assert contents(inputs) == [(f"{name}/{path}", data) for path, data in IMAGES.items()]
    assert inputs.num_skipped == 1
    assert inputs.num_files == 3


def test_files_without_a_suffix_are_looked_into() -> None:
    """What begins like an image is one, as for ingest."""
    write_folder(Path("top"), {"1": b"GIF89a", "2.part": b"GIF89a", "3": b"text", "4.jfif": b""})
    inputs = Inputs(["top"], stdin=io.BytesIO())
    assert contents(inputs) == [("top/1", "GIF89a"), ("top/4.jfif", "")]
    assert inputs.num_skipped == 2


def test_a_slash_at_the_end_changes_nothing() -> None:
    """A folder's files are called the same with and without it."""
    write_folder(Path("top"), FILES)
    assert look_up("top/") == look_up("top")


def test_a_named_file_is_taken_whatever_it_is_called() -> None:
    """Who names a file means it, also one that is hidden or has no suffix."""
    write_folder(Path(), {".x": b"1", "y": b"2"})
    assert look_up("y", ".x") == {"y": "2", ".x": "1"}


def test_patterns() -> None:
    """A pattern stands for its matches in order, `**` for any depth, and a folder that fits for its files."""
    write_folder(Path("top"), FILES)
    assert look_up("top/b/*.png") == {"top/b/2.png": "2"}
    assert look_up("top/**/*.png") == {"top/a.png": "a", "top/b/2.png": "2"}
    assert list(look_up("top/**")) == ["top/a.png", "top/b/1.JPG", "top/b/2.png", "top/notes.txt"]
    assert list(look_up("to?")) == [f"top/{path}" for path in IMAGES]


def test_a_file_may_be_called_like_a_pattern() -> None:
    """What is there under the very name is meant, and lists hold names only."""
    write_folder(Path(), {"[a].png": b"1", "a.png": b"2"})
    assert look_up("[a].png") == {"[a].png": "1"}
    assert look_up("-", stdin=b"*.png\n") == {"*.png": "there is no such file or folder"}


@pytest.mark.parametrize(
    ("stdin", "separator"), [(b"a.png\n\nb/2.png", b"\n"), (b"a.png\0b/2.png\0", b"\0")], ids=str
)
def test_a_list_on_standard_input(stdin: bytes, separator: bytes) -> None:
    """Paths come one a line, or between null bytes; how many is not known before."""
    write_folder(Path(), FILES)
    assert look_up("-", stdin=stdin, separator=separator) == {"a.png": "a", "b/2.png": "2"}
    assert Inputs(["-"], stdin=io.BytesIO(stdin)).num_files is None


def test_a_long_list_is_put_together_from_pieces() -> None:
    """A path may lie across two reads of a pipe."""
    names = [f"{i:06}" for i in range(40_000)]
    assert list(look_up("-", stdin="\n".join(names).encode())) == names


def test_names_that_are_not_utf_8() -> None:
    """Bytes that are no UTF-8 name a file all the same, and are shown as escapes."""
    write_folder(Path(), {os.fsdecode(b"caf\xe9.png"): b"x"})
    assert look_up("-", stdin=b"caf\xe9.png\n") == {"caf\\udce9.png": "x"}


def test_a_pipe_of_the_shell_is_read() -> None:
    """`<(curl ...)` stands for one, which is open already."""
    reader, writer = os.pipe()
    os.write(writer, b"piped")
    os.close(writer)
    assert look_up(f"/dev/fd/{reader}") == {f"/dev/fd/{reader}": "piped"}
    os.close(reader)


@pytest.mark.timeout(10)
def test_other_pipes_are_not_waited_for() -> None:
    """Whether typed, listed, matched or in a folder, a pipe in a folder is named and never opened."""
    Path("top").mkdir()
    os.mkfifo("top/pipe.png")
    expected = {"top/pipe.png": "is a pipe, socket or device, not a file"}
    assert look_up("top/pipe.png") == expected
    assert look_up("top/*.png") == expected
    assert look_up("top/**/*.png") == expected
    assert look_up("top") == expected
    assert look_up("-", stdin=b"top/pipe.png\n") == expected


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "pattern", ["top/**/*.png", "top/**", "**/*.png", "**", "top/*", "t?p/**/*.png", "top/**/**/*.*g"]
)
def test_a_pattern_takes_each_file_once(pattern: str) -> None:
    """Links to folders, also to the one that they are in, lead to no file a second time."""
    write_folder(Path("top"), {"a.png": b"a", "b/1.png": b"1", "b/2.png": b"2"})
    for name in ("top/loop", "top/again", "top/b/up"):
        Path(name).symlink_to(Path("top").absolute())
    assert look_up(pattern) == {"top/a.png": "a", "top/b/1.png": "1", "top/b/2.png": "2"}


def test_a_pattern_that_names_a_link() -> None:
    """A link to a folder is followed where the pattern has a name for it; one to a file is a file."""
    write_folder(Path("elsewhere"), {"1.png": b"1"})
    Path("top").mkdir()
    Path("top/link").symlink_to("../elsewhere")
    Path("top/2.png").symlink_to("../elsewhere/1.png")
    assert look_up("top/*/*.png") == {"top/link/1.png": "1"}
    assert look_up("top/link/**/*.png") == {"top/link/1.png": "1"}
    assert look_up("top/*.png") == {"top/2.png": "1"}
    assert look_up("top/**/*.png") == {"top/2.png": "1"}


def test_what_is_not_there_is_told() -> None:
    """The first few arguments behind which there is nothing, each with the reason."""
    inputs = Inputs([f"{number}.png" for number in range(7)], stdin=io.BytesIO())
    assert len(contents(inputs)) == inputs.num_missing == 7
    assert inputs.missing[0] == "0.png: there is no such file or folder"
    assert len(inputs.missing) == 5


def corrupt() -> str:
    Path("x.zip").write_bytes(b"PK\3\4 no archive")
    return "x.zip"


def empty() -> str:
    write_folder(Path("x"), {"notes.txt": b""})
    return "x"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: "x.png", "there is no such file or folder"),
        (lambda: "x*.png", "there is no such file, and no file fits it as a pattern"),
        (lambda: "\0", "cannot be opened: embedded null byte"),
        (lambda: "x" * 300, "cannot be opened: File name too long"),
        (lambda: "/dev/null", "is a pipe, socket or device, not a file"),
        (empty, "holds no images"),
        (corrupt, "is no readable zip archive (File is not a zip file); re-create it"),
    ],
)
def test_every_argument_has_its_line(make: Callable[[], str], reason: str) -> None:
    """Where there is no image, one file stands for the argument and says why."""
    argument = make()
    found = list(look_up(argument).values())
    assert found == [reason]
    inputs = Inputs([argument, "y.png"], stdin=io.BytesIO())
    assert len(contents(inputs)) == inputs.num_files == 2
