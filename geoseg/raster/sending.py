"""Rasters on their way to other processes: arrays in this process's memory lie in files while others read them.

The recipe of a lazy array is the array itself, because it travels without its pixels.
"""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
from numpy.typing import NDArray

from geoseg.errors import InputTypeError, OutputError
from geoseg.raster.arrays import ArraySource, LazyPixels, Pixels, strips
from geoseg.raster.mosaic import Raster
from geoseg.raster.source import Source

LARGE_RECIPE = 16 * 2**20
"""Bytes of a pickled array from which on it is written to a file for other processes, and not sent to each of them."""


@dataclass(frozen=True)
class FilePixels:
    """Pixels that were written to a file of NumPy's, for other processes.

    Attributes
    ----------
    path : Path
        The file.
    shape : (int, int, int)
        Bands, rows and columns.
    dtype : numpy dtype
        Of the pixels.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]

    def take(self, bands: Sequence[int], rows: slice, columns: slice) -> NDArray[Any]:
        """Read bands; the file is mapped while it is read and no longer, so that it counts as no memory."""
        mapped = np.load(self.path, mmap_mode="r")
        return np.stack([np.array(mapped[band, rows, columns]) for band in bands])


@contextmanager
def sendable(raster: Raster, folder: Path) -> Iterator[Raster]:
    """Have a raster whose recipe is small: pixels in this process's memory lie in files while the block runs.

    Parameters
    ----------
    raster : Raster
        As it was opened.
    folder : Path
        Where files may lie that all workers see; it is removed afterwards.

    Yields
    ------
    Raster
        The same pixels.

    Raises
    ------
    InputTypeError
        A lazy array holds something that cannot be sent to another process.
    OutputError
        The disk refuses.
    """
    if not any(_is_here(source) for source in raster.sources):
        yield raster
        return
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    written: dict[int, Pixels] = {}
    try:
        yield raster.with_sources(lambda source: _sent(source, folder, written))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_here(source: Source) -> bool:
    """Whether only this process has the pixels of a source."""
    return not source.is_file or source.path.startswith("/vsimem/")


def _sent(source: Source, folder: Path, written: dict[int, Pixels]) -> Source:
    """A source as other processes can read it; each array is written once, also where several sources are its bands."""
    try:
        if isinstance(source, ArraySource):
            key = id(source.array)
            if key not in written:
                written[key] = _sent_pixels(source, folder / f"{len(written)}.npy")
            return replace(source, array=written[key])
        if source.path.startswith("/vsimem/"):
            return replace(source, path=_copied(source.path, folder))
    except OSError as error:
        raise OutputError(
            f"'{source.given}' cannot be written to {folder} for the workers ({error.strerror or error}); choose an "
            "output folder with space and permission."
        ) from error
    return source


def _sent_pixels(source: ArraySource, path: Path) -> Pixels:
    array = source.array
    if not isinstance(array, LazyPixels):
        return array
    if not array.is_in_memory:
        try:
            if len(cloudpickle.dumps(array)) <= LARGE_RECIPE:
                return array
        except (pickle.PicklingError, TypeError, AttributeError, ValueError) as error:
            raise InputTypeError(
                f"'{source.given}' is lazy, and what it is computed of cannot be sent to workers ({error}); write it "
                "to a file first, or use geoseg.segment, which computes in this process."
            ) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    file = np.lib.format.open_memmap(path, "w+", array.dtype, array.shape)
    bands = range(array.shape[0])
    for window in strips(array.shape, array.dtype):
        rows, columns = window.slices()
        file[:, rows, columns] = array.take(bands, rows, columns)
    file.flush()
    return FilePixels(path, array.shape, array.dtype)


def _copied(path: str, folder: Path) -> str:
    """A dataset in memory, copied to a folder with the files that belong to it."""
    import rasterio.shutil

    folder.mkdir(parents=True, exist_ok=True)
    target = folder / Path(path).name
    rasterio.shutil.copyfiles(path, target)
    return str(target)
