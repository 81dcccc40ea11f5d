"""Open datasets of this process and thread: what a pickled recipe must not hold.

A GDAL dataset may be used by one thread of one process at a time. So every thread keeps its own few, opened
when they are first read, closed when others are needed; a file that changed on disk is opened anew.
"""

from __future__ import annotations

import atexit
import os
import re
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError

from geoseg.raster.addresses import real_address
from geoseg.raster.damage import DamageError, heeding
from geoseg.raster.options import configured, configured_with
from geoseg.raster.repeats import note_repeated

MAX_OPEN = 32
"""Datasets that one thread keeps open."""

WAITS = 1.0, 4.0
"""Seconds before a file on a server is read again that could not be read."""

_ALONE = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}
"""For files that a catalog names: nothing that belongs to them lies beside them unnamed, so nobody asks for it."""

_TIFF = re.compile(r"(/vsi(curl|s3|gs|az|adls|oss|swift)/|(https?|s3|gs|az)://)[^?]+\.tiff?", re.IGNORECASE)

_SIGNED = re.compile(r"(/vsicurl/)?https?://[^?]+\?", re.IGNORECASE)

_BESIDE_TIFF = {"CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".tif,.tiff,.msk,.aux.xml,.ovr,.tfw,.tifw,.tiffw,.wld"}
"""For TIFF files on servers: beside them lie masks, metadata, overviews and places at most. GDAL 3.10 asks for 26 other
names, one after another, such as those of the vendors' metadata, of which nothing is read."""

_ANEW = {
    "CPL_VSIL_CURL_NON_CACHED": ":".join(f"/vsi{name}/" for name in ("curl", "s3", "gs", "az", "adls", "oss", "swift"))
}
"""GDAL remembers for the life of a process that a file could not be reached; with this it asks again."""

_REMOTE = re.compile(r"(/vsi(curl|s3|gs|az|adls|oss|swift)\b|[a-z][a-z0-9+.-]+://(?!/))", re.IGNORECASE)

_PART = re.compile(r'\w+:"?(/.+?)"?:[^:/]+$')
"""A subdataset by GDAL's name, such as ``netcdf:/data/a.nc:b1``."""

_UNPLACED = re.compile("(?#of geoseg)", re.IGNORECASE)
"""What marks the filter of warnings that is ours; it matches all texts."""

_opening = threading.Lock()
_opening_now = 0
"""Threads that open rasters now, which the filter is for."""

_Key = tuple[str, int, int]

Result = TypeVar("Result")


class _Open(threading.local):
    """The datasets of one thread, the least recently used first."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.datasets: OrderedDict[_Key, rasterio.DatasetReader] = OrderedDict()


_open = _Open()


@atexit.register
def _close() -> None:
    """Close the datasets of the thread that ends Python: later GDAL would speak to loggers that are gone."""
    while _open.datasets:
        _open.datasets.popitem()[1].close()


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
    close_former(path)
    with beside(path, alone=alone), unplaced_allowed(), rasterio.Env():
        try:
            return _open_whole(path)
        except RasterioIOError:
            if not is_remote(path):
                raise
            with configured_with(_ANEW):
                return _open_whole(path)


def is_remote_tiff(path: str) -> bool:
    """Say whether a file is a TIFF file on a server, in no archive, at an address without a query."""
    return _TIFF.fullmatch(path) is not None


def beside(path: str, *, alone: bool = False) -> AbstractContextManager[None]:
    """Have GDAL look beside a file on a server, in a block, for what may lie there; arguments as in `open_dataset`."""
    if alone or _SIGNED.match(path):  # a signature is of one file
        return configured_with(_ALONE)
    return configured_with(_BESIDE_TIFF if is_remote_tiff(path) else {})


def _open_whole(path: str) -> rasterio.DatasetReader:
    with heeding():
        return rasterio.open(path)


@contextmanager
def unplaced_allowed() -> Iterator[None]:
    """Keep rasterio from warning of rasters without a place: whether that is a fault is decided elsewhere.

    Threads read at once, and `warnings.catch_warnings` of one would bring back the filters of another for good.
    """
    global _opening_now
    with _opening:
        _opening_now += 1
        if _opening_now == 1:
            warnings.filterwarnings("ignore", _UNPLACED.pattern, NotGeoreferencedWarning)
    try:
        yield
    finally:
        with _opening:
            _opening_now -= 1
            if not _opening_now:
                filters: Any = warnings.filters
                filters[:] = [item for item in filters if item[1] != _UNPLACED]


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
        with configured(), heeding():
            yield dataset(path, alone=alone)
    except DamageError:
        _forget(path)
        raise


def patiently(path: str, read: Callable[[rasterio.DatasetReader], Result], *, alone: bool = False) -> Result:
    """Read of this thread's open dataset of a file; over a network up to three times, with `WAITS` between.

    GDAL itself asks a server again that says it is busy. It does not when a connection breaks, and it remembers a
    part of an answer as if it were all, so every later try would fail: the file is opened anew without what is
    remembered.

    Raises
    ------
    rasterio.errors.RasterioError
        As `lent`, and what ``read`` raises.
    """
    for wait in WAITS if is_remote(path) else ():
        try:
            with lent(path, alone=alone) as opened:
                return read(opened)
        except RasterioError:
            note_repeated(real_address(path))
            time.sleep(wait)
            _forget(path)
            with suppress(RasterioError), configured_with(_ANEW):
                open_dataset(path, alone=True).close()  # what GDAL remembers of it goes when it is closed
    with lent(path, alone=alone) as opened:
        return read(opened)


def _forget(path: str) -> None:
    """Close this thread's datasets of a file."""
    for key in [key for key in _open.datasets if key[0] == path]:
        _open.datasets.pop(key).close()


def dataset(path: str, *, alone: bool = False) -> rasterio.DatasetReader:
    """Return this thread's open dataset of a file; arguments as in `open_dataset`.

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
    datasets[key] = open_dataset(path, alone=alone)
    return datasets[key]


def close_former(path: str) -> None:
    """Close this thread's datasets of a file that was written anew since: netCDF's library takes an open one for it."""
    file, version = _file_of(path), _version(path)
    for key in [key for key in _open.datasets if _file_of(key[0]) == file and key[1:] != version]:
        _open.datasets.pop(key).close()


def _file_of(path: str) -> str:
    part = _PART.match(path)
    return part[1] if part else path


def _version(path: str) -> tuple[int, int]:
    try:
        status = Path(_file_of(path)).stat()
    except OSError:  # not a local file, or gone: opening it will say so
        return 0, 0
    return status.st_mtime_ns, status.st_size
