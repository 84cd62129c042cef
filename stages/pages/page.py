"""A page as one HTML file that needs nothing but a browser and loads nothing from elsewhere.

The same content gives the same bytes. Names of classes and files may hold anything: Jinja2 escapes what it
prints, and `wording` makes the invisible visible.
"""

import base64
import hashlib
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stages.pages import wording

_HERE = Path(__file__).parent
_FILTERS = (
    wording.brief,
    wording.brief_name,
    wording.brief_path,
    wording.certainty,
    wording.count,
    wording.name,
    wording.path,
    wording.percent,
    wording.plain,
    wording.plural,
    wording.score,
)
_STYLES_BEFORE, _STYLES_AFTER = ("page", "metrics", "charts", "tables"), ("narrow", "print")
"""Later rules win: what suits a narrow screen or paper comes after a page's own."""


def render_page(*folders: Path, **content: object) -> str:
    """Return a page as one HTML document, to be stored as UTF-8.

    Args:
        folders: Hold `templates/*.jinja`, `style/*.css` and `script/*.js`, in this order: what the page
            shares with some others, and last what only it has, with `templates/page.html.jinja`.
        content: What the templates may use. `style`, `script` and `script_sha256` are added.
    """
    styles = [
        *(_HERE / f"style/{name}.css" for name in _STYLES_BEFORE),
        *(path for folder in folders for path in sorted(folder.glob("style/*.css"))),
        *(_HERE / f"style/{name}.css" for name in _STYLES_AFTER),
    ]
    script = _join([path for folder in (_HERE, *folders) for path in sorted(folder.glob("script/*.js"))])
    environment = Environment(
        loader=ChoiceLoader([FileSystemLoader(each / "templates") for each in (*folders, _HERE)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({write.__name__: write for write in _FILTERS})
    return environment.get_template("page.html.jinja").render(
        style=Markup(_join(styles)),
        script=Markup(script),
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        **content,
    )


def _join(paths: list[Path]) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)
