"""The stages of the pipeline, and the commands around it."""

import sys

# Here, because every command imports this first: before fcntl, resource or SIGHUP would end in a traceback.
if sys.platform == "win32":
    sys.exit(
        "darkroom runs on Linux and macOS; on Windows, install WSL and run it there: "
        "https://learn.microsoft.com/windows/wsl/install"
    )
