"""params.yaml that looks unchanged to git and is not, without DVC."""

import subprocess
from pathlib import Path

import pytest

from stages.doctor.left_params import check_left_params

COMMITTED = "optimizer: {lr: 0.004}\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("optimizer: {lr: 0.001}\n", "optimizer.lr 0.001 for 0.004"),
        ("optimizer: { lr: 0.004 } # quick\n", "it with other spaces and comments"),
        ("optimizer: {lr: [0.004\n", "it damaged"),
        ("half a wor", "it damaged"),
        ("", "it damaged"),
    ],
)
def test_what_was_left_is_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    """By its parameters if it can be read; putting it back works either way."""
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
    [finding] = check_left_params(tmp_path / ".dvc")
    assert f"an experiment that was killed left {told}; put the committed one back" in finding.text
    assert finding.mend is not None
    finding.mend()
    assert Path("params.yaml").read_text() == COMMITTED
    assert list(check_left_params(tmp_path / ".dvc")) == []
