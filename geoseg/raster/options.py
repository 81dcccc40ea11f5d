"""GDAL's options, in force while geoseg reads or writes and no longer: the caller's own rasterio keeps its own.

rasterio sets an option for the whole process where the main thread asks, and for its own thread where another does.
So every thread counts its blocks: the first sets, the last takes back. What the environment or the caller has set is
left alone. The size of the block cache is one for the whole process, and is counted over all threads.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rasterio._env import del_gdal_config  # rasterio.env has set and get, and not this
from rasterio.env import get_gdal_config, getenv, hasenv, set_gdal_config

CACHE_BYTES = 64 * 2**20
"""Size of GDAL's block cache, one a process; GDAL's own default grows with the machine's memory."""

_CACHE = "GDAL_CACHEMAX"

_OPTIONS = {
    # A truncated JPEG otherwise reads as grey pixels, with no error at all.
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "ON",
    # Beside a file, look for the few names that belong to it; a listing of a bucket may have millions.
    "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE",
    # The first request brings the header of nearly every COG whole.
    "GDAL_INGESTED_BYTES_AT_OPEN": str(32 * 1024),
    # A busy server is asked again after 1, 2, 4 ... s; one that is gone or stalls fails the block, which is retried.
    "GDAL_HTTP_MAX_RETRY": "5",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "GDAL_HTTP_CONNECTTIMEOUT": "20",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1024",
    "GDAL_HTTP_LOW_SPEED_TIME": "60",
}


class _Thread(threading.local):
    """What geoseg has set in a thread, and how many of its blocks are open there."""

    def __init__(self) -> None:
        self.depth = 0
        self.values: dict[str, str] = {}


class _Process:
    """What geoseg has set for all threads; its lock is held while an option of the process changes."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.values: dict[str, str] = {}
        self.readers = 0
        self.cache_before = 0


_thread, _process = _Thread(), _Process()


@contextmanager
def configured() -> Iterator[None]:
    """Have geoseg's options in force in a block; also a decorator. In a block within another it costs nothing."""
    if not _thread.depth:
        _hold_cache()
        _put(_OPTIONS)
    _thread.depth += 1
    try:
        yield
    finally:
        _thread.depth -= 1
        if not _thread.depth:
            _take(list(_thread.values))
            _release_cache()


@contextmanager
def configured_with(options: Mapping[str, str]) -> Iterator[None]:
    """Have more options in force in a block, or others than geoseg's own; those of the caller are left alone."""
    with configured():
        before = dict(_thread.values)
        added = _put(options)
        try:
            yield
        finally:
            _take(added)
            _put({name: before[name] for name in added if name in before})


def _put(options: Mapping[str, str]) -> list[str]:
    """Set the options that geoseg has set itself or that are unset; return their names."""
    with _process.lock:
        own = {name: value for name, value in _process.values.items() if not (hasenv() and name in getenv())}
        own |= _thread.values
        free = [name for name in options if get_gdal_config(name, normalize=False) in (None, own.get(name))]
        for name in free:
            set_gdal_config(name, options[name], normalize=False)
            _thread.values[name] = options[name]
        if threading.current_thread() is threading.main_thread():
            _process.values |= {name: options[name] for name in free}
    return free


def _take(names: list[str]) -> None:
    """Take back options that `_put` has set in this thread."""
    is_main = threading.current_thread() is threading.main_thread()
    with _process.lock:
        for name in names:
            del_gdal_config(name)
            del _thread.values[name]
            if is_main:
                del _process.values[name]


def _hold_cache() -> None:
    """Make the block cache small for the first thread that reads; a caller who has a size of his own keeps it."""
    with _process.lock:
        if not _process.readers:
            size = get_gdal_config(_CACHE)
            is_given = _CACHE in os.environ or (hasenv() and _CACHE in getenv())
            _process.cache_before = 0 if is_given or size <= CACHE_BYTES else size
            if _process.cache_before:
                set_gdal_config(_CACHE, CACHE_BYTES)
        _process.readers += 1


def _release_cache() -> None:
    """Give the block cache its size again after the last thread that reads, unless somebody else has changed it."""
    with _process.lock:
        _process.readers -= 1
        if not _process.readers and _process.cache_before and get_gdal_config(_CACHE) == CACHE_BYTES:
            set_gdal_config(_CACHE, _process.cache_before)
