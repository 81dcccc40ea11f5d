"""A tile service on the loopback interface for tests: pictures cut from an array, every request counted.

It can be busy, miss tiles, and answer with something else. It knows nothing of geoseg.
"""

from __future__ import annotations

import io
import math
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from PIL import Image

HALF = math.pi * 6_378_137
"""Half of the side of the square of EPSG:3857, m."""

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class TileServer:
    """A service of one zoom; what it shows begins at the corner of a tile.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (band, y, x)
        One band is grey, three are RGB, four RGBA.
    zoom, column, row : int
        The tile of the first pixels.
    size : int
        Side of a tile, px.
    form : str
        PNG, JPEG or WEBP.
    answers : dict
        ``{(x, y): [(status, headers, body), ...]}``: what is answered once each, before the picture.
    documents : dict
        Other paths and their text.
    """

    pixels: NDArray[np.uint8]
    zoom: int
    column: int
    row: int
    size: int = 256
    form: str = "PNG"
    answers: dict[tuple[int, int], list[Answer]] = field(default_factory=dict)
    documents: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    delay: float = 0.0
    at_once: int = 0
    most_at_once: int = 0
    url: str = ""
    lock: Any = field(default_factory=threading.Lock)

    @property
    def transform(self) -> Affine:
        """From px of the array to EPSG:3857."""
        side = 2 * HALF / 2**self.zoom / self.size
        left, top = self.column * self.size * side - HALF, HALF - self.row * self.size * side
        return Affine(side, 0, left, 0, -side, top)

    @property
    def template(self) -> str:
        """Its address."""
        return f"{self.url}/{{z}}/{{x}}/{{y}}.png"

    @property
    def repeated(self) -> Counter[str]:
        """Paths that were asked for more than once."""
        return Counter({path: count for path, count in Counter(self.asked).items() if count > 1})

    def answer(self, path: str) -> Answer:
        """What is sent for a path."""
        if path in self.documents:
            return 200, {}, self.documents[path].encode()
        try:
            zoom, column, row = (int(part.partition(".")[0]) for part in path.partition("?")[0].split("/")[1:4])
        except ValueError:
            return 404, {}, b"no such page"
        if planned := self.answers.get((column, row)):
            return planned.pop(0)
        top, left = (row - self.row) * self.size, (column - self.column) * self.size
        part = self.pixels[:, max(0, top) : top + self.size, max(0, left) : left + self.size]
        if zoom != self.zoom or min(top, left) < 0 or part.shape[1:] != (self.size, self.size):
            return 404, {}, b"no such tile"
        return 200, {}, encoded(part, self.form)


def encoded(pixels: NDArray[np.uint8], form: str = "PNG") -> bytes:
    """Pixels (band, y, x) as a picture."""
    body = io.BytesIO()
    Image.fromarray(np.moveaxis(pixels, 0, -1) if len(pixels) > 1 else pixels[0]).save(body, form)
    return body.getvalue()


@contextmanager
def serving_tiles(server: TileServer) -> Iterator[TileServer]:
    """Serve tiles while a block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with server.lock:
                server.asked.append(self.path)
                server.agents.add(self.headers["User-Agent"])
                server.at_once += 1
                server.most_at_once = max(server.most_at_once, server.at_once)
                status, headers, body = server.answer(self.path)
            time.sleep(server.delay)
            with server.lock:
                server.at_once -= 1
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    server.url = f"http://127.0.0.1:{listening.server_port}"
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
