"""README.md and the pages of docs/ say what is so."""

import re
from pathlib import Path

import pytest

from schemas.params import Params
from stages.params.read import read_params
from stages.shared.errors import InputError
from tests.architecture.imports import ROOT

README = ROOT / "README.md"
DECISIONS = ROOT / "docs" / "decisions"
PAGES = [
    README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "data" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
TEXT = {page: page.read_text(encoding="utf-8") for page in PAGES}
LINKS = sorted({(page, link) for page in PAGES for link in re.findall(r"\]\(([^)#]+)\)", TEXT[page])})


def named_paths(text: str) -> set[str]:
    """Return the files and folders of code that a page names in code type."""
    return {
        name
        for name in re.findall(r"`([\w./-]+)`", text)
        if name.startswith(("schemas/", "stages/", "tools/", "tests/", "benchmarks/", "docs/"))
    }


@pytest.mark.parametrize("path", sorted(named_paths("\n".join(TEXT.values()))))
def test_named_files_exist(path: str) -> None:
    """What a page points to is there; files a reader is told to make are marked by their example name."""
    if "mlp" in path or "vignette" in path:
        pytest.skip("one of the examples of a file to add")
    assert (ROOT / path).exists()


@pytest.mark.parametrize("section", Params.model_fields)
def test_code_page_leads_from_every_section_to_its_code(section: str) -> None:
    """The table has a row for every section of params.yaml."""
    assert re.search(
        rf"^\| `{section}` \|.*schemas/.*(stages|tools)/", TEXT[ROOT / "docs/code.md"], re.MULTILINE
    )


@pytest.mark.parametrize(("page", "link"), LINKS, ids=lambda value: getattr(value, "name", value))
def test_links_lead_somewhere(page: Path, link: str) -> None:
    """A link to another page or picture of the project is relative to the page it stands on, and not dead."""
    assert link.startswith("https://") or (page.parent / link).exists()


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: str(page.relative_to(ROOT)))
def test_readme_links_to_every_page(page: Path) -> None:
    """A newcomer finds each page from README.md; the decisions by their index."""
    index = DECISIONS / "README.md" if page.parent == DECISIONS and page.name != "README.md" else README
    assert f"({page.relative_to(index.parent)})" in TEXT[index]


@pytest.mark.parametrize(
    "page", sorted(DECISIONS.glob("[0-9]*.md")), ids=lambda page: str(page.relative_to(ROOT))
)
def test_a_decision_has_three_parts(page: Path) -> None:
    """Its number, then what made it necessary, what was decided, and what follows."""
    text = TEXT[page]
    assert text.startswith(f"# {int(page.name[:3])}. ")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]


def test_architecture_is_short() -> None:
    """What explains a decision has a page of its own."""
    assert len(TEXT[ROOT / "docs" / "architecture.md"].split()) <= 800


def test_readme_shows_what_a_wrong_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines it quotes are those that the two mistakes get; their numbers change with the file."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    wrong = re.sub(r"(  focal:\n    )gamma:", r"\1gama:", text)
    wrong = re.sub(r"(\noptimizer:\n(?:  .*\n)*?  lr: )\S+", r"\1fast", wrong)
    (tmp_path / "params.yaml").write_text(wrong, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        read_params()
    quoted = re.findall(r"^    (params\.yaml:.*)$", TEXT[README], re.MULTILINE)
    assert re.sub(r":\d+:", ":", str(caught.value)).splitlines() == [
        re.sub(r":\d+:", ":", line) for line in quoted
    ]


def test_readme_is_read_in_five_minutes() -> None:
    """At 200 words a minute."""
    assert len(TEXT[README].split()) <= 1000
