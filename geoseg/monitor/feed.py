"""Sends the progress of a run to its page: once a second what is new goes to the scheduler, local or remote."""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import asdict
from math import inf
from typing import Any
from urllib.parse import urljoin

from distributed import Client

from geoseg.engine import ends_with_run
from geoseg.monitor.gauge import Gauge
from geoseg.monitor.page import HANDLER, Message, PagePlugin, Reply
from geoseg.monitor.picture import Tile
from geoseg.monitor.state import RunState, Summary, WorkerMemory
from geoseg.stages import TABLE

INTERVAL = 1.0
"""Seconds between messages."""

PATIENCE = 5
"""Messages that may fail in a row before no more are sent."""

FAREWELL = 2.0
"""Seconds that a run waits at its end for a page that is being watched to see it; a local scheduler ends with it."""


class Feed:
    """What keeps the page of a run up to date.

    Parameters
    ----------
    state : RunState
        The run.
    client : Client
        Where it runs.
    interval : float
        Seconds between messages.
    """

    def __init__(self, state: RunState, client: Client, interval: float = INTERVAL) -> None:
        self.state, self.client, self.interval = state, client, interval
        self.run = uuid.uuid4().hex[:8]
        self.problem = ""
        self._is_known = False
        self._is_watched = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_telling, name="geoseg-page", daemon=True)

    def start(self) -> str | None:
        """Add the page to the dashboard, and begin to tell.

        Returns
        -------
        str or None
            Where the page is; None when it cannot be, and `problem` says why.
        """
        try:
            self.client.register_plugin(Gauge())
            self.client.register_plugin(PagePlugin())
            self._tell()
        except Exception as error:  # noqa: BLE001 - a run does without, whatever the scheduler does not have
            self.problem = f"{type(error).__name__}: {error}"
            return None
        self._thread.start()
        return page_address(self.client.dashboard_link or "")

    def stop(self, *, waits: bool) -> None:
        """Tell how it ended, and wait until a page that is being watched has seen it, when told so."""
        self._stop.set()
        if not self._thread.is_alive():
            return
        self._thread.join(timeout=10)
        try:
            reply = self._tell()
            last, deadline = reply["revision"], time.monotonic() + FAREWELL
            while waits and reply["is_watched"] and reply["seen"] < last and time.monotonic() < deadline:
                time.sleep(0.1)
                reply = self._tell()
        except Exception as error:  # noqa: BLE001 - as above
            self.problem = f"{type(error).__name__}: {error}"

    def _keep_telling(self) -> None:
        failed = 0
        while failed < PATIENCE and not self._stop.wait(self.interval):
            try:
                self._tell()
                failed = 0
            except Exception as error:  # noqa: BLE001 - as above
                self.problem = f"{type(error).__name__}: {error}"
                self._is_known, failed = False, failed + 1

    def _tell(self) -> Reply:
        reply = self._send(self._message())
        self._is_known = reply["is_known"]
        self._is_watched = reply["is_watched"]
        self.state.workers = tuple(WorkerMemory(*worker) for worker in reply["workers"])
        return reply

    def _send(self, message: Message) -> Reply:
        reply: Reply = self.client.sync(getattr(self.client.scheduler, HANDLER), message=message)
        return reply

    def _message(self) -> Message:
        """What is new; everything the first time, and after a message that was lost."""
        state, picture = self.state, self.state.picture
        summary = state.summary()
        is_last = self._stop.is_set() and not ends_with_run(self.client)  # another one may be looked at later
        tiles = picture.draw(inf if is_last else summary.elapsed) if picture and (self._is_watched or is_last) else []
        message = Message(run=self.run, head=self._head(summary))
        with state.lock:
            changes = state.blocks.take_changes() if state.blocks else []
            if self._is_known:
                return message | Message(changes=changes, tiles=[_packed(tile) for tile in tiles])
            return message | Message(
                layout=self._layout(),
                cells=state.blocks.values().tobytes() if state.blocks else b"",
                picture=picture.values.tobytes() if picture else b"",
            )

    def _head(self, summary: Summary) -> dict[str, Any]:
        """What is short enough to be told every time."""
        started, picture = self.state.started, self.state.picture
        legend = list(picture.legend.values()) if picture else []
        fields = {key: value for key, value in asdict(summary).items() if key != "workers"}
        return fields | {"title": started.title if started else "", "name": self.state.name, "legend": legend}

    def _layout(self) -> dict[str, Any]:
        """What does not change."""
        blocks, picture = self.state.blocks, self.state.picture
        if blocks is None or picture is None:
            return {}
        rows, cols = blocks.edges
        return {
            "rows": rows,
            "cols": cols,
            "factor": blocks.factor,
            "stages": blocks.stages,
            "table": {stage.name: {"does": stage.does, "blocks": stage.goes_through_blocks} for stage in TABLE},
            "picture": list(picture.shape),
        }


def page_address(dashboard: str) -> str | None:
    """Where the page is, beside the dashboard's own."""
    return urljoin(dashboard, "geoseg") if dashboard else None


def _packed(tile: Tile) -> tuple[int, int, int, int, bytes]:
    left, top, values = tile
    height, width = values.shape
    return left, top, width, height, values.tobytes()
