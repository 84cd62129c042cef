"""Where the stages hand files to each other, and the DVC repository around them: cache and .dvcignore."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from stages.shared.errors import InputError, printable

if TYPE_CHECKING:
    from dvc_data.hashfile.db.local import LocalHashFileDB
    from pathspec import PathSpec
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

IMAGES = Path("data/images")
PREPARED = Path("data/prepared")
AUDIT = Path("data/audit")
MODEL = Path("data/model")
DVCLIVE = Path("data/dvclive")
REPORT = Path("data/report")
EXPORT = Path("data/export")
METRICS = Path("data/metrics")
COUNTS = Path("data/counts")

MAKE_IMAGES = "dvc repro ingest"
MAKE_PREPARED = "dvc repro prepare-dataset"
MAKE_MODEL = "dvc repro train"
MAKE_EXPORT = "dvc repro export"

_IGNORE_FILE = ".dvcignore"

_ALWAYS_IGNORED = (".git", ".hg/", ".dvc/")
"""What DVC ignores without being told."""

Walk = Iterator[tuple[str, list[str], list[str]]]
"""What os.walk yields: a folder, the names of its folders, and those of its files."""


def list_tested(checkpoint: str) -> tuple[Path, ...]:
    """Return the files that a test report is made of: those that say all of the others by their hashes."""
    return (
        PREPARED / "manifest.json",
        AUDIT / "findings.csv",
        MODEL / f"{checkpoint}.safetensors",
        MODEL / "history.json",
    )


def list_exported(checkpoint: str) -> tuple[Path, ...]:
    """Return the files that exported models are made of, as `list_tested`."""
    return PREPARED / "manifest.json", MODEL / f"{checkpoint}.safetensors"


def find_dvc_folder() -> Path | None:
    """Return the .dvc folder of the repository; None outside one.

    DVC runs experiments in copies of the repository. DVC_ROOT names the repository itself in all of them.
    """
    root = os.environ.get("DVC_ROOT")
    folders = [Path(root)] if root else [Path.cwd(), *Path.cwd().parents]
    return next((folder / ".dvc" for folder in folders if (folder / ".dvc").is_dir()), None)


def find_scratch() -> Path | None:
    """Return the folder for what outlives a run but is no output; None outside a DVC repository.

    DVC removes a stage's outputs before it runs the stage, and the copies it runs experiments in after that.
    """
    found = find_dvc_folder()
    return found / "tmp" / "darkroom" if found else None


def hash_for_dvc(path: Path) -> str:
    """Return the MD5 by which DVC names a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def is_in_dvc_cache(md5: str, *, dvc_folder: Path) -> bool:
    """Return whether the cache of a repository, by its .dvc folder, holds an object."""
    return find_object(md5, dvc_folder=dvc_folder).is_file()


def find_object(md5: str, *, dvc_folder: Path) -> Path:
    """Return where the cache of a repository keeps an object, whether it has it or not.

    Raises:
        InputError: DVC's configuration, which says where the cache is, cannot be read.
    """
    return Path(open_dvc_cache(dvc_folder).oid_to_path(md5))


@lru_cache(maxsize=1)
def open_dvc_cache(dvc_folder: Path) -> "LocalHashFileDB":
    """Return the cache of a repository as DVC opens it: in the configured folder, with the configured modes.

    Raises:
        InputError: DVC's configuration cannot be read.
    """
    # 0.3 s to import, and most runs do not ask.
    from dvc.cachemgr import CacheManager
    from dvc.fs import LocalFileSystem
    from dvc_data.hashfile.state import StateNoop

    # All that the cache asks of a repository. A whole one would open databases, and need Git.
    repository = SimpleNamespace(
        config=read_dvc_config(dvc_folder),
        fs=LocalFileSystem(),
        state=StateNoop(),
        local_dvc_dir=os.fspath(dvc_folder),
    )
    cache: LocalHashFileDB = CacheManager(repository).local
    return cache


