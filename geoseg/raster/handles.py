"""Open datasets of this process and thread: what a pickled recipe must not hold.

A GDAL dataset may be used by one thread of one process at a time. So every thread keeps its own few, opened
when they are first read, closed when others are needed; a file that changed on disk is opened anew.
"""

from __future__ import annotations

import os
import re
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rasterio
from rasterio.env import set_gdal_config
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

from geoseg.raster.damage import DamageError, heeding

MAX_OPEN = 32
"""Datasets that one thread keeps open."""

CACHE_BYTES = 64 * 2**20
"""Size of GDAL's block cache, one a process; GDAL's own default grows with the machine's memory."""

_SETTINGS = {
    "GDAL_CACHEMAX": CACHE_BYTES,
    # A truncated JPEG otherwise reads as grey pixels, with no error at all.
    "GDAL_ERROR_ON_LIBJPEG_WARNING": True,
    # Beside a file, look for the few names that belong to it; a listing of a bucket may have millions.
    "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE",
    # The first request brings the header of nearly every COG whole.
    "GDAL_INGESTED_BYTES_AT_OPEN": 32 * 1024,
    # A busy server is asked again after 1, 2, 4 ... s; one that is gone or stalls fails the block, which is retried.
    "GDAL_HTTP_MAX_RETRY": 5,
    "GDAL_HTTP_RETRY_DELAY": 1,
    "GDAL_HTTP_CONNECTTIMEOUT": 20,
    "GDAL_HTTP_LOW_SPEED_LIMIT": 1024,
    "GDAL_HTTP_LOW_SPEED_TIME": 60,
}

_ALONE = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}
"""For files that a catalog names: nothing that belongs to them lies beside them unnamed, so nobody asks for it."""

_ANEW = {
    "CPL_VSIL_CURL_NON_CACHED": ":".join(f"/vsi{name}/" for name in ("curl", "s3", "gs", "az", "adls", "oss", "swift"))
}
"""GDAL remembers for the life of a process that a file could not be reached; with this it asks again."""

_REMOTE = re.compile(r"(/vsi(curl|s3|gs|az|adls|oss|swift)\b|[a-z][a-z0-9+.-]+://(?!/))", re.IGNORECASE)

_Key = tuple[str, int, int]


class _Open(threading.local):
    """The datasets of one thread, the least recently used first."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.is_configured = False
        self.datasets: OrderedDict[_Key, rasterio.DatasetReader] = OrderedDict()


_open = _Open()


def configure() -> None:
    """Set GDAL's options once a thread, because they are a thread's own; those of the environment are left alone."""
    if not _open.is_configured:
        for name, value in _SETTINGS.items():
            if name not in os.environ:
                set_gdal_config(name, value)
        _open.is_configured = True


def is_remote(path: str) -> bool:
    """Say whether a file is read over a network."""
    return _REMOTE.match(path) is not None


def open_dataset(path: str, *, alone: bool = False) -> rasterio.DatasetReader:
    """Open a dataset.

    Parameters
    ----------
    path : str
        A file, an address, or a name that GDAL understands.
    alone : bool
        Whether no mask or other file that belongs to it may lie beside it.

    Raises
    ------
    rasterio.errors.RasterioIOError
        When GDAL cannot open it, or reports that it is damaged (`DamageError`).
    """
    configure()
    options = {name: value for name, value in (_ALONE if alone else {}).items() if name not in os.environ}
    with unplaced_allowed(), rasterio.Env(**options):
        try:
            return _open_whole(path)
        except RasterioIOError:
            if not is_remote(path):
                raise
            with rasterio.Env(**_ANEW):
                return _open_whole(path)


def _open_whole(path: str) -> rasterio.DatasetReader:
    with heeding():
        return rasterio.open(path)


@contextmanager
def unplaced_allowed() -> Iterator[None]:
    """Keep rasterio from warning of rasters without a place: whether that is a fault is decided elsewhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


@contextmanager
def lent(path: str, *, alone: bool = False) -> Iterator[rasterio.DatasetReader]:
    """Lend this thread's open dataset of a file for a block of reading; arguments as in `open_dataset`.

    Raises
    ------
    rasterio.errors.RasterioIOError
        When GDAL cannot open it, or reports damage while it reads. The file is opened anew then: GDAL remembers a
        tile that it has decoded, and would not complain a second time.
    """
    try:
        with heeding():
            yield dataset(path, alone=alone)
    except DamageError:
        for key in [key for key in _open.datasets if key[0] == path]:
            _open.datasets.pop(key).close()
        raise


def dataset(path: str, *, alone: bool = False) -> rasterio.DatasetReader:
    """Return this thread's open dataset of a file; arguments as in `open_dataset`.

    Raises
    ------
    rasterio.errors.RasterioIOError
        When GDAL cannot open it.
    """
    if _open.process != os.getpid():
        # A fork shares file offsets with its parent, so it opens its own.
        _open.process, _open.is_configured, _open.datasets = os.getpid(), False, OrderedDict()
    key = (path, *_version(path))
    datasets = _open.datasets
    if key in datasets:
        datasets.move_to_end(key)
        return datasets[key]
    while len(datasets) >= MAX_OPEN:
        datasets.popitem(last=False)[1].close()
    datasets[key] = open_dataset(path, alone=alone)
    return datasets[key]


def _version(path: str) -> tuple[int, int]:
    try:
        status = Path(path).stat()
    except OSError:  # not a local file, or gone: opening it will say so
        return 0, 0
    return status.st_mtime_ns, status.st_size
