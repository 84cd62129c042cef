"""`python -m tools.compare` on revisions of a real DVC project."""

import json

import pytest

from tests.faults.small_project import make_small_project
from tests.pipeline.project import Project

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A small project with its results committed, and an experiment that learns nothing."""
    project = make_small_project(tmp_path_factory.mktemp("compare") / "project", num_epochs=6)
    project.run("dvc repro && git add -A && git commit -qm 'Results'")
    project.run("dvc exp run -n stuck -S optimizer.lr=0.0000001 && git checkout -q . && dvc checkout")
    return project


def test_an_experiment_is_judged(project: Project) -> None:
    """One that learned nothing is worse; the page, the summary and the JSON say so as well."""
    before = project.hashes()
    printed = project.run("python -m tools.compare HEAD stuck workspace")
    assert "compare: stuck (optimizer.lr: 0.004 -> 1e-07): worse: accuracy" in printed
    assert "compare: workspace: cannot tell" in printed
    assert "has judged 2 models so far" in printed
    summary = (project.root / "data/compare/summary.md").read_text(encoding="utf-8")
    assert "- `optimizer.lr`" in summary
    page = (project.root / "data/compare/report.html").read_text(encoding="utf-8")
    assert page.count("<svg") > 2
    assert {name: project.hashes()[name] for name in before} == before  # nothing was checked out
    found = json.loads(project.run("python -m tools.compare HEAD stuck --format json 2>/dev/null"))
    assert found["comparisons"][0]["verdict"] == "worse"


def test_a_gate_for_ci(project: Project) -> None:
    """--fail-if-worse ends with one line and exit status 1 where accuracy fell by more; and else with 0."""
    assert "accuracy fell by" in project.run(
        "python -m tools.compare HEAD stuck --fail-if-worse 0.005", status=1
    )
    project.run("python -m tools.compare stuck HEAD --fail-if-worse 0.005")


@pytest.mark.parametrize(
    ("revisions", "line"),
    [
        ("HEAD nowhere", "nowhere: is no revision; see git log"),
        ("HEAD HEAD~1", "HEAD~1: has no results; evaluate it with: dvc repro"),
        ("HEAD HEAD", "name another revision to compare with"),
    ],
)
def test_what_cannot_be_compared_is_one_line(project: Project, revisions: str, line: str) -> None:
    """A typing mistake, a commit before any result, the same revision twice."""
    printed = project.run(f"python -m tools.compare {revisions}", status=1)
    assert line in printed


def test_a_lost_cache_object_is_named(project: Project, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Files that are in no cache: the line says how to get them. From a remote they are read."""
    copy = tmp_path_factory.mktemp("lost") / "project"
    project.run(f"git clone -q . {copy} && git push -q {copy} 'refs/exps/*:refs/exps/*'")
    other = Project(copy)
    printed = other.run("python -m tools.compare HEAD stuck", status=1)
    assert "HEAD: data/report/predictions.csv is neither in DVC's cache nor in a remote" in printed
    assert "dvc pull" in printed
    # A remote that the revisions do not know of yet: in the folder that DVC's own cache is.
    other.run(f"dvc remote add -q -d store {project.root / '.dvc/cache'}")
    assert "compare: stuck (optimizer.lr: 0.004 -> 1e-07): worse" in other.run(
        "python -m tools.compare HEAD stuck"
    )
