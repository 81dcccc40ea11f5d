"""Pictures of tile services on disk: each is fetched once, politely, and kept.

A server gets few connections at a time from all processes of a machine, is asked again only when it says that it is
busy, and waits as long as it wishes. It knows addresses and files; what a picture is, and where it lies on the
ground, is told elsewhere.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from geoseg.errors import OutputError, RasterReadError
from geoseg.files import cache_home, write_file
from geoseg.raster.repeats import note_repeated

if TYPE_CHECKING:
    import requests  # loaded by the first request: most runs make none

CONNECTIONS = 4
"""Requests at a time to one server, of all processes of a machine."""

ATTEMPTS = 5
"""Times that a tile is asked for; between them 1, 2, 4 and 8 s pass, or as much as the server says."""

LONGEST_WAIT = 120.0
"""Seconds that a server may ask for; one that wants more fails the tile."""

TIMEOUT = 30.0
"""Seconds that a server has to accept a connection, and between two parts of an answer."""

AGENT = f"geoseg/{version('geoseg')}"
"""How servers know who asks."""

_BUSY = {429, 500, 502, 503, 504}
_MISSING = {204, 404, 410}

Picture = TypeVar("Picture")


def fetch(address: str, file: Path, turn: int, name: str, read: Callable[[bytes], Picture]) -> Picture:
    """Fetch a tile, unless it is on disk.

    Parameters
    ----------
    address : str
        Where the server has it.
    file : Path
        Where it is kept, from the folder of all tiles; what ``read`` refuses is not kept.
    turn : int
        Tiles of one number wait for one another; so two processes never fetch the same one.
    name : str
        What messages call it; an address may hold a key.
    read : callable
        Makes a picture of the content, which is empty where the server has no tile.

    Raises
    ------
    RasterReadError
        The server does not answer, stays busy, or refuses.
    OutputError
        The disk refuses; ``XDG_CACHE_HOME`` chooses another.
    """
    host = urlsplit(address).netloc.rpartition("@")[2].replace(":", "-")
    path = cache_home("tiles") / host / file
    with suppress(FileNotFoundError, RasterReadError):  # one that was cut off by a crash is fetched again
        return read(path.read_bytes())
    with _turn(cache_home("tiles") / host / f".connection-{turn % CONNECTIONS}"):
        with suppress(FileNotFoundError, RasterReadError):  # another process has fetched it meanwhile
            return read(path.read_bytes())
        content = _ask(address, host, name)
        picture = read(content)
        try:
            write_file(path, lambda unfinished: unfinished.write_bytes(content), durable=False)
        except OutputError as error:
            raise _unwritable(path.parent, error) from error
    return picture


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    """Wait for one of the connections of a server; a file system without locks bounds those of a process alone."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise _unwritable(path.parent, error) from error
    with file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _unwritable(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"the cache folder '{folder}' cannot be written ({error.__cause__ or error}); set XDG_CACHE_HOME to one that "
        "can."
    )


def _ask(address: str, host: str, name: str) -> bytes:
    """Ask a server for a tile until it has an answer; empty where it has none."""
    import requests

    for attempt in range(ATTEMPTS):
        wait = 2.0**attempt
        try:
            answer = session(os.getpid()).get(address, timeout=TIMEOUT)
        except requests.RequestException as error:
            cause = type(error).__name__
        else:
            if answer.status_code in _MISSING:
                return b""
            if answer.ok and answer.content:
                return answer.content
            cause = f"HTTP {answer.status_code}" if answer.content or not answer.ok else "an empty answer"
            if answer.status_code not in _BUSY:
                raise RasterReadError(
                    f"{name} cannot be fetched: {host} answers {cause}; correct the address, its key or the zoom."
                )
            wait = _asked_for(answer, wait)
        if attempt == ATTEMPTS - 1 or wait > LONGEST_WAIT:
            break
        note_repeated(address)
        time.sleep(wait)
    raise RasterReadError(
        f"{name} cannot be fetched: {host} was asked {attempt + 1} times, the last answer was {cause}"
        f"{f', to be asked again in {wait:,.0f} s' if wait > LONGEST_WAIT else ''}; run the same command again later, "
        "tiles that are there are kept."
    )


def _asked_for(answer: requests.Response, default: float) -> float:
    """Seconds that a server asks to be left alone, as a number or until a date (RFC 9110, section 10.2.3)."""
    text = answer.headers.get("Retry-After", "")
    if text.isdecimal():
        return float(text)
    with suppress(TypeError, ValueError):
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    return default


@lru_cache(maxsize=1)
def session(_process: int) -> requests.Session:
    """Connections that stay open, of a process by its id: a fork shares those of its parent, so it opens its own."""
    import requests

    opened = requests.Session()
    opened.headers["User-Agent"] = AGENT
    return opened
