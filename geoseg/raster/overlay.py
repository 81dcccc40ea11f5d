"""Images that lie over one another: which of them touch a window, and what a pixel is where several are valid.

It knows parts that cover windows of one grid; what a part is made of stands elsewhere.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.raster.medians import medians
from geoseg.raster.resample import READ_BYTES

Order = Literal["first", "median"]
"""``first`` takes the first valid pixel, ``median`` the median of all valid ones, band by band."""

Pixels = tuple[NDArray[Any], NDArray[np.bool_]]
"""Pixels (band, y, x), 0 where invalid, and the mask (y, x), True = valid."""


class Part(Protocol):
    """Something that covers a window of the grid."""

    @property
    def extent(self) -> Window:
        """The pixels of the grid that it covers."""

    def read(self, window: Window) -> Pixels:
        """Read a window that lies within ``extent``."""


class Overlay:
    """Parts of one grid, the first on top; reading a window costs as much as the parts that touch it.

    Parameters
    ----------
    parts : tuple of Part
        What lies over one another.
    bands : int
        Bands of each part.
    dtype : numpy dtype
        Type of their pixels.
    order : str
        What a pixel is where several parts are valid.
    """

    def __init__(self, parts: tuple[Part, ...], bands: int, dtype: np.dtype[Any], order: Order) -> None:
        self.parts, self.bands, self.dtype, self.order = parts, bands, dtype, order

    def near(self, window: Window) -> list[Part]:
        """List the parts that share pixels with a window, in their order."""
        found = np.sort(self._index.query(_box(window))) if len(self.parts) > 1 else range(len(self.parts))
        return [self.parts[number] for number in found if self.parts[number].extent.intersect(window).area]

    def read(self, window: Window) -> Pixels:
        """Read a window of the grid; outside of every part it is invalid."""
        near = self.near(window)
        if self.order == "median" and len(near) > 1:
            return self._middle(near, window)
        return self._first(near, window)

    @cached_property
    def _index(self) -> shapely.STRtree:
        return shapely.STRtree([_box(part.extent) for part in self.parts])

    def _nothing(self, window: Window) -> Pixels:
        return np.zeros((self.bands, *window.shape), self.dtype), np.zeros(window.shape, np.bool_)

    def _first(self, near: list[Part], window: Window) -> Pixels:
        """Fill what is missing from one part after the other; parts below a full window are never opened."""
        if near and near[0].extent.contains(window):
            pixels, mask = near.pop(0).read(window)
        else:
            pixels, mask = self._nothing(window)
        for part in near:
            shared = part.extent.intersect(window)
            rows, columns = shared.relative_to(window).slices()
            missing = ~mask[rows, columns]
            if missing.any():
                found, valid = part.read(shared)
                valid &= missing
                np.copyto(pixels[:, rows, columns], found, where=valid)
                mask[rows, columns] |= valid
        return pixels, mask

    def _middle(self, near: list[Part], window: Window) -> Pixels:
        """Take medians in strips of rows, so that memory does not grow with the number of parts."""
        pixels, mask = self._nothing(window)
        row_bytes = len(near) * window.width * (self.bands * self.dtype.itemsize + 1)
        height = max(1, READ_BYTES // row_bytes)
        for top in range(window.y, window.bottom, height):
            strip = Window(top, window.x, min(height, window.bottom - top), window.width)
            rows, columns = strip.relative_to(window).slices()
            pixels[:, rows, columns], mask[rows, columns] = medians(*self._stack(near, strip))
        return pixels, mask

    def _stack(self, near: list[Part], window: Window) -> Pixels:
        """Read a window of every part."""
        pixels = np.zeros((len(near), self.bands, *window.shape), self.dtype)
        masks = np.zeros((len(near), *window.shape), np.bool_)
        for number, part in enumerate(near):
            shared = part.extent.intersect(window)
            if shared.area:
                rows, columns = shared.relative_to(window).slices()
                pixels[number, :, rows, columns], masks[number, rows, columns] = part.read(shared)
        return pixels, masks


def _box(window: Window) -> shapely.Polygon:
    return shapely.box(window.x, window.y, window.right, window.bottom)
