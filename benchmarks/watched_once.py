"""One run, watched in one way, and what it took: ``SCENE FOLDER none | monitor | browser``; prints JSON."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import psutil
from rich.console import Console

import geoseg
from geoseg.engine import Ended, Opened, ProgressCallback, ProgressEvent, Started, ignore
from geoseg.monitor import Monitor
from geoseg.monitor.feed import page_address

BROWSER = """
import gzip, json, sys, time, urllib.request
revision = -1
while True:
    request = urllib.request.Request(f"{sys.argv[1]}/state?since={revision}", headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request) as answer:
        revision = json.loads(gzip.decompress(answer.read())).get("revision", -1)
    time.sleep(1)
"""
"""Asks as often as a page in front does; what a real browser does besides, it does on the machine of whoever looks."""

SETTINGS = {"model": "sentinel2-land-cover", "workers": 2, "report": False, "overwrite": True}


class Noting:
    """A callback that passes everything on, and notes what was spent between the first block and the last file.

    Parameters
    ----------
    inner : callable
        Callback to pass them to.
    looks : bool
        Whether somebody looks at the page.
    """

    def __init__(self, inner: ProgressCallback, *, looks: bool) -> None:
        self.inner, self.looks = inner, looks
        self.address: str | None = None
        self.browser: subprocess.Popen[bytes] | None = None
        self.spent: dict[str, float] = {}

    def __call__(self, event: ProgressEvent) -> None:
        """Take in what happens."""
        if isinstance(event, Ended):
            self.spent = {key: value - self.spent[key] for key, value in _now(self.browser).items()}
            if self.browser is not None:
                self.browser.kill()
        self.inner(event)
        if isinstance(event, Started):
            self.address = page_address(event.dashboard)
        if isinstance(event, Opened):
            if self.looks and self.address is not None:
                self.browser = subprocess.Popen([sys.executable, "-c", BROWSER, self.address])
            self.spent = _now(self.browser)


def _now(browser: subprocess.Popen[bytes] | None) -> dict[str, float]:
    """Wall time, and CPU time of this process, which hosts the scheduler, and of its workers, s."""
    own = psutil.Process()
    workers = [child for child in own.children(recursive=True) if browser is None or child.pid != browser.pid]
    spent = [sum(process.cpu_times()[:2]) for process in (own, *workers)]
    return {"wall": time.perf_counter(), "own": spent[0], "workers": sum(spent[1:])}


def main(scene: str, folder: str, how: str) -> None:
    """Run, and print what was spent."""
    settings = SETTINGS | {"input": scene, "output": folder, "dashboard": "127.0.0.1:0"}
    if how == "none":
        noting = Noting(ignore, looks=False)
        geoseg.run(settings, progress=noting)
    else:
        with Monitor(Console(force_terminal=True, file=sys.stderr)) as monitor:
            noting = Noting(monitor, looks=how == "browser")
            geoseg.run(settings, progress=noting)
    print(json.dumps(noting.spent))


if __name__ == "__main__":
    main(*sys.argv[1:])
