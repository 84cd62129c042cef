"""Errors a person can act on, and the one way a stage ends."""

import sys
from collections.abc import Callable


class InputError(ValueError):
    """Something a user gave is wrong; the message names the place, what was found and what to do.

    A message may hold several lines, one for each thing that is wrong.
    """


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage and leave the process: status 0, or 1 with one clear line for bad input.

    Only InputError is caught: a traceback means a bug of ours, never a bad file.
    """
    try:
        main()
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("stopped; nothing was published", file=sys.stderr)
        sys.exit(130)
