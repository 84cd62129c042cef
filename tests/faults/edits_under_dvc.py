"""Edits under the real DVC: made while it runs a stage, refused by the stage, and not in dvc.lock."""

import subprocess
from collections.abc import Callable, Iterable, Iterator

import psutil

from tests.faults.paused import environment_to_pause, wait_for_pause
from tests.faults.small_project import write_small_archive
from tests.faults.tally import Tally
from tests.pipeline.project import Project

Edit = Callable[[Project], str]
"""Changes something a stage depends on, and returns what the refusal must name."""

_SECONDS_TO_END = 600.0


def _set(old: str, new: str, *, key: str) -> Edit:
    def edit(project: Project) -> str:
        project.set(old, new)
        return f"params.yaml: {key}: was "

    return edit


def _comment(name: str) -> Edit:
    def edit(project: Project) -> str:
        with (project.root / name).open("a") as file:
            file.write("\n# a comment\n")
        return f"{name}: changed while the stage was running"

    return edit


def _flip(name: str) -> Edit:
    def edit(project: Project) -> str:
        path = project.root / name
        data = path.read_bytes()
        path.unlink()  # it may be a link into the cache
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        return f"{name}: changed while the stage was running"

    return edit


def _give_other_images(project: Project) -> str:
    write_small_archive(project.root / "data/small.zip", num_each=25)
    return "data/small.zip: was changed while"


EDITS: dict[tuple[str, str], Edit] = {
    ("ingest", "params"): _set("resize: squish", "resize: pad", key="dataset.resize"),
    ("ingest", "code"): _comment("stages/ingest/listing.py"),
    ("ingest", "data"): _give_other_images,
    ("prepare-dataset", "params"): _set("val_fraction: 0.1", "val_fraction: 0.15", key="split.val_fraction"),
    ("prepare-dataset", "code"): _comment("stages/prepare_dataset/split.py"),
    ("prepare-dataset", "data"): _flip("data/images/table.safetensors"),
    ("train", "params"): _set("lr: 0.004", "lr: 0.005", key="optimizer.lr"),
    ("train", "code"): _comment("stages/train/loop.py"),
    ("train", "data"): _flip("data/prepared/labels.npy"),
    ("evaluate", "params"): _set("top_k: 3", "top_k: 2", key="evaluation.top_k"),
    ("evaluate", "code"): _comment("stages/evaluate/metrics.py"),
    ("evaluate", "data"): _flip("data/model/best.safetensors"),
    ("export", "params"): _set("min_agreement: 0.999", "min_agreement: 0.9", key="export.min_agreement"),
    ("export", "code"): _comment("stages/export/parity.py"),
    ("export", "data"): _flip("data/model/best.safetensors"),
}


def edit_under_dvc(project: Project, edits: Iterable[tuple[str, str]]) -> Tally:
    """Run `dvc repro`, edit while a stage is at work, and run it again.

    Args:
        project: In which all stages ran, and which is committed; it is put back after each.
        edits: Keys of EDITS.
    """
    tally = Tally("edits under dvc repro")
    archive = project.root / "data/small.zip"
    images = archive.read_bytes()
    for stage, kind in edits:
        problems = list(_try_edit(project, stage, EDITS[stage, kind]))
        tally.count(not problems, f"{stage}, {kind}: {'; '.join(problems)}")
        project.run("git reset --quiet --hard && dvc checkout --force --quiet")
        archive.write_bytes(images)
    return tally


def _try_edit(project: Project, stage: str, edit: Edit) -> Iterator[str]:
    """Yield what was not as it must be."""
    lock = project.root / "dvc.lock"
    before = lock.read_bytes()
    dvc = psutil.Popen(
        ["dvc", "repro", "--force", "--single-item", stage],
        cwd=project.root,
        env=environment_to_pause(at_event=1),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    paused = wait_for_pause(dvc)
    assert paused is not None, f"{stage} did not touch a file:\n{dvc.communicate()[0]}"
    named = edit(project)
    paused.resume()
    printed, _ = dvc.communicate(timeout=_SECONDS_TO_END)
    if dvc.returncode == 0:
        yield "dvc ended with status 0"
    if named not in printed or "Traceback" in printed:
        yield f"the refusal does not name {named!r}: {printed[-500:]}"
    if lock.read_bytes() != before:
        yield "dvc.lock was written"
    # What the edit left is a change like any other: DVC makes new what it concerns, and all agrees.
    try:
        project.run("dvc repro")
        project.run("python -m tools.verify")
    except AssertionError as error:
        yield f"the next run: {error}"
    is_output = any(
        f"data/{folder}" in named for folder in ("images", "prepared", "model")
    )  # which DVC puts back as it was
    if is_output != (lock.read_bytes() == before):
        yield f"dvc.lock after the next run: {project.run('git diff HEAD dvc.lock') or 'the same'}"
