"""Features of all nodes in one order: by the place of their first pixel, whatever the layout of blocks was.

Each node's features are sorted already, so a band of the raster's rows is one slice of each file. It knows tables with
a ``key``, not files of results.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

AT_ONCE = 32_768
"""Features that are sorted together, at most about."""


def merge(tables: Sequence[pa.Table]) -> Iterator[pa.Table]:
    """Merge tables that are sorted by ``key``, without holding more than a band of them.

    Parameters
    ----------
    tables : sequence of Table
        Sorted; memory-mapped ones are read a slice at a time.

    Yields
    ------
    Table
        One after another they are all rows, sorted by key.
    """
    keys = [table.column("key").to_numpy() for table in tables]
    begins = [0] * len(tables)
    for limit in _limits(keys):
        slices = []
        for number, table in enumerate(tables):
            end = int(np.searchsorted(keys[number], limit, side="right"))
            if end > begins[number]:
                slices.append(table.slice(begins[number], end - begins[number]))
                begins[number] = end
        band = pa.concat_tables(slices)
        yield band.take(pc.sort_indices(band, sort_keys=[("key", "ascending")]))


def _limits(keys: list[np.ndarray]) -> Iterator[int]:
    """Largest keys of bands that hold about as many features as are sorted at once."""
    everything = np.concatenate([np.empty(0, np.int64), *keys])
    if len(everything) == 0:
        return
    everything.sort()
    yield from (int(key) for key in everything[AT_ONCE - 1 :: AT_ONCE])
    if len(everything) % AT_ONCE:
        yield int(everything[-1])
