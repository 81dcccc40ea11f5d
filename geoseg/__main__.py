"""Where the command line begins: ``geoseg`` and ``python -m geoseg``.

Before Ctrl-C is watched only what Python has loaded anyway is imported here, so that it prints no traceback of imports.
"""

import os
import signal
import sys


def main() -> int:
    """Run a command.

    Returns
    -------
    int
        The exit code; that of Ctrl-C while the command line is still loaded, when nothing has begun.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # the jobs in the background of a shell ignore it
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from geoseg.cli import main as run_command

    return run_command()


if __name__ == "__main__":  # workers import this module too, and must not start a run
    sys.exit(main())
