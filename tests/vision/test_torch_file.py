"""Files of torch.save are read as torch.load reads them, and cost no more than their size."""

import argparse
import collections
import io
import time
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from stages.shared.errors import InputError
from stages.vision import torch_file
from stages.vision.pretrained import read_weights
from tests.vision.hostile_weights import (
    PICKLES,
    bombs,
    expanded,
    legacy_file,
    mutate,
    safetensors_files,
    text,
    whole_files,
    zip_archive,
    zip_file,
)


def make_state() -> dict[str, Any]:
    """Return tensors of every kind and layout that a state dict may hold."""
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 3, 2, 2, generator=random)
    return {
        "plain": weight,
        "tied": weight,
        "part": weight[1:3, :, 1],
        "transposed": torch.randn(3, 5, generator=random).T,
        "channels_last": weight.contiguous(memory_format=torch.channels_last),
        "expanded": torch.arange(3).expand(2, 3),
        "parameter": nn.Parameter(torch.randn(7, generator=random)),
        "scalar": torch.tensor(0.1),
        "empty": torch.empty(0, 3),
        **{
            str(dtype): torch.tensor([0, 1, 2]).to(dtype)
            for dtype in (
                *(torch.float64, torch.float16, torch.bfloat16, torch.bool, torch.uint8),
                *(torch.int64, torch.int32, torch.int16, torch.int8),
            )
        },
    }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("is_zip", [True, False])
def test_tensors_are_those_that_torch_reads(tmp_path: Path, is_zip: bool, protocol: int) -> None:
    """Names, types, shapes, strides and values are torch.load's, in both of its formats."""
    path = tmp_path / "weights.pth"
    torch.save(make_state(), path, _use_new_zipfile_serialization=is_zip, pickle_protocol=protocol)
    expected = torch.load(path, weights_only=False)
    found = read_weights(path)
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert found[name].shape == tensor.shape, name
        assert found[name].stride() == tensor.stride(), name
        assert torch.equal(found[name].double(), tensor.detach().double()), name
    assert found["plain"].data_ptr() == found["tied"].data_ptr()


def test_eight_bit_floats_are_read(tmp_path: Path) -> None:
    """Types that came to torch later, whose numbers it saves as bytes, are read as well."""
    values = torch.tensor([0.5, -2.0])
    torch.save({"a": values.to(torch.float8_e4m3fn), "b": values.to(torch.float8_e5m2)}, tmp_path / "8.pth")
    found = read_weights(tmp_path / "8.pth")
    assert all(torch.equal(tensor.float(), values) for tensor in found.values())


def test_what_trainers_save_beside_weights_is_left_out(tmp_path: Path) -> None:
    """Weights are read beside arguments, NumPy's numbers, an optimizer's state and keys that are no texts."""
    network = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    beside = {
        "args": argparse.Namespace(lr=0.1),
        "accuracy": np.float64(0.9),
        "optimizer": optimizer.state_dict(),
        "counts": collections.Counter("abc"),
        ("epoch", 3): {1, 2},
        "rng": torch.get_rng_state(),
    }
    torch.save({**beside, "model": network.state_dict()}, tmp_path / "checkpoint.pth.tar")
    found = read_weights(tmp_path / "checkpoint.pth.tar")
    assert found.keys() == {"weight", "bias"}
    assert torch.equal(found["weight"], network.weight)


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("name", PICKLES)
def test_hostile_pickles_cost_next_to_nothing(tmp_path: Path, name: str, is_zip: bool) -> None:
    """What makes torch.load hang or takes all memory is refused in one line, at once."""
    path = tmp_path / "hostile.pth"
    path.write_bytes((zip_file if is_zip else legacy_file)(PICKLES[name]))
    start = time.process_time()
    with pytest.raises(InputError, match=r"^network\.weights_file: .*hostile\.pth: ") as caught:
        read_weights(path)
    assert time.process_time() - start < 1
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


