"""A stage's inputs: recorded when it starts, and compared again before it publishes.

DVC records parameters, code and data when a stage ends. If they changed meanwhile, dvc.lock and the run cache
would claim for good that the new inputs made the old result.
"""

import hashlib
import json
import os
import re
import stat
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import yaml

import stages
from schemas.shared.fields import Schema
from schemas.shared.inputs import Inputs
from stages.shared.errors import InputError, printable
from stages.shared.files import sha256_of
from stages.shared.paths import walk_seen_by_dvc

CODE_ROOT = Path(stages.__path__[0]).parent
"""Where the running code was imported from."""

NEUTRAL = frozenset(
    {
        "dataset.workers",
        "loader.num_workers",
        "loader.prefetch_factor",
        "training.save_every_steps",
        "training.save_every_seconds",
    }
)
"""Parameters that change when a result is ready, never the result itself: records of it leave them out."""

ReadParams = Callable[[], Schema]

_CODE = ("schemas/", "stages/")
_MAX_LINES = 10


class FolderState(NamedTuple):
    """The files right below a folder, as the file system knows them; or one file."""

    digest: str
    """Of names, sizes, inodes and modification times. Not of change times: a new hard link changes those."""

    last_written_ns: int


@dataclass(frozen=True)
class StageInputs:
    """The inputs that a stage started with."""

    read_params: ReadParams
    sections: tuple[str, ...]
    values: Mapping[str, object]
    """Parameters by dotted key."""

    code: Mapping[str, str]
    """SHA-256 of every code file by its path in the project."""

    code_folders: tuple[str, ...]
    data_paths: tuple[Path, ...]
    data: Mapping[Path, FolderState]

    def describe(self, *, data_sha256: str) -> Inputs:
        """Return the record that goes into a result; data_sha256 identifies the data."""
        values = {key: value for key, value in self.values.items() if key not in NEUTRAL}
        return Inputs(params=hash_json(values), code=hash_json(self.code), data=data_sha256)

    def check_unchanged(self) -> None:
        """Refuse to publish a result that DVC would record with inputs that did not make it.

        Raises:
            InputError: A line for each parameter, code file and data file that changed since the start.
        """
        params, set_back = self._changed_params()
        changes = [*params, *self._changed_code(), *self._changed_data()]
        if changes:
            more = [f"{len(changes) - _MAX_LINES} more"] if len(changes) > _MAX_LINES else []
            advice = ["nothing was published: DVC would record wrong inputs with the result; run it again"]
            if set_back:
                advice += [
                    f"for the result of this run, set {', '.join(set_back)} and run the same command",
                    "a second run beside another one needs: dvc exp run --temp, or --queue",
                ]
            raise InputError("\n".join((*changes[:_MAX_LINES], *more, *advice)))

    def _changed_params(self) -> tuple[list[str], list[str]]:
        """Return a line for each parameter that changed, and what to set back to what."""
        try:
            now = flatten(self.read_params(), sections=self.sections)
        except InputError as error:
            return [f"{error}; that changed while the stage was running"], []
        changed = [
            (key, _show(self.values, key), _show(now, key))
            for key in sorted(self.values.keys() | now.keys())
            if _show(self.values, key) != _show(now, key)
        ]
        return (
            [
                f"params.yaml: {key}: was {before}, became {after} while the stage was running"
                for key, before, after in changed
            ],
            [f"{key} back to {before}" for key, before, _ in changed[:_MAX_LINES]],
        )

    def _changed_code(self) -> list[str]:
        now = hash_code(self.code_folders)
        return [
            f"{name}: {_describe_change(name in self.code, name in now)} while the stage was running"
            for name in sorted(self.code.keys() | now.keys())
            if self.code.get(name) != now.get(name)
        ]

    def _changed_data(self) -> list[str]:
        now = look_at(self.data_paths)
        lines = []
        for path in sorted(self.data.keys() | now.keys()):
            before, after = self.data.get(path), now.get(path)
            if before != after:
                written = _last_written(path, since=before) if after else None
                change = _describe_change(before is not None, after is not None)
                lines.append(f"{printable(str(written or path))}: {change} while the stage was running")
        return lines


