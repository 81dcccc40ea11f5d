"""A run that is killed in the middle, as a power cut would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any


def kill_in_the_middle(wanted: dict[str, Any], markers: Path, count: int) -> None:
    """Start a run in a process of its own, and kill it and its workers once it has written so many markers."""
    before = _written(markers)
    process = subprocess.Popen(
        [sys.executable, "-c", f"import geoseg\nif __name__ == '__main__': geoseg.run({wanted!r})"],
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(_written(markers) - before) < count:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _written(markers: Path) -> set[tuple[str, int]]:
    """Markers by name and time; one that is being written has a suffix, and one that goes meanwhile is none."""
    found = set()
    for path in markers.glob("[0-9]*"):
        with suppress(FileNotFoundError):
            found |= set() if path.suffix else {(path.name, path.stat().st_mtime_ns)}
    return found
