"""A run resumed from a saved state ends in the bits of one that never stopped."""

import errno
import fcntl
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from schemas.shared.manifest import Manifest
from schemas.vision.transforms import RandomCrop, RandomHorizontalFlip
from stages.shared.errors import InputError
from stages.shared.paths import hash_for_dvc
from stages.shared.stopping import Stopped
from stages.train import resume
from stages.train.loop import run_epoch
from stages.train.resume import SavedState, open_saved_state, prune
from stages.train.state import TrainingState
from stages.train.state_file import DamagedState, read_state, write_state
from stages.vision.checkpoint import hash_weights
from tests.train.toy import make_training
from tests.vision.completeness import read_section
from tests.vision.prepared import write_prepared
from tests.vision.torch_state import keep_torch_settings

NUM_EPOCHS = 2
NUM_STOPS = NUM_EPOCHS * 6
"""Save points of a toy run: five steps an epoch, and its end."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with keep_torch_settings():
        torch.set_num_threads(1)
        yield


@pytest.fixture
def dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The .dvc folder of an empty repository, which DVC names to the stage."""
    (tmp_path / ".dvc").mkdir()
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("DVC_STAGE", "train")
    return tmp_path / ".dvc"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture(scope="module")
def manifest(folder: Path) -> Manifest:
    """Return a data set of 24 training images, which batches of 5 do not divide."""
    return write_prepared(folder)


def section(**changes: Any) -> Any:
    """Return the section `training` with an hour between saves."""
    from schemas.train.training import Training

    return Training.model_validate(
        {**read_section("training"), "save_every_steps": None, "save_every_seconds": 3600.0, **changes}
    )


def list_folders(dvc: Path) -> list[Path]:
    """Return the folders of saved states."""
    return sorted(path for path in (dvc / "tmp/darkroom/resume").iterdir() if path.is_dir())


class Toy:
    """A run with augmentation, dropout and an optimizer that remembers."""

    def __init__(self, folder: Path, manifest: Manifest, **arguments: Any) -> None:
        augment = (
            RandomCrop(name="RandomCrop", padding=2),
            RandomHorizontalFlip(name="RandomHorizontalFlip", p=0.5),
        )
        self.run_parts = make_training(folder, manifest, dropout=0.5, augment=augment, **arguments)
        self.state = self.run_parts.state
        self.num_points = 0

    def run(self, saved: SavedState | None, *, stop_at: int | None = None) -> str:
        """Train to the end, or to a save point; return a hash of all that is published."""

        def save_point(state: TrainingState) -> None:
            self.num_points += 1
            if saved is not None:
                saved.save_point(state)
            if self.num_points == stop_at:
                assert saved is not None
                saved.save(state)
                raise Stopped

        while self.state.epoch < NUM_EPOCHS:
            run_epoch(*self.run_parts, save_point=save_point)
        best = self.state.best
        assert best is not None
        history = [record.model_dump() for record in self.state.history]
        return json.dumps(
            [hash_weights(self.state.network.state_dict()), hash_weights(best.weights), history]
        )


@pytest.mark.usefixtures("dvc")
@pytest.mark.parametrize("stop_at", range(1, NUM_STOPS + 1))
def test_a_run_resumed_at_any_step_ends_in_the_same_bits(
    folder: Path, manifest: Manifest, stop_at: int
) -> None:
    """Weights, best weights and history are those of the unbroken run, wherever it was stopped."""
    expected = Toy(folder, manifest).run(None)
    with open_saved_state("a", section()) as saved:
        assert not saved.restore(Toy(folder, manifest).state)
        with pytest.raises(Stopped):
            Toy(folder, manifest).run(saved, stop_at=stop_at)
    torch.manual_seed(5)
    other = Toy(folder, manifest)
    with open_saved_state("a", section()) as saved:
        assert saved.restore(other.state)
        assert other.run(saved) == expected
    assert other.num_points == NUM_STOPS - stop_at


