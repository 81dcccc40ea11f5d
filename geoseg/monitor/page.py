"""The page ``/geoseg`` on the Dask dashboard: a scheduler plugin that keeps the progress of runs, and answers browsers.

Whoever runs tells only what is new, about once a second; what is told is kept here as it is, so a browser that comes
late gets all of it, and one that is here gets what has changed since it last asked. Nothing is computed for a browser
that does not ask. Memory of workers and what they are busy with is the scheduler's own knowledge.

It is loaded by the scheduler's process, which may be anywhere, and imports little but distributed and tornado.
"""

from __future__ import annotations

import base64
import json
import time
from collections import deque
from importlib.resources import files
from typing import Any, TypedDict

from distributed import Scheduler, SchedulerPlugin
from tornado import web

from geoseg.monitor.gauge import METRIC
from geoseg.monitor.metrics import collect

NAME = "geoseg-page"
"""The plugin's name on the scheduler."""

HANDLER = "geoseg_tell"
"""What a client calls on the scheduler; a function that it sent there to be run would be logged each time."""

RUNS = 8
"""Runs that are kept, those that were heard of last; a scheduler may outlive many."""

CHANGES = 120
"""Messages that are kept for browsers that ask what is new; after a longer silence they get everything."""

WATCHED = 12.0
"""Seconds after which somebody who has asked counts as gone; a page that is not in front asks every ten."""

WORKERS = 24
"""Workers that are listed, those with most memory."""

FILES = {"page.css": "text/css", "page.js": "text/javascript"}

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
"""What the page may load: nothing from anywhere else."""

Tile = tuple[int, int, int, int, bytes]
"""Column, row, width and height of a part of the picture, px, and its values."""


class Message(TypedDict, total=False):
    """What a run tells.

    ``run`` names it; ``head`` is shown as it is. ``layout`` comes with everything that there is: all ``cells`` and the
    whole ``picture``; without it, ``changes`` are index and value of cells, and ``tiles`` parts of the picture.
    """

    run: str
    head: dict[str, Any]
    layout: dict[str, Any]
    cells: bytes
    picture: bytes
    changes: list[tuple[int, int]]
    tiles: list[Tile]


class Reply(TypedDict):
    """What the scheduler says to a run.

    Whether it ``is_known``, or has to tell everything; whether it ``is_watched`` by anyone; the revision that a page
    has ``seen``, and the one that there is; and name and memory, bytes, of ``workers``.
    """

    is_known: bool
    is_watched: bool
    seen: int
    revision: int
    workers: list[tuple[str, int]]


class RunView:
    """What a run has told."""

    def __init__(self) -> None:
        self.head: dict[str, Any] = {}
        self.layout: dict[str, Any] = {}
        self.cells, self.picture = bytearray(), bytearray()
        self.revision = self.seen = 0
        self.told = time.monotonic()
        self.asked = float("-inf")
        self._log: deque[tuple[int, list[tuple[int, int]], list[Tile]]] = deque(maxlen=CHANGES)

    def tell(self, message: Message) -> None:
        """Take in a message."""
        self.revision += 1
        self.told = time.monotonic()
        self.head = message["head"]
        if "layout" in message:
            self.layout = message["layout"]
            self.cells, self.picture = bytearray(message["cells"]), bytearray(message["picture"])
            self._log.clear()
            return
        changes, tiles = message["changes"], message["tiles"]
        for index, value in changes:
            self.cells[index] = value
        for tile in tiles:
            self._paint(tile)
        self._log.append((self.revision, changes, tiles))

    def ask(self, since: int) -> dict[str, Any]:
        """What is new since a revision; everything when too much is."""
        self.asked = time.monotonic()
        self.seen = max(self.seen, self.revision)
        answer = {"revision": self.revision, "age": self.asked - self.told, "head": self.head}
        first = self._log[0][0] if self._log else self.revision + 1
        if not first - 1 <= since <= self.revision:
            return answer | {
                "layout": self.layout,
                "cells": _text(self.cells),
                "picture": _text(self.picture),
            }
        recent = [entry for entry in self._log if entry[0] > since]
        changes = {index: value for _, changes, _ in recent for index, value in changes}
        tiles = [(*tile[:4], _text(tile[4])) for _, _, tiles in recent for tile in tiles]
        return answer | {"changes": list(changes.items()), "tiles": tiles}

    def _paint(self, tile: Tile) -> None:
        left, top, width, height, values = tile
        for row in range(height):
            start = (top + row) * self.layout["picture"][1] + left
            self.picture[start : start + width] = values[row * width : (row + 1) * width]