def record_inputs(stage: str, params: Schema, read_params: ReadParams) -> StageInputs:
    """Return the inputs of a stage, which are its dependencies in dvc.yaml.

    Args:
        stage: Its name in dvc.yaml.
        params: All parameters, as the stage uses them.
        read_params: Reads them again.

    Raises:
        InputError: DVC runs this in another folder than the code is from.
    """
    if "DVC_STAGE" in os.environ and CODE_ROOT.resolve() != Path.cwd().resolve():
        raise InputError(
            f"{CODE_ROOT}: the code is imported from there, but DVC would record that of {Path.cwd()} with "
            "the result; unset PYTHONPATH and PYTHONSAFEPATH, and uninstall darkroom from this Python"
        )
    description = yaml.safe_load((CODE_ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]
    sections, deps = tuple(description["params"]), tuple(description["deps"])
    every_value = flatten(params, sections=tuple(type(params).model_fields))
    code_folders = tuple(dep for dep in deps if dep.startswith(_CODE))
    data_paths = tuple(Path(_fill_in(dep, every_value)) for dep in deps if not dep.startswith(_CODE))
    return StageInputs(
        read_params=read_params,
        sections=sections,
        values=flatten(params, sections=sections),
        code=hash_code(code_folders),
        code_folders=code_folders,
        data_paths=data_paths,
        data=look_at(data_paths),
    )


def flatten(params: Schema, *, sections: tuple[str, ...]) -> dict[str, object]:
    """Return the values of some sections by dotted key; what is no section, as a list, is one value."""
    document = params.model_dump(mode="json")
    return {key: value for section in sections for key, value in leaves(section, document[section])}


def leaves(key: str, value: object) -> Iterator[tuple[str, object]]:
    """Yield every value below a key that is no mapping itself, with its dotted key."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(f"{key}.{name}", inner)
    else:
        yield key, value


def hash_code(folders: tuple[str, ...]) -> dict[str, str]:
    """Return the SHA-256 of every file below these folders of the project, compiled ones left out."""
    return {
        path.relative_to(CODE_ROOT).as_posix(): sha256_of(path)
        for folder in folders
        for path in sorted((CODE_ROOT / folder).rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    }


def look_at(paths: tuple[Path, ...]) -> dict[Path, FolderState]:
    """Return the state of these files and of every folder below these folders; what is not there, is not."""
    states: dict[Path, FolderState] = {}
    for path in paths:
        if path.is_dir():
            states.update(_look_below(path))
        elif path.exists():
            states[path] = _digest([(path.name, path.stat())])
    return states


def hash_json(record: object) -> str:
    """Return the SHA-256 of a record of plain values, whatever the order of its keys."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _look_below(path: Path) -> Iterator[tuple[Path, FolderState]]:
    """Yield each folder, from one on, that can be listed, with the files that DVC sees in it."""
    for folder, _, names in walk_seen_by_dvc(os.fspath(path)):
        files = []
        for name in names:
            with suppress(OSError):  # a link to nothing
                status = os.stat(f"{folder}/{name}")  # noqa: PTH116 - a Path would cost more than the call
                if stat.S_ISREG(status.st_mode):
                    files.append((name, status))
        yield Path(folder), _digest(files)


def _digest(files: list[tuple[str, os.stat_result]]) -> FolderState:
    facts = sorted((name, status.st_size, status.st_ino, status.st_mtime_ns) for name, status in files)
    if not facts:
        return FolderState("", 0)
    names, sizes, inodes, times = zip(*facts, strict=True)
    digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogatepass"))
    for code, column in (("q", sizes), ("Q", inodes), ("q", times)):
        digest.update(array(code, column))
    return FolderState(digest.hexdigest(), max(times))


def _last_written(path: Path, *, since: FolderState | None) -> Path | None:
    """Return the file below a folder that was written last, if it was written since."""
    if since is None or not path.is_dir():
        return None
    with os.scandir(path) as entries:
        times = [(entry.stat().st_mtime_ns, entry.name) for entry in entries if entry.is_file()]
    written_ns, name = max(times, default=(0, ""))
    return path / name if written_ns > since.last_written_ns else None


def _describe_change(was_there: bool, is_there: bool) -> str:
    if was_there and is_there:
        return "changed"
    return "was deleted" if was_there else "was added"


def _show(values: Mapping[str, object], key: str) -> str:
    return json.dumps(values[key]) if key in values else "nothing"


def _fill_in(dependency: str, values: Mapping[str, object]) -> str:
    """Return a dependency of dvc.yaml with the parameters in it, as in ${dataset.source}."""
    return re.sub(r"\$\{([\w.]+)\}", lambda found: str(values[found[1]]), dependency)
