"""Open datasets of this process and thread: what a pickled recipe must not hold.

A GDAL dataset may be used by one thread of one process at a time. So every thread keeps its own few, opened
when they are first read, closed when others are needed; a file that changed on disk is opened anew.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rasterio
from rasterio.env import set_gdal_config
from rasterio.errors import NotGeoreferencedWarning

MAX_OPEN = 32
"""Datasets that one thread keeps open."""

CACHE_BYTES = 64 * 2**20
"""Size of GDAL's block cache, one a process; GDAL's own default grows with the machine's memory."""

_SETTINGS = {
    "GDAL_CACHEMAX": CACHE_BYTES,
    # A truncated JPEG otherwise reads as grey pixels, with no error at all.
    "GDAL_ERROR_ON_LIBJPEG_WARNING": True,
}

_Key = tuple[str, int, int]


class _Open(threading.local):
    """The datasets of one thread, the least recently used first."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.datasets: OrderedDict[_Key, rasterio.DatasetReader] = OrderedDict()


_open = _Open()
_configured: set[int] = set()


def configure() -> None:
    """Set GDAL's options once a process; what the environment sets already is left alone."""
    if os.getpid() not in _configured:
        for name, value in _SETTINGS.items():
            if name not in os.environ:
                set_gdal_config(name, value)
        _configured.add(os.getpid())


def open_dataset(path: str) -> rasterio.DatasetReader:
    """Open a dataset.

    Raises
    ------
    rasterio.errors.RasterioIOError
        When GDAL cannot open it.
    """
    configure()
    with unplaced_allowed():
        return rasterio.open(path)


@contextmanager
def unplaced_allowed() -> Iterator[None]:
    """Keep rasterio from warning of rasters without a place: whether that is a fault is decided elsewhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def dataset(path: str) -> rasterio.DatasetReader:
    """Return this thread's open dataset of a file.

    Raises
    ------
    rasterio.errors.RasterioIOError
        When GDAL cannot open it.
    """
    if _open.process != os.getpid():
        # A fork shares file offsets with its parent, so it opens its own.
        _open.process, _open.datasets = os.getpid(), OrderedDict()
    key = (path, *_version(path))
    datasets = _open.datasets
    if key in datasets:
        datasets.move_to_end(key)
        return datasets[key]
    while len(datasets) >= MAX_OPEN:
        datasets.popitem(last=False)[1].close()
    datasets[key] = open_dataset(path)
    return datasets[key]


def _version(path: str) -> tuple[int, int]:
    try:
        status = Path(path).stat()
    except OSError:  # not a local file, or gone: opening it will say so
        return 0, 0
    return status.st_mtime_ns, status.st_size