@pytest.mark.usefixtures("dvc")
@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
def test_workers_and_resuming_together_change_nothing(folder: Path, manifest: Manifest) -> None:
    """A run begun without workers and resumed with some ends in the same bits."""
    expected = Toy(folder, manifest).run(None)
    for num_workers, prefetch_factor in ((1, 2), (2, 4), (4, 2)):
        loader = {"num_workers": num_workers, "prefetch_factor": prefetch_factor}
        with open_saved_state(f"workers-{num_workers}", section()) as saved, pytest.raises(Stopped):
            Toy(folder, manifest).run(saved, stop_at=3)
        with open_saved_state(f"workers-{num_workers}", section()) as saved:
            other = Toy(folder, manifest, **loader)
            assert saved.restore(other.state)
            assert other.run(saved) == expected


def test_two_newest_states_are_kept(dvc: Path, folder: Path, manifest: Manifest) -> None:
    """Saving after every step leaves the last two, and a damaged one is skipped for the one before."""
    toy = Toy(folder, manifest)
    with open_saved_state("a", section(save_every_steps=1)) as saved:
        expected = toy.run(saved)
        older, newer = sorted(dvc.rglob("state-*.safetensors"))
        newer.write_bytes(newer.read_bytes()[:-1])
        other = Toy(folder, manifest)
        assert saved.restore(other.state)
        assert other.run(None) == expected
        older.write_bytes(b"")
        assert not saved.restore(Toy(folder, manifest).state)


def test_saving_by_the_clock(
    dvc: Path, folder: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state is saved once the seconds are over, and not before."""
    now = 0.0
    monkeypatch.setattr("stages.train.resume.time.monotonic", lambda: now)
    toy = Toy(folder, manifest)
    with open_saved_state("a", section(save_every_seconds=10.0)) as saved:
        now = 9.9
        saved.save_point(toy.state)
        assert not list(dvc.rglob("state-*"))
        now = 10.0
        saved.save_point(toy.state)
        assert len(list(dvc.rglob("state-*"))) == 1


@pytest.mark.usefixtures("dvc")
def test_saving_takes_a_bounded_share_of_the_time(
    folder: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state that takes long to write is saved less often; one stall of the disk is forgotten soon."""
    now = 0.0
    begun: list[float] = []

    def write(path: Path, _: object) -> None:
        nonlocal now
        begun.append(now)
        now += 100.0 if len(begun) == 2 else 1.0

    monkeypatch.setattr("stages.train.resume.time.monotonic", lambda: now)
    monkeypatch.setattr(resume, "write_state", write)
    toy = Toy(folder, manifest)
    with open_saved_state("a", section(save_every_seconds=10.0)) as saved:
        while now < 300:
            now += 1.0
            saved.save_point(toy.state)
    assert begun == [10.0, 61.0, 211.0, 262.0]


@pytest.mark.usefixtures("dvc")
def test_the_place_is_described_in_words(folder: Path, manifest: Manifest) -> None:
    """Between two epochs the one that ended is named, else the step of the one that is at work."""
    state = make_training(folder, manifest).state
    state.epoch, state.step = 2, 3
    assert state.describe_place() == "in epoch 3, after step 3 of 5"
    state.start_next_epoch()
    assert state.describe_place() == "after epoch 3"


@pytest.mark.usefixtures("dvc")
def test_a_broken_state_is_not_saved(folder: Path, manifest: Manifest) -> None:
    """No run could resume from it: the run ends there, naming the first step whose loss was not finite."""
    state = make_training(folder, manifest).state
    state.losses[2] = float("inf")
    state.losses[3] = float("nan")
    with (
        open_saved_state("a", section()) as saved,
        pytest.raises(InputError, match="became inf in epoch 1, step 3 of 5"),
    ):
        saved.save(state)


@pytest.mark.usefixtures("dvc")
def test_another_key_starts_fresh(folder: Path, manifest: Manifest) -> None:
    """A state is found by all that the result depends on, and by nothing less."""
    toy = Toy(folder, manifest)
    with open_saved_state("a", section()) as saved:
        saved.save(toy.state)
        assert saved.restore(Toy(folder, manifest).state)
    with open_saved_state("b", section()) as saved:
        assert not saved.restore(toy.state)


def test_a_full_disk_does_not_end_a_good_run(
    folder: Path,
    manifest: Manifest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    dvc: Path,
) -> None:
    """If a state cannot be saved, a line says so and training continues."""

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    toy = Toy(folder, manifest)
    with open_saved_state("a", section()) as saved:
        monkeypatch.setattr(resume, "write_state", fail)
        saved.save(toy.state)
    assert "cannot save its state: No space left on device" in capsys.readouterr().out
    assert not list(dvc.rglob("state-*"))


HOLDER = """
import sys, time
from pathlib import Path
from stages.train.resume import lock_folder
with lock_folder(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_second_run_says_who_has_the_state(dvc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process trains the same, a run is refused; when that dies, it may."""
    monkeypatch.setattr(resume, "_LOCK_SECONDS", 0.2)
    with open_saved_state("a", section()):
        [folder] = list_folders(dvc)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(Path.cwd())},
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    who = rf"process {holder.pid} on .*, started 2\d+-\d+-\d+ \d+:\d+ in {Path.cwd()}, trains just this"
    with (
        pytest.raises(InputError, match=who),
        open_saved_state("a", section()),
    ):
        pass
    holder.kill()
    holder.communicate()
    with open_saved_state("a", section()):
        pass


