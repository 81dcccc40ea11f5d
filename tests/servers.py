"""A server of files on the loopback interface for tests: by ranges, every request counted.

It runs in a process of its own, because GDAL holds Python's lock while it opens a file.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

RANGE = re.compile(r"bytes=(\d+)-(\d*)")
CONTROL = "/-/"


@dataclass(frozen=True)
class Traffic:
    """What a server was asked, and what it sent.

    Attributes
    ----------
    url : str
        Its address, without a slash at the end.
    """

    url: str

    def _ask(self, word: str) -> Any:
        with urllib.request.urlopen(f"{self.url}{CONTROL}{word}") as answer:  # noqa: S310 - our own server
            return json.load(answer)

    @property
    def requests(self) -> list[tuple[str, str, int]]:
        """Method, path and bytes of the answer's body of each request since the last `clear`."""
        return [tuple(item) for item in self._ask("requests")]

    @property
    def sent(self) -> int:
        """Bytes of all bodies."""
        return sum(size for _, _, size in self.requests)

    @property
    def paths(self) -> set[str]:
        """Files of which something was sent."""
        return {path for _, path, size in self.requests if size}

    def clear(self) -> None:
        """Forget what was counted."""
        self._ask("clear")

    def fail(self, count: int) -> None:
        """Answer the next requests with 503."""
        self._ask(f"fail/{count}")

    def cut(self, count: int) -> None:
        """Break off in the middle of the next answers of more than 4 KiB that are no beginning of a file."""
        self._ask(f"cut/{count}")


@contextmanager
def serving(folder: Path, delay: float = 0.0) -> Iterator[Traffic]:
    """Serve a folder over HTTP/1.1 with ranges, as object stores do: no listing, 404 for what is not there.

    Each answer comes after `delay` seconds.
    """
    command = [sys.executable, __file__, str(folder), str(delay)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Traffic(f"http://127.0.0.1:{int(process.stdout.readline())}")
    finally:
        process.kill()
        process.wait()


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    folder = Path()
    delay = 0.0
    asked: list[tuple[str, str, int]] = []  # noqa: RUF012 - shared on purpose
    failing = 0
    cutting = 0

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        if self.path.startswith(CONTROL):
            self._obey(self.path.removeprefix(CONTROL))
        else:
            self._answer()

    def _obey(self, word: str) -> None:
        body = json.dumps(self.asked).encode() if word == "requests" else b"null"
        if word == "clear":
            self.asked.clear()
        if word.startswith("fail/"):
            Handler.failing = int(word.removeprefix("fail/"))
        if word.startswith("cut/"):
            Handler.cutting = int(word.removeprefix("cut/"))
        self._send(200, body, {})

    def _answer(self) -> None:
        time.sleep(self.delay)
        path = self.folder / self.path.split("?")[0].lstrip("/")
        found = RANGE.fullmatch(self.headers.get("Range", ""))
        status, body, headers = 404, b"", {}
        if Handler.failing > 0:
            Handler.failing -= 1
            status = 503
        elif path.is_file():
            content = path.read_bytes()
            status, body, headers = 200, content, {"Accept-Ranges": "bytes"}
            if found is not None:
                start = int(found[1])
                stop = min(int(found[2]) + 1 if found[2] else len(content), len(content))
                status, body = 206, content[start:stop]
                headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        self.asked.append((self.command, self.path, len(body) if self.command == "GET" else 0))
        self._send(status, body, headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        is_later = not headers.get("Content-Range", "bytes 0-").startswith("bytes 0-")
        if self.command == "GET" and Handler.cutting > 0 and is_later and len(body) > 1 << 12:
            Handler.cutting -= 1
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


if __name__ == "__main__":
    Handler.folder, Handler.delay = Path(sys.argv[1]), float(sys.argv[2])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)  # noqa: T201 - the parent reads it
    server.serve_forever()
