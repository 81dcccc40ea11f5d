"""Features of all nodes in one order: by the place of their first pixel, whatever the layout of blocks was.

Each node's features are sorted already, so a band of the raster's rows is one slice of each file. Keys are read once; a
file is open only while its slice of a band is copied, so neither memory nor the number of open files depends on the
size of the raster. Features with equal keys, such as the parts of one that a region cuts, stay in one band, however
many they are. It knows tables with a ``key``, not files of results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from geoseg.arcs.chains import Integers

AT_ONCE = 32_768
"""Features that are sorted together, at most, unless more have one key."""

AT_ONCE_BYTES = 64 * 2**20
"""WKB that is sorted together; a band is full with the feature that reaches it."""

Reader = Callable[[int, int], pa.Table]
"""Reads rows of a table, from one to before another."""


def merge(
    keys: Sequence[Integers], sizes: Sequence[NDArray[np.int32]], readers: Sequence[Reader]
) -> Iterator[pa.Table]:
    """Merge tables that are sorted by ``key``.

    Parameters
    ----------
    keys : sequence of int64 array, shape (row,)
        The column ``key`` of each table.
    sizes : sequence of int32 array, shape (row,)
        Bytes of each row's geometry.
    readers : sequence of callable
        Read rows of each table.

    Yields
    ------
    Table
        One after another they are all rows, sorted by key; equal keys stand in one table.
    """
    begins = [0] * len(keys)
    for limit in _limits(keys, sizes):
        slices = []
        for number, read in enumerate(readers):
            end = int(np.searchsorted(keys[number], limit, side="right"))
            if end > begins[number]:
                slices.append(read(begins[number], end))
                begins[number] = end
        band = pa.concat_tables(slices)
        yield band.take(pc.sort_indices(band, sort_keys=[("key", "ascending")]))


def _limits(keys: Sequence[Integers], sizes: Sequence[NDArray[np.int32]]) -> Iterator[int]:
    """Largest keys of bands that hold as much as is sorted at once."""
    everything = np.concatenate([np.empty(0, np.int64), *keys])
    order = np.argsort(everything, kind="stable")
    everything = everything[order]
    ends = np.cumsum(np.concatenate([np.empty(0, np.int32), *sizes])[order], dtype=np.int64)
    begin = 0
    while begin < len(everything):
        before = int(ends[begin - 1]) if begin else 0
        full = int(np.searchsorted(ends, before + AT_ONCE_BYTES))
        limit = int(everything[min(begin + AT_ONCE - 1, full, len(everything) - 1)])
        yield limit
        begin = int(np.searchsorted(everything, limit, side="right"))