def test_a_pickle_of_too_many_opcodes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opcodes are counted, those of a list that is given several times as often as it is."""
    monkeypatch.setattr(torch_file, "MAX_OPCODES", 1000)
    again = b"ccollections\nOrderedDict\nh\x00\x85R0"
    many = b"]q\x00(" + b"K\x00K\x00\x86" * 200 + b"e" + again * 10
    for pickle in (b"N0" * 600, many):
        (tmp_path / "long.pth").write_bytes(zip_file(pickle + b"}"))
        with pytest.raises(InputError, match="its pickle has more than 1,000 opcodes"):
            read_weights(tmp_path / "long.pth")


def archive(**changes: Any) -> bytes:
    """Return a zip archive of torch.save, changed."""
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(300)}, buffer)
    with zipfile.ZipFile(buffer) as whole:
        parts = {name: whole.read(name) for name in whole.namelist()}
    return zip_archive(parts, **changes)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (expanded(), "claims more numbers than the 2 that are there"),
        (archive(method=zipfile.ZIP_DEFLATED), "its parts are compressed"),
        (zip_archive({"a/b.txt": b"text"}), "is a zip archive that torch did not write"),
        (zip_archive({"a/best.pth": b"text"}), r"is a zip archive that holds a/best\.pth"),
        (zip_archive({"a\0b/data.pkl": b"text", "c": b""}), "is a zip archive that torch did not write"),
        (zip_archive({"a/data.pkl": b"\x80\x02}.", "a/byteorder": b"big"}), "big-endian"),
        (b"\x1f\x8b\x08" + bytes(60), "is compressed by gzip"),
        (b"version https://git-lfs.github.com/spec/v1\n", "by: git lfs pull"),
        (b"<!DOCTYPE html>", "is a web page"),
        (b"\x80\x04K\x01.", "is a pickle that torch did not write"),
        (bytes(257) + b"ustar\0" + bytes(600), "is a tar archive"),
        (b"", "is empty"),
    ],
)
def test_other_files_are_named(tmp_path: Path, data: bytes, reason: str) -> None:
    """A file of something else is refused for what it is, whatever its suffix."""
    (tmp_path / "weights.bin").write_bytes(data)
    with pytest.raises(InputError, match=rf"weights\.bin: .*{reason}"):
        read_weights(tmp_path / "weights.bin")


def test_a_directory_of_millions_of_names_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of an archive's names is measured before it is read."""
    monkeypatch.setattr(torch_file, "MAX_DIRECTORY_BYTES", 400)
    (tmp_path / "many.pth").write_bytes(archive())
    with pytest.raises(InputError, match="bytes of names; allowed: 400"):
        read_weights(tmp_path / "many.pth")


@pytest.mark.parametrize("name", safetensors_files())
def test_hostile_safetensors_are_refused(tmp_path: Path, name: str) -> None:
    """Overlapping and overflowing tensors, and headers of many megabytes, end in one line."""
    (tmp_path / "hostile.safetensors").write_bytes(safetensors_files()[name])
    with pytest.raises(InputError, match=r"hostile\.safetensors: is damaged, or not a file of weights"):
        read_weights(tmp_path / "hostile.safetensors")


@pytest.mark.parametrize("kind", whole_files())
def test_any_bytes_end_in_weights_or_in_one_line(tmp_path: Path, kind: str) -> None:
    """Of mutated files some are read, and all others refused in a line; `make attack` tries thousands."""
    whole = whole_files()[kind]
    for seed in range(40):
        path = tmp_path / "mutant"
        path.write_bytes(mutate(whole, seed=seed))
        with suppress(InputError):
            read_weights(path)


def test_names_longer_than_a_checkpoint_are_refused(tmp_path: Path) -> None:
    """The checkpoint lists the names that did not fit; training must not end by having too many of them."""
    (tmp_path / "names.pth").write_bytes(bombs()["names without end"]())
    with pytest.raises(InputError, match=r"4,800,\d+ characters of names; allowed: 524,288"):
        read_weights(tmp_path / "names.pth")


def test_names_are_escaped(tmp_path: Path) -> None:
    """What a file names reaches the terminal without its escape sequences, and not without end."""
    key = "\x1b[2J\u202e" + "x" * 3000
    (tmp_path / "odd.pth").write_bytes(zip_file(b"}" + text(key) + b"K\x01s"))
    with pytest.raises(InputError, match=r"found: \\x1b\[2J\\u202exxx") as caught:
        read_weights(tmp_path / "odd.pth")
    assert len(str(caught.value)) < 500