def read_dvc_config(dvc_folder: Path) -> Mapping[str, Any]:
    """Return what DVC is configured to do: by the system, the user, the repository, and `config.local`.

    Raises:
        InputError: One of these files cannot be read, or says what DVC does not allow.
    """
    from dvc.config import Config, ConfigError

    try:
        config: Mapping[str, Any] = Config(os.fspath(dvc_folder))
    except ConfigError as error:
        place, reason = dvc_folder, error
        folders = (*map(Config.get_dir, Config.SYSTEM_LEVELS), dvc_folder)
        files = [Path(folder, Config.CONFIG) for folder in folders]
        for path in (*files, dvc_folder / Config.CONFIG_LOCAL):
            try:
                Config.validate(Config.load_file(os.fspath(path)))
            except FileNotFoundError:
                continue
            except ConfigError as of_this_file:
                place, reason = path, of_this_file
        told = str(reason).removeprefix("config file error: ").rstrip(".")
        raise InputError(
            f"{place}: DVC cannot read its configuration: {printable(told)}; correct or delete that line"
        ) from None
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}; DVC cannot read its configuration") from None
    return config


class _Rules(NamedTuple):
    """The patterns of one folder's .dvcignore, seen from a folder at or below it."""

    spec: "PathSpec[GitIgnoreSpecPattern]"
    any_pattern: re.Pattern[str]
    """Finds names that some pattern fits, in one go: there may be a million, and hardly any is one."""

    prefix: str
    """The way from that folder to this one, as `a/b/`; empty in the folder itself."""


def walk_seen_by_dvc(top: str, onerror: Callable[[OSError], None] | None = None) -> Walk:
    """Yield as os.walk does, top-down and without following links, all that DVC sees in a folder.

    What it does not see is no input: no change in it would ever run a stage again. DVC reads .dvcignore at
    the top of the project, which is the current folder, and in the folders below, by the rules of .gitignore:
    of all patterns that fit a name the last one counts, those of deeper folders being later, and nothing
    inside an ignored folder comes back. Outside the project it ignores nothing.
    """
    rules = {top: _rules_at(Path(top))}
    for folder, subfolders, files in os.walk(top, onerror=onerror):
        here = rules.pop(folder)
        subfolders[:] = [name for name in subfolders if not _is_ignored(f"{name}/", here)]
        rules |= {os.path.join(folder, name): _enter(here, folder, name) for name in subfolders}  # noqa: PTH118
        yield folder, subfolders, [name for name in files if not _is_ignored(name, here)]


def _rules_at(top: Path) -> tuple[_Rules, ...]:
    root = Path.cwd()
    if not top.absolute().is_relative_to(root):
        return ()
    rules = _read_rules(root, _ALWAYS_IGNORED)
    folder = root
    for name in Path(os.path.normpath(top.absolute())).relative_to(root).parts:
        rules = _enter(rules, str(folder), name)
        folder /= name
    return rules


def _enter(rules: tuple[_Rules, ...], folder: str, name: str) -> tuple[_Rules, ...]:
    """Return the rules that hold in a folder's subfolder."""
    if not rules:
        return ()
    inherited = tuple(each._replace(prefix=f"{each.prefix}{name}/") for each in rules)
    return (*inherited, *_read_rules(Path(folder, name)))


def _read_rules(folder: Path, before: Sequence[str] = ()) -> tuple[_Rules, ...]:
    # The library that DVC uses. DVC's own code around it takes ten times as long to import.
    from pathspec import PathSpec
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    try:
        text = (folder / _IGNORE_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        text = ""
    lines = [*before, *map(str.strip, text.splitlines())]
    patterns = [GitIgnoreSpecPattern(line) for line in lines if line and not line.startswith("#")]
    if not patterns:
        return ()
    expressions = [
        re.sub(r"\(\?P<\w+>", "(?:", pattern.regex.pattern) for pattern in patterns if pattern.regex
    ]
    return (_Rules(PathSpec(patterns), re.compile("|".join(expressions)), ""),)


def _is_ignored(name: str, rules: tuple[_Rules, ...]) -> bool:
    """Return whether the last pattern that fits ignores a name; that of a folder ends in a slash."""
    for spec, any_pattern, prefix in reversed(rules):
        path = prefix + name
        if any_pattern.match(path) and (is_ignored := spec.check_file(path).include) is not None:
            return is_ignored
    return False
