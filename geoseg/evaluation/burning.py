"""Polygons on a grid: which pixels each of them holds, window by window.

A pixel belongs to a polygon when its centre does; polygons may lie over each other. It knows shapes and grids, not what
they stand for.
"""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geoseg.errors import CrsError
from geoseg.evaluation.features import Features
from geoseg.evaluation.grid import is_placed
from geoseg.grid import Window
from geoseg.raster.placing import PLAIN_PIXELS, UPRIGHT
from geoseg.vector.grids import turned
from geoseg.vector.pixels import spans_inside

Integers = NDArray[np.int64]


class Burnt:
    """Polygons in pixels of a grid.

    Parameters
    ----------
    features : Features
        In any CRS.
    geobox : GeoBox
        The grid.

    Raises
    ------
    CrsError
        The grid lies nowhere, and the features do not count plain pixels.
    """

    def __init__(self, features: Features, geobox: GeoBox) -> None:
        if features.crs.is_engineering and not is_placed(geobox):
            geobox = GeoBox(geobox.shape, UPRIGHT, PLAIN_PIXELS)
        if not is_placed(geobox):
            raise CrsError(
                "a raster without a coordinate reference system cannot be compared with features; give it one: "
                "`rio edit-info --crs EPSG:32618 FILE`"
            )
        inverse = ~geobox.affine
        matrix = np.array([[inverse.a, inverse.b], [inverse.d, inverse.e]])
        offset = np.array([inverse.c, inverse.f])
        shapes = features.to_crs(geobox.crs).shapes
        if geobox.crs is not None and geobox.crs.geographic:
            shapes = turned(shapes, geobox)
        self._shapes = shapely.transform(shapes, lambda xy: xy @ matrix.T + offset)
        self._tree = shapely.STRtree(self._shapes)

    @property
    def areas(self) -> NDArray[np.float64]:
        """Area of each polygon, px, float64, shape (polygon,); also of those beyond the grid."""
        result: NDArray[np.float64] = shapely.area(self._shapes)
        return result

    def pixels(self, window: Window) -> tuple[Integers, Integers]:
        """The pixels of each polygon in a window.

        Returns
        -------
        owners, places : NDArray
            int64, shape (pixel,): position of the polygon, and place in the flat window; polygon by polygon.
        """
        near = np.sort(self._tree.query(shapely.box(window.x, window.y, window.right, window.bottom)))
        owner, row, start, stop = spans_inside(self._shapes[near], window)
        lengths = stop - start
        before = np.cumsum(lengths) - lengths
        places = np.arange(lengths.sum()) + np.repeat(row * window.width + start - before, lengths)
        return np.repeat(near[owner], lengths).astype(np.int64), places

    def paint(self, window: Window, values: Integers, background: int) -> Integers:
        """Values of polygons in a window, int64 (y, x); a later polygon lies over an earlier one."""
        owners, places = self.pixels(window)
        painted = np.full(window.area, background, np.int64)
        painted[places] = values[owners]
        return painted.reshape(window.shape)
