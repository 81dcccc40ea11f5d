"""The commands of docs/finishing.md, one after the other in one process; prints the seconds of each as JSON."""

from __future__ import annotations

import json
import shlex
import time
from contextlib import redirect_stdout
from io import StringIO

from tests.test_docs import commands


def main() -> None:
    """Run them in the folder where this process is."""
    from geoseg.cli import main

    seconds = []
    for command in commands("finishing"):
        started = time.perf_counter()
        with redirect_stdout(StringIO()):
            code = main(shlex.split(command)[1:])
        if code:
            raise SystemExit(f"{command} failed with exit code {code}")
        seconds.append(time.perf_counter() - started)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
