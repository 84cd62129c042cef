"""Drive Debian's chromium, headless, over its DevTools pipe; nothing is installed and no port is opened.

Protocol: https://chromedevtools.github.io/devtools-protocol/, JSON messages that end in a zero byte.
"""

import base64
import fcntl
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync "
    "--disable-component-update --disable-dev-shm-usage --hide-scrollbars --remote-debugging-pipe"
)
_TIMEOUT_SECONDS = 30

# Puts the pipes where the browser looks for them, in a process of its own: one with threads must not fork.
_START = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Chromium:
    """One browser with one page; its errors are collected in `errors`."""

    def __init__(self, program: str, *, profile: Path, flags: Sequence[str] = ()) -> None:
        """Start the browser with a fresh profile folder, and flags beside those that every test needs."""
        # The browser reads from descriptor 3 and writes to 4: ours stay clear of both.
        (its_input, self._requests), (self._responses, its_output) = (
            [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in os.pipe()] for _ in range(2)
        )

        self._process = subprocess.Popen(
            [
                *(sys.executable, "-I", "-c", _START, str(its_input), str(its_output)),
                *(program, *_FLAGS.split(), *flags, f"--user-data-dir={profile}", "about:blank"),
            ],
            pass_fds=(its_input, its_output),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(its_input)
        os.close(its_output)
        self._buffer = b""
        self._last_id = 0
        self._session: str | None = None
        self._loaded = False
        self.errors: list[str] = []
        """Uncaught errors, console errors, and what the content security policy blocked."""

        self.requests: list[str] = []
        """Addresses the page asked for."""

    def __enter__(self) -> Self:
        """Attach to the page."""
        pages = self.call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in pages if target["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the browser and wait for it."""
        self._session = None
        try:
            self.call("Browser.close")
            self._process.wait(timeout=5)
        except (EOFError, subprocess.TimeoutExpired, TimeoutError, BrokenPipeError):
            self._process.kill()
            self._process.wait()
        os.close(self._requests)
        os.close(self._responses)

    def call(self, method: str, **parameters: Any) -> Any:
        """Send a command and return its result."""
        self._last_id += 1
        message: dict[str, Any] = {"id": self._last_id, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._requests, json.dumps(message).encode() + b"\0")
        while True:
            response = self._receive()
            if response.get("id") == self._last_id:
                if "error" in response:
                    raise RuntimeError(f"{method}: {response['error']['message']}")
                return response["result"]

    def open(
        self, page: Path | str, *, width_px: int = 1280, height_px: int = 900, dark: bool = False
    ) -> None:
        """Load a file or an address into such a window and wait until it is there."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width_px,
            height=height_px,
            deviceScaleFactor=1,
            mobile=width_px < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self._loaded = False
        self.call("Page.navigate", url=page if isinstance(page, str) else page.as_uri())
        while not self._loaded:
            self._receive()

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page."""
        response = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in response:
            raise RuntimeError(response["exceptionDetails"]["exception"]["description"])
        return response["result"].get("value")

    def wait_for(self, expression: str, *, seconds: float = 20) -> Any:
        """Return the value of an expression once it is true."""
        until = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < until, (expression, self.evaluate("document.body.innerText"))
            time.sleep(0.05)
        return value

    def choose(self, selector: str, *files: Path) -> None:
        """Choose files in a form as a user does in the dialog."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def click(self, selector: str) -> None:
        """Press the mouse in the middle of the first element that matches, as a user would."""
        x, y = self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); "
            "e.scrollIntoView({block: 'center', behavior: 'instant'}); const r = e.getBoundingClientRect(); "
            "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str, *, code: int, text: str = "") -> None:
        """Press and release a key; `code` is its Windows virtual key code."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, text=text)

    def screenshot(self) -> bytes:
        """Return the whole page as a PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(shot["data"])

    def photograph(self) -> bytes:
        """Return what the window shows as a PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def _receive(self) -> dict[str, Any]:
        """Return the next message, and note it where it is an event."""
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while b"\0" not in self._buffer:
            if not select.select([self._responses], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError("chromium does not respond")
            chunk = os.read(self._responses, 1 << 20)
            if not chunk:
                raise EOFError("chromium has ended")
            self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(line)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, event: str, details: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Network.requestWillBeSent":
            self.requests.append(details["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.errors.append(str(details["exceptionDetails"]))
        elif event == "Log.entryAdded" and details["entry"]["level"] in ("warning", "error"):
            self.errors.append(details["entry"]["text"])
        elif event == "Runtime.consoleAPICalled" and details["type"] in ("warning", "error", "assert"):
            self.errors.append(str(details["args"]))
