"""What `dvc exp run` leaves of itself in the working folder when it is killed.

It takes its parameters out of a commit of its own (refs/exps/exec/EXEC_MERGE), writes them to params.yaml and
stages them, so that `git diff` shows nothing, and takes HEAD off its branch. It puts back both at its end.
"""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from stages.doctor.finding import Finding
from stages.doctor.git import ask_git
from stages.params.yaml12 import parse_yaml, read_document
from stages.shared.errors import InputError
from stages.shared.inputs import leaves

_PARAMS = Path("params.yaml")
_NUM_NAMED = 3


def check_left_params(dvc_folder: Path) -> Iterator[Finding]:
    """Yield what a killed experiment left; ask only while no dvc is at work."""
    committed = ask_git("rev-parse", "--verify", "--quiet", f"HEAD:./{_PARAMS}")
    if committed is None or not _PARAMS.is_file():
        return
    found = ask_git("hash-object", str(_PARAMS))
    if found != committed and _is_clean_to_git(found):
        kept = dvc_folder / "tmp" / "darkroom" / "params.left.yaml"
        yield Finding(
            f"{_PARAMS}: is not the committed one, though git diff shows nothing: an experiment that was "
            f"killed left {_describe_difference()}; put the committed one back (--fix keeps this as {kept})",
            partial(_put_back, kept),
        )
    head = ask_git("rev-parse", "HEAD")
    if ask_git("symbolic-ref", "--quiet", "HEAD") is None and head == ask_git(
        "rev-parse", "--verify", "--quiet", "refs/exps/exec/EXEC_HEAD"
    ):
        yield _explain_detached_head(str(head))


def _is_clean_to_git(found: str | None) -> bool:
    """Return whether a changed file looks unchanged: its times fool git, or a dead experiment staged it."""
    if ask_git("diff", "--quiet", "--", str(_PARAMS)) is None:
        return False
    is_staged = ask_git("rev-parse", f":./{_PARAMS}") == found
    experiments = ask_git("rev-parse", "--verify", "--quiet", f"refs/exps/exec/EXEC_MERGE:./{_PARAMS}")
    return not is_staged or experiments == found


def _describe_difference() -> str:
    """Name some parameters that differ from the committed ones."""
    found = read_document(_PARAMS)
    if found.problems or not isinstance(found.data, dict):
        return "it damaged"
    committed = parse_yaml(ask_git("show", f"HEAD:./{_PARAMS}") or "")
    before, now = (dict(leaves("", document.data)) for document in (committed, found))
    changed = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    named = [f"{key.lstrip('.')} {now.get(key)} for {before.get(key)}" for key in changed[:_NUM_NAMED]]
    more = [f"{len(changed) - _NUM_NAMED} more"] if len(changed) > _NUM_NAMED else []
    return ", ".join((*named, *more)) or "it with other spaces and comments"


def _put_back(kept: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(_PARAMS, kept)  # git writes what is not there, whatever it believed of it
    ask_git("update-index", "--no-assume-unchanged", "--no-skip-worktree", str(_PARAMS))
    if ask_git("restore", "--source=HEAD", "--staged", "--worktree", "--", str(_PARAMS)) is None:
        shutil.copy(kept, _PARAMS)
        raise InputError(f"{_PARAMS}: git could not put it back; run: git checkout HEAD -- {_PARAMS}")


def _explain_detached_head(head: str) -> Finding:
    found = ask_git("for-each-ref", "--format=%(refname)", f"--points-at={head}", "refs/heads") or ""
    branches = found.split()
    text = "HEAD: is on no branch: an experiment that was killed took it off; "
    if len(branches) != 1:
        return Finding(f"{text}go back by: git switch BRANCH")
    name = branches[0].removeprefix("refs/heads/")
    return Finding(f"{text}go back by: git switch {name}", partial(_switch, branches[0]))


def _switch(branch: str) -> None:
    if ask_git("symbolic-ref", "HEAD", branch) is None:
        raise InputError(f"HEAD: git could not put it on {branch}")
