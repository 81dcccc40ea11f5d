"""``python -m tests.picture_of_page docs/watching.png`` draws the page of a run as the docs show it."""

from __future__ import annotations

import io
import sys
import tempfile
import threading
from pathlib import Path

from PIL import Image

import geoseg
from geoseg.engine import Opened, ProgressEvent
from geoseg.monitor import Monitor
from geoseg.monitor.feed import page_address
from tests.browsing import chromium

SHARE = 0.62
"""Of the blocks that are finished when the picture is taken."""


def take(path: Path) -> None:
    """Run, look, and write the picture with at most 256 colours."""
    opened = threading.Event()
    monitor = Monitor(form="quiet")

    def progress(event: ProgressEvent) -> None:
        monitor(event)
        if isinstance(event, Opened):
            opened.set()

    def run(folder: str) -> None:
        with monitor:
            settings = {"tile_size": 256, "block_tiles": 1, "report": False, "dashboard": "127.0.0.1:0"}
            geoseg.run("land_use", output=folder, progress=progress, **settings)

    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        thread = threading.Thread(target=run, args=(folder,))
        thread.start()
        opened.wait()
        page = browser.new_page(color_scheme="light", viewport={"width": 1240, "height": 900})
        page.goto(page_address(monitor.state.started.dashboard))
        blocks = monitor.state.blocks.counts
        while blocks["done"] < SHARE * sum(blocks.values()):
            page.wait_for_timeout(50)
        page.wait_for_timeout(1500)
        picture = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
        thread.join()
    picture.quantize(255, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    take(Path(sys.argv[1]))
