"""How large the pixels of a file are where they are stored: compressed, in blocks that are read whole."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import Interleaving
from rasterio.errors import RasterioError

from geoseg.raster.handles import lent
from geoseg.raster.source import Source

LOOKS = 8
"""Blocks down and across whose sizes are asked for."""


@dataclass(frozen=True)
class StoredPixels:
    """Pixels of a file.

    Attributes
    ----------
    bytes_per_px : float
        What a pixel takes, with all bands that are read with it.
    block : (int, int)
        Height and width of the parts that are read whole, px.
    """

    bytes_per_px: float
    block: tuple[int, int]

    @classmethod
    def of(cls, source: Source) -> StoredPixels:
        """Ask a file: sizes of a GeoTIFF's blocks, or the size of a local file; else as large as in memory."""
        if source.is_file:
            try:
                with lent(source.path) as opened:
                    return cls(*_stored(opened, source))
            except RasterioError:
                pass  # who reads it says what is wrong with it
        return cls(_in_memory(source), (1, 1))


def _stored(opened: rasterio.DatasetReader, source: Source) -> tuple[float, tuple[int, int]]:
    height, width = opened.block_shapes[0]
    down, across = -(-opened.height // height), -(-opened.width // width)
    looks = product(*(sorted({*np.linspace(0, count - 1, LOOKS).astype(int)}) for count in (down, across)))
    bands = source.indexes if opened.interleaving == Interleaving.band else source.indexes[:1]
    sizes = [
        sum(int(opened.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=band) or 0) for band in bands)
        for row, col in looks
    ]
    if any(sizes):
        return float(np.mean(sizes)) / (height * width), (height, width)
    file = Path(source.path)
    if opened.driver not in ("VRT", "GTiff") and file.is_file():
        return file.stat().st_size / (opened.height * opened.width), (height, width)
    return _in_memory(source), (height, width)


def _in_memory(source: Source) -> float:
    return float(source.dtype.itemsize * len(source.indexes))
