"""Patterns, tables of labels and parameter files made to take for ever: each ends in a line, and soon."""

import json
import random
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stages.ingest.labels_table import list_by_table
from stages.params.read import read_params
from stages.shared.errors import InputError
from tests.attack.bounded import ROOT, call_bounded, run_bounded
from tests.faults.tally import Tally
from tests.images.trees import class_folders, picture, write_folder
from tests.train.project import write_params

MAX_CPU_SECONDS = 25
MAX_PEAK_MB = 700

ENDLESS = (
    "(a+)+_c",
    "(a|aa)+$",
    "a*a*a*a*a*a*a*a*a*b",
)
"""Regular expressions that take twice as long with every letter more, or as a high power of their number."""


def attack(scratch: Path, *, seed: int) -> Iterator[Tally]:
    """Yield what comes of patterns, of tables and of parameter files."""
    yield _search(scratch)
    yield _read_all("tables of labels", read_table, _tables(random.Random(seed)), scratch)
    yield _read_all("parameter files", read_yaml, _documents(), scratch)


def _search(scratch: Path) -> Tally:
    """Count patterns of split.group that do not end, by the real stage, or end otherwise than in a line."""
    tally = Tally("patterns of split.group")
    files = {**class_folders(), f"cat/{'a' * 60}!.png": picture(99)}
    write_folder(scratch / "raw", files)

    def run(stage: str) -> Any:
        command = [sys.executable, "-m", f"stages.{stage}"]
        return run_bounded(command, scratch=scratch, cwd=scratch, environment={"PYTHONPATH": str(ROOT)})

    write_params(scratch, dataset__source="raw")
    run("ingest")
    for pattern in ENDLESS:
        write_params(scratch, dataset__source="raw", split__group=pattern)
        outcome = run("prepare_dataset")
        wrong = outcome.find_problem(max_cpu_seconds=MAX_CPU_SECONDS, max_peak_mb=MAX_PEAK_MB, statuses=[1])
        is_clear = re.fullmatch(r"split\.group: .*takes more than 10 s of CPU time.*\n", outcome.stderr)
        tally.count(not wrong and bool(is_clear), f"{pattern}: {wrong or outcome.stderr[:300]}")
    return tally


def _read_all(
    name: str, read: Callable[[str], str], cases: dict[str, tuple[bytes, str]], scratch: Path
) -> Tally:
    """Count files of which a reader does not say what it must: each bytes, and a pattern of what is said."""
    tally = Tally(name)
    for case, (data, expected) in cases.items():
        path = scratch / "case"
        path.write_bytes(data)
        outcome = call_bounded(read, str(path), scratch=scratch)
        wrong = outcome.find_problem(max_cpu_seconds=MAX_CPU_SECONDS, max_peak_mb=MAX_PEAK_MB)
        wrong = wrong or outcome.raised
        said = str(outcome.value)
        is_right = len(said) < 10_000 and all(map(str.isprintable, said.split("\n")))
        tally.count(
            not wrong and is_right and bool(re.search(expected, said)), f"{case}: {wrong or said[:300]}"
        )
    return tally


def read_table(path: str) -> str:
    """Return what a table of labels is refused with, or how many images it names."""
    entries = [*(f"img/{i}.png" for i in range(10)), "labels.csv", *(f"p{i:05}/1.png" for i in range(50_000))]
    try:
        listing = list_by_table(
            entries, Path(path).read_bytes(), table="labels.csv", labels="labels.csv", name="raw"
        )
    except InputError as error:
        return str(error)
    return f"{int(listing.table.has_status('decoded').sum())} images"


def read_yaml(path: str) -> str:
    """Return what a parameter file is refused with."""
    try:
        read_params(path)
    except InputError as error:
        return str(error)
    return "read"


