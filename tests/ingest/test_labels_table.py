"""A CSV gives classes, splits and groups, and whatever is wrong with it is told with its line."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.ingest.dataset import Dataset
from stages.ingest.labels_table import find_table, list_by_table
from stages.ingest.listing import Listing
from stages.shared.errors import InputError
from tests.ingest.listed import images_of, unused_of
from tests.params.wrong_params import good_params

ENTRIES = ["a.png", "b.png", "c.png", "deep/", "deep/d.png", "labels.csv"]
GOOD = "path,label\na.png,cat\nb.png,dog\n"


def read(text: str | bytes, *, entries: list[str] = ENTRIES, table: str = "labels.csv") -> Listing:
    data = text.encode() if isinstance(text, str) else text
    return list_by_table(sorted(entries), data, table=table, labels=table, name="raw")


def refusal(text: str | bytes) -> str:
    """Return what a table is refused with, without what every line of it begins with."""
    with pytest.raises(InputError) as caught:
        read(text)
    lines = str(caught.value).split("\n")
    assert all(line.isprintable() for line in lines)
    assert all(line.startswith("dataset.labels: raw/labels.csv:") for line in lines), lines
    return "\n".join(line.removeprefix("dataset.labels: raw/labels.csv:") for line in lines)


def rows_of(listing: Listing) -> list[tuple[str, str, str | None, str]]:
    return [(image.path, image.label, image.split, image.group) for image in images_of(listing)]


def test_all_columns() -> None:
    """Class, split and group are those of the table; the order is that of the paths."""
    listing = read("path,label,split,group\nb.png,dog,test,p1\na.png,cat,train,p1\nc.png,cat,Valid,\n")
    assert rows_of(listing) == [
        ("a.png", "cat", "train", "p1"),
        ("b.png", "dog", "test", "p1"),
        ("c.png", "cat", "val", ""),
    ]
    assert listing.classes == ("cat", "dog")
    assert listing.given_splits == ("train", "val", "test")


@pytest.mark.parametrize(
    "text",
    [
        "label,path\ncat,a.png\ndog,b.png\n",
        "\ufeffpath,label\r\na.png,cat\r\nb.png,dog",
        ' Path ,"LABEL"\n"a.png","cat"\n\nb.png,dog\n\n',
        "path,label\n./a.png,cat\ndeep/../b.png,dog\n",
    ],
    ids=["order of columns", "mark and line ends of Windows", "quotes, case, empty lines", "dots"],
)
def test_ways_to_write_it(text: str) -> None:
    """Columns come in any order, and what spreadsheets do to a CSV changes nothing."""
    assert rows_of(read(text)) == rows_of(read(GOOD))


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("file_name,Category\na.png,cat\nb.png,dog\n", "took file_name for path, Category for label"),
        ("id,image,class\n0,a.png,cat\n1,b.png,dog\n", "took image for path, class for label; ignored id"),
        (",path,label,width\n0,a.png,cat,9\n1,b.png,dog,9\n", "ignored width"),
        ("path;label\na.png;cat\nb.png;dog\n", ""),
        ("sep=;\npath;label\na.png;cat\nb.png;dog\n", ""),
        ("path\tlabel\na.png\tcat\nb.png\tdog\n", ""),
        ("path, label\n a.png , cat\nb.png,dog \n", ""),
        ("image_id,label\na,cat\nb,dog\n", "took image_id for path"),
        ("path,label\nA.PNG,cat\nb,dog\n", "2 paths were completed or shortened, such as A.PNG to a.png"),
        ("path,label\nraw/a.png,cat\nraw/b.png,dog\n", ""),
        ("path,label\nC:\\x\\a.png,cat\n/home/me/b.png,dog\n", "2 paths were completed or shortened"),
    ],
)
def test_tables_of_other_tools(text: str, note: str) -> None:
    """Other names, separators and cases, more columns, spaces, ids and paths of another machine are read."""
    listing = read(text)
    assert rows_of(listing) == rows_of(read(GOOD))
    assert [line.removeprefix("labels.csv: ") for line in listing.notes[:1]] == [note] * bool(note) or (
        listing.notes[0].startswith(f"labels.csv: {note}")
    )


def test_ids_of_files_in_folders() -> None:
    """An id names the one file that it can; where there are two, the path has to be written out."""
    entries = ["img/a.JPG", "img/b.JPG", "old/b.JPG", "img/a.txt", "labels.csv"]
    assert [row[0] for row in rows_of(read("id,label\na,x\nimg/b,y\n", entries=entries))] == entries[:2]
    with pytest.raises(InputError, match=r":3: b could be img/b.JPG or old/b.JPG; write the whole path"):
        read("id,label\na,x\nb,y\n", entries=entries)


def test_another_folder_is_no_match() -> None:
    """A file of the same name in another folder, or with another suffix, is not the one that is missing."""
    entries = ["test/1.png", "test/2.png", "labels.csv"]
    for path in ("train/1.png", "1.jpg"):
        with pytest.raises(InputError, match=f":2: {path} is no file of the source"):
            read(f"path,label\n{path},cat\ntest/2.png,dog\n", entries=entries)


def test_other_files_are_left_out() -> None:
    """What the table does not name has a line and a reason; clutter is counted; what it names is taken."""
    entries = [*ENTRIES, "note.txt", ".hidden", "Thumbs.db", ".named.png", "odd.dat"]
    listing = read(f"{GOOD}.named.png,cat\nodd.dat,dog\n", entries=entries)
    assert {(row.path, row.status) for row in unused_of(listing)} == {
        ("c.png", "not_in_table"),
        ("deep/d.png", "not_in_table"),
        ("note.txt", "not_an_image"),
    }
    assert dict(listing.num_clutter) == {"hidden": 1, "system": 1}
    assert {image.path for image in images_of(listing)} == {".named.png", "a.png", "b.png", "odd.dat"}


def test_paths_are_relative_to_the_table() -> None:
    """A table in a folder speaks of what stands beside it, and of nothing above."""
    entries = ["top.png", "set/", "set/labels.csv", "set/1.png", "set/x/", "set/x/2.png"]
    listing = read("path,label\n1.png,cat\nx/2.png,dog\n", entries=entries, table="set/labels.csv")
    assert [image.path for image in images_of(listing)] == ["set/1.png", "set/x/2.png"]


def test_paths_from_windows_and_macos() -> None:
    """Backslashes part folders, and accents may be composed or not; labels are composed."""
    entries = ["labels.csv", "a/", "a/cafe\u0301.png", "b\\1.png"]
    listing = read("path,label\na\\caf\u00e9.png,e\u0301\nb\\1.png,x\n", entries=entries)
    assert rows_of(listing) == [("a/cafe\u0301.png", "\u00e9", None, ""), ("b\\1.png", "x", None, "")]


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        (GOOD + ",cat\n", "4: path is empty; fill it in, or remove the line"),
        (GOOD + "c.png, \n", "4: label is empty; fill it in, or remove the line"),
        (
            "path,label,split\na.png,cat,\nb.png,dog,train\n",
            "2: split is empty; fill it in, or leave the column out",
        ),
        (GOOD + "./a.png,dog\n", "4: ./a.png is in line 2 already; keep one of them"),
        (
            GOOD + "x.png,cat\n",
            "4: x.png is no file of the source; correct the path, or remove the line",
        ),
        (GOOD + "deep,cat\n", "4: deep is a folder; correct the path, or remove the line"),
        (GOOD + "../a.png,cat\n", "4: ../a.png is outside the table's folder; give paths relative to it"),
        (GOOD + "..\\a.png,cat\n", "4: ..\\a.png is outside the table's folder; give paths relative to it"),
        ("path,label,split\na.png,cat,tset\n", "2: split: found tset; allowed: train, val, test"),
        ("path,label,split\na.png,cat,val\nb.png,dog,test\n", " split: found test, val, but no train; mark"),
        ("path,label\na.png,cat\nb.png,cat\n", " found one label, cat; a classifier needs at least two"),
        ("path,label\na.png,cat\nb.png, =1+1\n", " found the class '=1+1', which a spreadsheet"),
        ("path,label\na.png,cat\nb.png,Cat \n", " found the classes 'Cat' and 'cat', which differ only in"),
        ("path,label\n", " found no images; give it a line for each below the header"),
        (
            "a.png,cat\nb.png,dog\n",
            "1: found a.png,cat, which is no header; the header that works is path,label",
        ),
        ("", "1: found nothing, which is no header; the header that works"),
        ("image,file\na.png,cat\n", "1: found image and file, each of which could be the path; rename one"),
        ("path,class,target\na.png,cat,1\n", "1: found class and target, each of which could be the label"),
        (GOOD + "deep/C.jpg,cat\n", "4: deep/C.jpg is no file of the source"),
        (
            "path,group\na.png,cat\n",
            "1: found path,group, without the column label; the header that works is",
        ),
        ("path,lable\na.png,cat\n", "1: unknown column lable; did you mean label?"),
        ("pth,lable\na.png,cat\n", "1: unknown column pth; did you mean path?"),
        ("path,label,spilt\na.png,cat,val\n", "1: unknown column spilt; did you mean split?"),
        ("path,label,path\na.png,cat,a.png\n", "1: found the column path twice; keep one of them"),
        (GOOD + "c.png\n", "4: found 1 cells, where the header has 2; give it as many, and put quotes"),
        (GOOD + "c.png,a,b\n", "4: found 3 cells, where the header has 2; give it as many, and put quotes"),
        (GOOD + '"c.png,cat\n', "4: is not CSV: unexpected end of data; save it again"),
        (GOOD + f"{'x' * 200_000},cat\n", "4: is not CSV: field larger than field limit (131072); save"),
        (GOOD.encode() + b"caf\xe9.png,cat\n", " is not UTF-8 (byte 0xe9, somewhere from line"),
        (GOOD.encode("utf-16"), " is not UTF-8 (byte 0xff, somewhere from line 1 on); save it as CSV UTF-8"),
        (GOOD + '"new\nline.png",cat\nc.png,\n', "4: new\\nline.png is no file of the source; correct"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str | bytes, refused: str) -> None:
    """One clear line each, with the number of the line where there is one."""
    assert refusal(text).startswith(refused)


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("path,label," + "x," * 1000 + "\n", "1: found 1,003 columns; allowed: at most 1,000; keep path"),
        (GOOD + "," * 2**20 + "\n", "4: has more than 1,048,576 characters; is it a table of labels, and"),
        (
            GOOD + '"\n",' * 2**18 + "\n",
            "4: has more than 1,048,576 characters; is it a table of labels, and",
        ),
        (GOOD + f"c.png,{'x' * 256}\n", "4: label has 256 characters; allowed: at most 255"),
        (GOOD + f"{'c/' * 2049},cat\n", "4: path has 4,098 characters; allowed: at most 4,096"),
        (f"path,label,group\na.png,cat,{'x' * 256}\n", "2: group has 256 characters; allowed: at most 255"),
    ],
)
def test_what_is_too_much(text: str, refused: str) -> None:
    """No table of labels needs it, and the time and memory it would take are not spent."""
    assert refusal(text).startswith(refused)


def test_columns_that_are_not_used_are_told_briefly() -> None:
    """The note stays short, however many there are."""
    header = "path,label," + ",".join(f"x{i}" for i in range(900))
    note = read(f"{header}\na.png,cat{',' * 900}\nb.png,dog{',' * 900}\n").notes[0]
    assert note.startswith("labels.csv: ignored x0, x1, ")
    assert len(note) < 300


def test_reading_stops_after_a_thousand_mistakes() -> None:
    """More of them would tell nothing new."""
    lines = refusal("path,label\n" + "x.png,cat\n" * 5000).split("\n")
    assert lines[10:] == [" 990 more lines are wrong", "1001: reading stopped after this one"]


def test_paths_that_are_completed_among_files_of_one_name() -> None:
    """Time grows with the lines, not with the lines times the files: patients whose images are called 1."""
    num_files = 20_000
    entries = [*(f"p{i}/1.png" for i in range(num_files)), "labels.csv"]
    lines = "".join(f"P{i}/1.PNG,{i % 2}\n" for i in range(num_files))
    start = time.process_time()
    assert len(images_of(read("path,label\n" + lines, entries=entries))) == num_files
    assert time.process_time() - start < 10


def test_the_first_few_problems_are_told_at_once() -> None:
    """Ten lines, and how many more there are."""
    lines = refusal(GOOD + "".join(f"{i}.png,cat\n" for i in range(30))).split("\n")
    assert [line.split(":")[0] for line in lines[:-1]] == [str(4 + i) for i in range(10)]
    assert lines[-1] == " 20 more lines are wrong"


def test_the_line_is_counted_over_quoted_line_ends() -> None:
    """A cell that holds a line end does not shift the numbers of the lines below it."""
    assert refusal('path,label\na.png,"c\nat"\nb.png,\n').startswith("4: label is empty")


def test_where_the_table_is_looked_for() -> None:
    """In an archive it may stand below the folder that holds everything, in a folder only as said."""
    entries = ["pets/", "pets/1.png", "pets/labels.csv", "__MACOSX/pets/labels.csv"]
    assert find_table(entries, "labels.csv", name="raw.zip", is_in_archive=True) == "pets/labels.csv"
    assert find_table(entries, "pets/labels.csv", name="raw", is_in_archive=False) == "pets/labels.csv"
    with pytest.raises(InputError, match=r"^dataset.labels: raw/labels.csv: there is no such file; put the"):
        find_table(entries, "labels.csv", name="raw", is_in_archive=False)


def test_keys_leave_out_what_is_wrapped_around_everything() -> None:
    """So that groups and splits are the same in a folder and in an archive of it."""
    listing = list_by_table(
        ["pets/", "pets/1.png", "pets/2.png", "pets/labels.csv"],
        b"path,label\n1.png,a\n2.png,b\n",
        table="pets/labels.csv",
        labels="labels.csv",
        name="raw.zip",
    )
    assert listing.wrapper == "pets/"


@pytest.mark.parametrize(
    "labels", ["labels.txt", "/labels.csv", "../labels.csv", "a/../labels.csv", "a\\labels.csv", "a//b.csv"]
)
def test_a_table_outside_the_source_is_refused(labels: str) -> None:
    """Only what stands in the source is hashed by DVC with it: another table could change unseen."""
    section = good_params()["dataset"] | {"labels": labels}
    with pytest.raises(ValueError, match=r"inside dataset\.source"):
        Dataset.model_validate(section)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode), st.booleans())
def test_any_bytes_are_read_or_refused(data: bytes, with_header: bool) -> None:
    """Whatever the table holds, there is a listing or one clear message."""
    message = "dataset.labels: raw/labels.csv:"
    try:
        listing = read(GOOD.encode() * with_header + data)
        assert {image.path for image in images_of(listing)} >= {"a.png", "b.png"}
    except InputError as error:
        message = str(error)
    assert message.startswith("dataset.labels: raw/labels.csv:")
    assert all(line.isprintable() for line in message.split("\n"))
