"""The page on which one tries the model: drop pictures, or use the camera."""

from pathlib import Path

from stages.pages.page import render_page
from tools.serve.description import ModelDescription

_HERE = Path(__file__).parent


def render(description: ModelDescription, *, needs_token: bool) -> str:
    """Return the page as one HTML document that loads nothing from elsewhere.

    With a token it tells nothing of the model: its script asks for the token, and then /model.
    """
    return render_page(_HERE, model=None if needs_token else description)