def _tables(rng: random.Random) -> dict[str, tuple[bytes, str]]:
    head = b"path,label\n"
    good = head + b"".join(b"img/%d.png,%s\n" % (i, (b"cat", b"dog")[i % 2]) for i in range(10))
    large = 5 * 10**7
    too_long, is_utf8 = "has more than 1,048,576 characters", "is not UTF-8"
    other_case = [b"P%05d/1.PNG,%d\n" % (i, i % 2) for i in range(50_000)]
    rng.shuffle(other_case)
    return {
        "no table": (good, "10 images"),
        "a mark of Windows": (b"\xef\xbb\xbf" + good, "10 images"),
        "commas alone": (b"," * large, too_long),
        "commas in a line": (good + b"," * large, too_long),
        "a million columns": (b",".join(b"c%d" % i for i in range(10**6)), too_long),
        "10,000 columns": (head.strip() + b",splat" * 10**4 + b"\n", "found 10,002 columns"),
        "columns like path": (b",".join(b"pth%d" % i for i in range(900)) + b"\n", "labels.csv:1: "),
        "one cell": (good + b"x" * large, too_long),
        "a quote that never ends": (good + b'"' + b"x\n" * large, "field larger than field limit"),
        "cells over many lines": (good + b'"\n",' * (large // 4), too_long),
        "empty lines": (head + b"\n" * large, "found no images"),
        "wrong lines": (good + b"x,y\n" * (large // 4), "reading stopped"),
        "one file many times": (good + b"img/1.png,cat\n" * 10**6, "reading stopped"),
        "labels of 100 KB": (good.replace(b"cat", b"c" * 10**5), "label has 100,000 characters"),
        "a path of 100 KB": (good + b"p/" * 50_000 + b",cat\n", "path has 100,000 characters"),
        "a path of dots": (good + b"p/../" * 800 + b"x,cat\n", "is no file of the source"),
        "a deep path of another machine": (good + b"/p" * 2000 + b"/1.png,cat\n", "is no file|could be"),
        "paths in another case": (head + b"".join(other_case), "50000 images"),
        "names that fit many": (head + b"1.png,cat\n" * 50_000, "could be img/1.png or p00000/1.png"),
        "null bytes": (good.replace(b"img", b"i\0mg"), r"i\\x00mg/0.png is no file"),
        "null bytes in labels": (good.replace(b"cat", b"c\0at"), "10 images"),
        "UTF-16": (good.decode().encode("utf-16"), is_utf8),
        "half of it in Latin-1": (good + "caf\xe9,cat\n".encode("latin-1"), is_utf8),
        "noise": (rng.randbytes(10**6), "labels.csv"),
    }


def _documents() -> dict[str, tuple[bytes, str]]:
    params = (ROOT / "params.yaml").read_text(encoding="utf-8")
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
    )
    maps = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{x: *a{i - 1}, y: *a{i - 1}}}\n" for i in range(1, 40))
    escapes = "\\x41" * 10_000
    cases = {
        "aliases of aliases": (laughs, "holds more than 25000 values"),
        "maps of maps": (maps, "holds more than 25000 values"),
        "an alias of itself": ("a: &a [*a]\n", "nested more than 32"),
        "merged keys": (
            params.replace("dataset:", "dataset: &d") + "z: {<<: [*d, *d]}\n",
            "<< where a key",
        ),
        "10 MB": (params + "# " + "x" * 10**7, "allowed: at most 65536"),
        "brackets": ("a: " + "[" * 30_000 + "]" * 30_000, "maximum depth"),
        "braces": ("{a: " * 9000 + "1" + "}" * 9000, "maximum depth"),
        "indents": ("".join(" " * i + "a:\n" for i in range(350)), "maximum depth"),
        "dashes": ("- " * 30_000, "maximum depth"),
        "question marks": ("? " * 30_000, "maximum depth"),
        "commas": ("a: [" + "," * 60_000, "not valid YAML"),
        "colons": ("a: " * 20_000, "not valid YAML"),
        "documents": ("---\n" * 15_000, "another document"),
        "7,000 keys": ("\n".join(f"k{i}: 1" for i in range(7000)), "k1: unknown key"),
        "a number of 60,000 digits": (
            params.replace("seed: 0", f"seed: {'9' * 50_000}", 1),
            "DVC cannot read",
        ),
        "a hexadecimal one": (
            params.replace("seed: 0", f"seed: 0x{'f' * 50_000}", 1),
            "at most 300 digits",
        ),
        "a pattern of brackets": (
            params.replace("group: #", f'group: "{"(" * 9000}{")" * 9000}" #'),
            "split.group: .*recursion",
        ),
        "a pattern of a huge count": (
            params.replace("group: #", "group: a{99999999999} #"),
            "split.group: ",
        ),
        "escapes": (params.replace("source: ", f'source: "{escapes}" # '), "read"),
        "not UTF-8": ("a: caf\xe9\n", "not UTF-8"),
        "a null byte": (params + "\0", "the character"),
        "JSON": (json.dumps([[[]]] * 100), "params|allowed|found"),
    }
    return {name: (text.encode("latin-1"), expected) for name, (text, expected) in cases.items()}
