"""The one grid on which scenes of many grids are read.

Arithmetic of geoboxes and a region; it knows no catalog and no file.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from affine import Affine
from odc.geo.geobox import GeoBox

from geoseg.errors import RegionError
from geoseg.grid import Window
from geoseg.raster.placing import SAME_GRID, at_resolution, covering
from geoseg.vector import Region


def common_grid(grids: Sequence[GeoBox], resolution: float | None, region: Region | None) -> GeoBox:
    """Choose the grid that covers many others, or what a region holds of them.

    Its CRS is that of most grids; its pixels are those of the finest one in that CRS, of several the one whose corner
    is the smallest, so that the order of the grids does not matter. Scenes on it are read as they are.

    Parameters
    ----------
    grids : sequence of GeoBox
        At least one.
    resolution : float, optional
        Metres on the ground per pixel; that of the finest grid when None.
    region : Region, optional
        The grid ends at the pixels that it touches.

    Raises
    ------
    RegionError
        The region lies outside of every grid.
    """
    base = _base(grids)
    base = base if resolution is None else at_resolution(base, resolution)
    different = [grid for grid in dict.fromkeys(grids) if grid != base]
    whole = covering(base, different)
    if region is None:
        return whole
    shown = window_of(region, base).intersect(_window_of_grid(whole, base))
    if shown.area == 0:
        raise RegionError(
            "the region lies outside of all scenes that were found; give another region, or other scenes."
        )
    return GeoBox(shown.shape, base.transform @ Affine.translation(shown.x, shown.y), base.crs)


def _base(grids: Sequence[GeoBox]) -> GeoBox:
    counts = Counter(str(grid.crs) for grid in grids)
    name = min(counts, key=lambda crs: (-counts[crs], crs))
    return min(
        (grid for grid in grids if str(grid.crs) == name),
        key=lambda grid: (_pixel_size(grid), tuple(grid.transform)[:6]),
    )


def _pixel_size(grid: GeoBox) -> float:
    """The longer side of a pixel, in CRS units."""
    transform = grid.transform
    return max(math.hypot(transform.a, transform.d), math.hypot(transform.b, transform.e))


def window_of(region: Region, geobox: GeoBox) -> Window:
    """The pixels that the bounds of a region touch; they may lie outside of the grid."""
    left, bottom, right, top = region.to_crs(geobox.crs).geometry.bounds
    corners = [~geobox.transform @ (x, y) for x in (left, right) for y in (bottom, top)]
    (x, y), (far, low) = (map(pick, zip(*corners, strict=True)) for pick in (min, max))
    top, left = (math.floor(at + SAME_GRID) for at in (y, x))
    bottom, right = (math.ceil(at - SAME_GRID) for at in (low, far))
    return Window(top, left, max(1, bottom - top), max(1, right - left))


def _window_of_grid(grid: GeoBox, base: GeoBox) -> Window:
    """The pixels of a grid that has grown by whole pixels from another."""
    shift = ~base.transform @ grid.transform
    return Window(round(shift.f), round(shift.c), *grid.shape)
