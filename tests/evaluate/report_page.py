"""Read a rendered report as a browser would."""

import base64
from html.parser import HTMLParser

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.evaluate.report.content import ReportContent
from stages.evaluate.report.render import render_report

VOID = {"meta", "img", "input", "br", "link", "wbr"}


class Page(HTMLParser):
    """What a browser would see: the elements with their attributes, and the text of each."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.words = ""
        self.script = ""
        self.feed(html)
        self.close()
        assert self.open == [], "elements left open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        self.words += " " if tag in ("dt", "dd", "p", "td", "th") else ""
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if "script" in self.open:
            self.script += data
        elif "style" not in self.open:
            self.words += data
            if {"td", "th"} & set(self.open):
                self.rows[-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(self.words.split())


def read(content: ReportContent) -> Page:
    return Page(render_report(content))


def decode(uri: str | None) -> NDArray[np.uint8]:
    """Return a data: URI's pixels, (height, width, channels), RGB."""
    assert uri is not None
    encoded = np.frombuffer(base64.b64decode(uri.split(",", 1)[1], validate=True), dtype=np.uint8)
    pixels = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED), dtype=np.uint8)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels[:, :, 2::-1]
