"""A picture in a window, or in a file where there is none."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import cv2

from stages.shared.files import publish_file
from stages.show.grid import Pixels


def has_display() -> bool:
    """Return whether a window can be opened."""
    if platform.system() != "Linux":
        return True
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    # Where the display is named but gone, Qt ends the process: another process tries first.
    probe = [sys.executable, "-c", "import cv2; cv2.namedWindow('probe', cv2.WINDOW_NORMAL)"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def write_picture(path: Path, picture: Pixels, *, title: str) -> None:
    """Write a PNG whole and say where it is."""
    written, data = cv2.imencode(".png", picture)
    assert written, "PNG holds every picture"
    with publish_file(path) as partial:
        partial.write_bytes(data.tobytes())
    print(f"{path}: {title}")


def show_window(picture: Pixels, *, title: str) -> None:
    """Show a window until a key is pressed or it is closed."""
    # OpenCV's Qt warns of fonts that it does not need; the picture holds all the text there is.
    os.environ.setdefault("QT_LOGGING_RULES", "default.warning=false")
    cv2.imshow(title, picture)
    while cv2.waitKey(100) < 0 and cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) >= 1:
        pass
    cv2.destroyAllWindows()
