"""Features of a layer taken to the pixels of a raster, in whatever CRS and longitudes they are.

It knows geometries and grids, not what features mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from geoseg.errors import CrsError
from geoseg.vector.globe import TURN, unwrap

EDGES = 16
"""An outline is cut into about this many pieces before it is projected, so that its straight edges stay in place."""

Floats: TypeAlias = NDArray[np.float64]
Shapes: TypeAlias = NDArray[np.object_]


def placing(crs: CRS, geobox: GeoBox) -> Callable[[Shapes], Shapes]:
    """Return what takes geometries to pixels; those that have no place in the raster's CRS are None.

    Parameters
    ----------
    crs : CRS
        Of the geometries.
    geobox : GeoBox
        The raster's grid; one in degrees gets geometries in its own longitudes, such as those from 0 to 360.

    Raises
    ------
    CrsError
        One of them has no place on the ground.
    """
    target = CRS.from_user_input(geobox.crs)
    try:
        transformer = None if target == crs else Transformer.from_crs(crs, target, always_xy=True)
    except ProjError as error:
        raise CrsError(
            f"the features are in {crs.name}, and the raster is in {target.name}, to which no way leads; give them in "
            "the CRS of the raster, or, where it has no place on the ground, in its pixels and without a CRS."
        ) from error
    inverse = ~geobox.affine

    def move(x: Floats, y: Floats) -> tuple[Floats, Floats]:
        return inverse.a * x + inverse.b * y + inverse.c, inverse.d * x + inverse.e * y + inverse.f

    def place(shapes: Shapes) -> Shapes:
        if transformer is not None:
            shapes = shapely.segmentize(shapes, np.maximum(shapely.length(shapes) / EDGES, 1e-12))
            shapes = shapely.transform(shapes, transformer.transform, interleaved=False)
        if target.is_geographic:
            shapes = turned(shapes, geobox)
        moved = shapely.transform(shapes, move, interleaved=False)
        moved[~np.isfinite(shapely.bounds(moved)).all(axis=1)] = None
        return np.asarray(moved, object)

    return place


def turned(shapes: Shapes, geobox: GeoBox) -> Shapes:
    """Geometries in degrees, by whole turns to where they are nearest to a raster's middle; none is torn apart."""
    middle, _ = geobox.affine @ (geobox.shape[1] / 2, geobox.shape[0] / 2)

    def turn(xy: Floats) -> Floats:
        x, y = unwrap(xy).T
        return np.column_stack([x - TURN * np.round((x.min() + x.max() - 2 * middle) / (2 * TURN)), y])

    left, _, right, _ = shapely.bounds(shapes).T
    is_far = np.isfinite(left) & ((np.abs((left + right) / 2 - middle) > TURN / 2) | (right - left > TURN / 2))
    result = shapes.copy()
    for place in np.flatnonzero(is_far):
        result[place] = shapely.transform(shapes[place], turn)
    return result
