"""A real headless Chromium, the system's own; tests that need it are skipped where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

PATIENCE = 120_000
"""Milliseconds that a page may take on a machine that does other things too."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium with a profile of its own, or skip the test."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


class Watched:
    """A page, and everything that it asked for or complained of.

    Parameters
    ----------
    page : Page
        Nothing may be open in it yet.
    """

    def __init__(self, page: Page) -> None:
        self.page, self.asked, self.complaints = page, [], []
        page.on("request", lambda request: self.asked.append(request.url))
        page.set_default_timeout(PATIENCE)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: (self.complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))

    def _hear(self, said: ConsoleMessage) -> None:
        """Note what the page says; that pixels are read back is the tests' own doing."""
        if "willReadFrequently" not in said.text:
            self.complaints.append(said.text)

    def open(self, path: Path) -> Page:
        """Open a file, and wait until its map is drawn."""
        self.page.goto(path.absolute().as_uri())
        self.page.wait_for_selector("canvas[data-ready=true]", timeout=PATIENCE)
        self.page.wait_for_timeout(150)
        return self.page
