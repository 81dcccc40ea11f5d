"""Labels, instances and confidence of a run as small pictures, whatever the raster's size.

Labels and instances are read from overviews, confidence from the label store a block at a time; so memory depends on
the picture and the block, never on the raster. It knows a run folder and a frame; nothing of colours.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import RasterioError

from geoseg.errors import ReportError
from geoseg.grid import Window
from geoseg.models.spec import NODATA
from geoseg.raster.source import reason
from geoseg.report.framing import Frame
from geoseg.report.record import RunRecord
from geoseg.tree import Place

Picture = NDArray[np.uint8]

MOST_BLOCKS = 1024
"""Blocks whose confidence is read for a picture."""

THREADS = 2
"""Blocks whose confidence is read at once."""


def read_labels(record: RunRecord, frame: Frame) -> Picture:
    """Labels, uint8 (y, x), 255 = nodata, as the overviews have them.

    Raises
    ------
    ReportError
        The run has not written its labels.
    """
    return _read(record.labels, frame, NODATA)


def read_instances(record: RunRecord, frame: Frame) -> NDArray[np.uint32] | None:
    """Instances, uint32 (y, x), 0 = none; None where objects are not told apart."""
    return None if record.instances is None else _read(record.instances, frame, 0)


def _read(path: Path, frame: Frame, nodata: int) -> NDArray[Any]:
    try:
        with rasterio.open(path) as source:
            if source.shape != tuple(frame.raster.shape):
                raise ReportError(f"{path} is not the raster that run.json describes; run the same command again.")
            # an overview's own size, so GDAL reads it pixel by pixel
            found = source.read(1, out_shape=frame.shape, resampling=Resampling.nearest, fill_value=nodata)
    except RasterioError as error:
        raise ReportError(f"{path} cannot be read ({reason(error)}); run the same command again.") from error
    return np.asarray(frame.arrange(found))


def read_confidence(record: RunRecord, frame: Frame) -> tuple[Picture, NDArray[np.bool_]] | None:
    """Mean confidence of each pixel of a picture, and where there is any.

    Of a run of very many blocks it is that of `MOST_BLOCKS` or fewer, evenly spread, so that it takes no longer.

    Returns
    -------
    confidence : uint8 (y, x)
        255 = 1.0; of objects it is their score.
    mask : bool (y, x)
        True where something is labelled.
    None
        The folder's state has been removed, or never was complete.
    """
    grid, folder = record.grid, record.folder
    if grid is None or not (folder.state / "blocks.zarr").is_dir():
        return None
    places = sorted(folder.journal("finish").places() or folder.journal("number").places())  # of objects alone
    step = max(1, math.ceil(math.sqrt(len(places) / MOST_BLOCKS)))
    coarse = frame
    while step > 1 and coarse.factor < step * max(grid.rows.chunk, grid.cols.chunk):
        coarse = replace(coarse, factor=2 * coarse.factor)
    means = _Means(coarse)

    def add(place: Place) -> None:
        core = grid.block(*place).core
        labels, values = folder.blocks.read_labels_and_confidence(*core.slices())
        means.add(core, values, labels != NODATA)

    with ThreadPoolExecutor(THREADS) as pool:
        deque(pool.map(add, (place for place in places if not any(index % step for index in place))), maxlen=0)
    confidence = np.rint(means.sums / np.maximum(means.counts, 1)).astype(np.uint8)
    picture, mask = (np.asarray(frame.arrange(_fine(part, coarse, frame))) for part in (confidence, means.counts > 0))
    return picture, mask if step == 1 else mask & (read_labels(record, frame) != NODATA)


def _fine(picture: NDArray[Any], coarse: Frame, frame: Frame) -> NDArray[Any]:
    """A picture of one frame in another one, which is as fine or finer."""
    times, (height, width) = coarse.factor // frame.factor, frame.shape
    return picture.repeat(times, axis=0).repeat(times, axis=1)[:height, :width]


class _Means:
    """Sums and counts of the raster's pixels by pixel of a picture, window by window.

    Parameters
    ----------
    frame : Frame
        The picture.
    """

    def __init__(self, frame: Frame) -> None:
        self._factor, self._lock = frame.factor, threading.Lock()
        self.sums, self.counts = np.zeros(frame.shape), np.zeros(frame.shape)

    def add(self, window: Window, values: Picture, valid: NDArray[np.bool_]) -> None:
        """Add the pixels of a window, uint8 (y, x), where they are valid."""
        rows, top = self._begins(window.y, window.bottom)
        cols, left = self._begins(window.x, window.right)
        where = slice(top, top + len(rows)), slice(left, left + len(cols))
        for target, layer in ((self.sums, np.where(valid, values, 0)), (self.counts, valid)):
            in_rows = np.add.reduceat(layer, cols, axis=1, dtype=np.uint32)
            by_cell = np.add.reduceat(in_rows, rows, axis=0)
            with self._lock:
                target[where] += by_cell

    def _begins(self, start: int, stop: int) -> tuple[NDArray[np.int64], int]:
        """Where the picture's pixels begin along an axis of a window, and the first of them."""
        first = start // self._factor
        begins = np.arange(first, -(-stop // self._factor), dtype=np.int64) * self._factor - start
        return np.maximum(begins, 0), first
