"""An exported page in chromium, asked as a program."""

import base64
import json
from typing import Any

from tests.evaluate.chromium import Chromium

_IS_LOADED = "!document.querySelector('#message').innerText.startsWith('Loading')"


def wait_for_model(chromium: Chromium) -> None:
    """Wait until the page has loaded its model, or says why it cannot."""
    chromium.wait_for(f"document.readyState === 'complete' && {_IS_LOADED}", seconds=120)
    assert chromium.evaluate("document.querySelector('#message').innerText") == ""


def ask_page(chromium: Chromium, data: bytes) -> dict[str, Any]:
    """Return what the page predicts for a file: `ranked`, `accepted`, `reason`; or `error`, why it is none.

    `ms` is how long it took, decoding included.
    """
    script = """(async () => {
        const bytes = Uint8Array.from(atob(DATA), (letter) => letter.charCodeAt(0));
        const start = performance.now();
        try {
            const { result } = await modelInPage.predict(new File([bytes], "picture"));
            return { ...result, ms: performance.now() - start };
        } catch (error) {
            return { error: error.message };
        }
    })()""".replace("DATA", json.dumps(base64.b64encode(data).decode("ascii")))
    found: dict[str, Any] = chromium.evaluate(script)
    return found