class PagePlugin(SchedulerPlugin):
    """The page, and the runs that it shows; there is one on a scheduler, whoever registers it."""

    name = NAME
    idempotent = True

    def __init__(self) -> None:
        self.views: dict[str, RunView] = {}

    async def start(self, scheduler: Scheduler) -> None:
        """Add the page to the dashboard."""
        self.scheduler = scheduler
        arguments = {"plugin": self}
        routes = [
            (r"(?:/.*)?/geoseg", PageHandler, arguments),
            (r"(?:/.*)?/geoseg/state", StateHandler, arguments),
            (r"(?:/.*)?/geoseg/(page\.css|page\.js)", FileHandler, arguments),
        ]
        scheduler.http_application.add_application(web.Application(routes, compress_response=True))
        scheduler.handlers[HANDLER] = self.tell
        _add_tab(scheduler)
        collect(self.views)

    def tell(self, message: Message) -> Reply:
        """Take in what a run tells."""
        name = message["run"]
        is_known = name in self.views or "layout" in message
        if is_known:
            self.views.setdefault(name, RunView()).tell(message)
        while len(self.views) > RUNS:
            del self.views[min(self.views, key=lambda name: self.views[name].told)]
        view = self.views.get(name) or RunView()
        return Reply(
            is_known=is_known,
            is_watched=time.monotonic() - view.asked < WATCHED,
            seen=view.seen,
            revision=view.revision,
            workers=self.workers(),
        )

    def workers(self) -> list[tuple[str, int]]:
        """Name and memory, bytes, of each worker that has told it, most memory first."""
        told = ((str(worker.name), worker.metrics) for worker in self.scheduler.workers.values())
        found = ((name, metrics.get(METRIC) or metrics.get("memory")) for name, metrics in told)
        return sorted(((name, int(size)) for name, size in found if size), key=lambda item: -item[1])

    def running(self, name: str) -> list[tuple[Any, ...]]:
        """Stage and place of what workers are busy with, of the run with that name in its keys."""
        workers = self.scheduler.workers.values()
        keys = (task.key for worker in workers for task in getattr(worker, "executing", worker.processing))
        ending = f"-{name}"
        return [
            (str(key[0]).removesuffix(ending), *key[1:])
            for key in keys
            if isinstance(key, tuple) and str(key[0]).endswith(ending)
        ]


class _Handler(web.RequestHandler):
    """What all answers have in common."""

    def initialize(self, plugin: PagePlugin) -> None:
        """Whose page it is."""
        self.plugin = plugin

    def set_default_headers(self) -> None:
        """Nothing is loaded from elsewhere, and nothing is kept by a browser."""
        self.set_header("Content-Security-Policy", POLICY)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "no-store")

    def data_received(self, chunk: bytes) -> None:
        """Nothing is uploaded."""


class PageHandler(_Handler):
    """The page itself."""

    def get(self) -> None:
        """Answer with the page."""
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(_read("page.html"))


class FileHandler(_Handler):
    """What the page consists of."""

    def get(self, name: str) -> None:
        """Answer with a file."""
        self.set_header("Content-Type", f"{FILES[name]}; charset=utf-8")
        self.finish(_read(name))


class StateHandler(_Handler):
    """What a page asks for again and again."""

    def get(self) -> None:
        """Answer with what is new of a run: ``?run=NAME&since=REVISION``; the latest run unless named."""
        views = self.plugin.views
        runs = [{"run": name, "title": view.head["title"]} for name, view in views.items()]
        name = self.get_query_argument("run", "")
        if name not in views:
            name = next(reversed(views), "")
        answer: dict[str, Any] = {"run": name, "runs": runs}
        if name:
            since = self.get_query_argument("since", "-1")
            workers = self.plugin.workers()
            answer |= views[name].ask(int(since) if since.isdecimal() else -1)
            answer["running"] = self.plugin.running(views[name].head["name"])
            answer["workers"], answer["worker_count"] = workers[:WORKERS], len(workers)
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(answer, separators=(",", ":")))


def _add_tab(scheduler: Scheduler) -> None:
    """Name the page among those of the dashboard; where a version of distributed keeps them elsewhere, nobody does."""
    try:
        from distributed.dashboard.scheduler import template_variables

        pages = template_variables(scheduler)["pages"]
        if "geoseg" not in pages:
            pages.insert(0, "geoseg")
    except (ImportError, AttributeError, KeyError, TypeError):
        return


def _read(name: str) -> bytes:
    return files("geoseg.monitor").joinpath("static", name).read_bytes()


def _text(values: bytes | bytearray) -> str:
    return base64.b64encode(values).decode("ascii")
