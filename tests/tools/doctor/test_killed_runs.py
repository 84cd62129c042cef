"""params.yaml that looks unchanged to git and is not, without DVC."""

import subprocess
from pathlib import Path

import pytest

from tools.doctor.killed_runs import check_params_left

COMMITTED = "optimizer: {lr: 0.004}\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("optimizer: {lr: 0.001}\n", "optimizer.lr at 0.001 instead of 0.004"),
        ("optimizer: { lr: 0.004 } # quick\n", "it with other spaces and comments"),
        ("optimizer: {lr: [0.004\n", "it damaged"),
        ("half a wor", "it damaged"),
        ("", "it damaged"),
    ],
)
def test_what_was_left_is_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    """By its parameters if it can be read; restoring it works either way."""
    monkeypatch.chdir(tmp_path)
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    Path("params.yaml").write_text(COMMITTED)
    for command in (
        "git init -q",
        "git add params.yaml",
        "git -c user.name=Test -c user.email=test@example.org commit -qm start",
        "git update-index --assume-unchanged params.yaml",
    ):
        subprocess.run(command.split(), check=True)
    Path("params.yaml").write_text(text)
    [obstacle] = check_params_left(tmp_path / ".dvc")
    assert f"a killed experiment left {told}; restore the committed one" in obstacle.text
    assert obstacle.fix is not None
    obstacle.fix()
    assert Path("params.yaml").read_text() == COMMITTED
    assert list(check_params_left(tmp_path / ".dvc")) == []