@pytest.mark.usefixtures("dvc")
def test_a_file_system_without_locks_is_used_with_a_warning(
    folder: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Some network mounts have no locks: a line says so, and the state is saved and found all the same."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fail)
    with open_saved_state("a", section()) as saved:
        saved.save(make_training(folder, manifest).state)
    assert "a.lock: cannot lock (No locks available)" in capsys.readouterr().out
    with open_saved_state("a", section()) as saved:
        assert saved.restore(make_training(folder, manifest).state)


@pytest.mark.usefixtures("dvc")
def test_a_lock_that_a_file_system_lacks_is_not_held_for_ever(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where flock is not even known, no lock file stands in for it: one of a killed run would stay."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", fail)
    with open_saved_state("a", section()), open_saved_state("a", section()):
        pass
    assert capsys.readouterr().out.count("cannot lock (Function not implemented)") == 2


def test_states_that_no_lock_protects_are_not_pruned(dvc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run may be at work on them; one that is another user's is left alone as well."""
    parent = dvc / "tmp/darkroom/resume"
    (parent / "old").mkdir(parents=True)
    (parent / "old/state-1.safetensors").touch()
    os.utime(parent / "old/state-1.safetensors", (0, 0))

    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", fail)
        prune(parent, dvc_folder=dvc, keep=parent / "a")
    assert (parent / "old/state-1.safetensors").exists()
    prune(parent, dvc_folder=dvc, keep=parent / "a")
    assert not (parent / "old").exists()


def test_a_state_stays_until_dvc_has_the_result(dvc: Path, folder: Path, manifest: Manifest) -> None:
    """After publishing, the state is there until the cache holds every file of the result."""
    outputs = dvc.parent / "model"
    outputs.mkdir()
    (outputs / "best").write_bytes(b"weights")
    toy = Toy(folder, manifest)
    with open_saved_state("a", section()) as saved:
        saved.save(toy.state)
        saved.note_result([outputs])
    with open_saved_state("a", section()) as saved:
        assert saved.restore(toy.state)
    md5 = hash_for_dvc(outputs / "best")
    cached = dvc / "cache/files/md5" / md5[:2] / md5[2:]
    cached.parent.mkdir(parents=True)
    cached.touch()
    with open_saved_state("a", section()) as saved:
        assert not saved.restore(toy.state)
    assert not list((dvc / "tmp/darkroom/resume").iterdir())


def test_half_a_state_goes(dvc: Path) -> None:
    """What a run left that was killed while it saved its state is removed by the next that looks."""
    half = dvc / "tmp/darkroom/resume/a/.darkroom-0123abcd.partial"
    half.mkdir(parents=True)
    (half / "state-000000000012.safetensors").touch()
    with open_saved_state("a", section()):
        pass
    assert list_folders(dvc) == []


@pytest.mark.parametrize(
    "note", [b"", b"[]", b"[", b"3", b"{}", b"null", b"[3]", b'["../x"]', b"\xff", b'"text"', b"[[]]"]
)
def test_a_damaged_note_of_the_result_loses_no_state(
    dvc: Path, folder: Path, manifest: Manifest, note: bytes
) -> None:
    """What does not say that DVC has the result is no reason to remove what a run can resume from."""
    toy = Toy(folder, manifest)
    with open_saved_state("a", section()) as saved:
        saved.save(toy.state)
    [state] = dvc.rglob("state-*")
    state.with_name("result.json").write_bytes(note)
    with open_saved_state("a", section()) as saved:
        assert saved.restore(toy.state)


def test_old_and_large_states_are_removed(dvc: Path, folder: Path, manifest: Manifest) -> None:
    """What is older than the bound goes, and of what is too much the oldest; never what is in use."""
    toy = Toy(folder, manifest)
    parent = dvc / "tmp/darkroom/resume"
    folders: list[Path] = []
    for number in range(4):
        with open_saved_state(f"run-{number}", section()) as saved:
            saved.save(toy.state)
        [folder] = set(list_folders(dvc)) - set(folders)
        folders.append(folder)
        age = time.time() - 1000 * (4 - number)
        for path in folder.glob("state-*"):
            os.utime(path, (age, age))
    num_bytes = sum(path.stat().st_size for path in folders[0].glob("state-*"))
    prune(parent, dvc_folder=dvc, keep=folders[0], max_age_seconds=3500.0)
    assert list_folders(dvc) == sorted(folders)
    prune(parent, dvc_folder=dvc, keep=folders[3], max_age_seconds=3500.0)
    assert list_folders(dvc) == sorted(folders[1:])
    prune(parent, dvc_folder=dvc, keep=folders[3], max_bytes=int(1.5 * num_bytes))
    assert list_folders(dvc) == sorted(folders[2:])


def test_states_come_back_as_they_were(tmp_path: Path) -> None:
    """Every kind of value comes back, tensors with dtype, strides and bits."""
    images = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)
    state: dict[Any, Any] = {
        "plain": [None, True, 3, 0.1 + 0.2, float("inf"), "text"],
        "tuple": (1, (2.5, "b")),
        3: {"number as key": {}},
        "tensors": [images, images[:, :1], torch.tensor(7), torch.arange(3).to(torch.bfloat16)],
    }
    write_state(tmp_path / "state", state)
    found = read_state(tmp_path / "state")
    assert {**found, "tensors": 0} == {**state, "tensors": 0}
    for before, after in zip(state["tensors"], found["tensors"], strict=True):
        assert torch.equal(before, after)
        assert before.dtype == after.dtype
    assert found["tensors"][0].stride() == images.stride()


@pytest.mark.parametrize(
    "document",
    [
        "[",
        "5",
        '["tensor", ["000001", [1]]]',
        '["tensor", ["000000", [4611686018427387904]]]',
        '["tensor", ["000000", [1, 1]]]',
        "[" * 10**5,
        '["dict", [[["list", []], 1]]]',
    ],
)
def test_forged_states_are_refused(tmp_path: Path, document: str) -> None:
    """A state whose hash fits, and whose document is no state, is damaged as well, and takes no memory."""
    tensors = {"000000": torch.arange(20.0)}
    digest = hashlib.sha256(f"{hash_weights(tensors)}\n{document}".encode()).hexdigest()
    envelope = json.dumps({"document": document, "sha256": digest})
    save_file(tensors, tmp_path / "state", metadata={"darkroom": envelope})
    with pytest.raises(DamagedState):
        read_state(tmp_path / "state")


def test_every_flipped_byte_and_every_cut_of_a_state_is_found(tmp_path: Path) -> None:
    """No run ever resumes from a damaged state."""
    path = tmp_path / "state"
    write_state(path, {"weights": torch.arange(20.0), "step": 3})
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        with pytest.raises(DamagedState):
            read_state(path)
    for length in range(0, len(data), 3):
        path.write_bytes(data[:length])
        with pytest.raises(DamagedState):
            read_state(path)
