"""Features cut to the region of interest, and measured anew where they were."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from geoseg.arcs.rings import Rings
from geoseg.vector import Region, clip_features
from geoseg.vectorize.areas import measure, placed


def clip(table: pa.Table, region: Region, transform: Affine, crs: CRS) -> pa.Table:
    """Cut features to a region; what is left of one keeps its class and confidence.

    Parameters
    ----------
    table : Table
        As `geoseg.vectorize.features` makes it.
    region : Region
        In the raster's CRS.
    transform : Affine
        From column and row of a pixel corner to CRS coordinates.
    crs : CRS
        The raster's.

    Returns
    -------
    Table
        With the same columns; the pixels of a part are its area in the CRS divided by a pixel's.
    """
    table, is_part = clip_features(table, region)
    if not is_part.any():
        return table
    parts = shapely.from_wkb(table.column("geometry").to_numpy(zero_copy_only=False)[is_part])
    _, xy, (rings, polygons) = shapely.to_ragged_array(parts)
    in_pixels = Rings(placed(xy, ~transform), rings.astype(np.int64), polygons.astype(np.int64))
    sizes = measure(in_pixels, transform, crs)
    pixels = np.rint(shapely.area(parts) / abs(transform.determinant)).astype(np.int64)
    for name, values in (("area_m2", sizes.area), ("perimeter_m", sizes.perimeter), ("pixels", pixels)):
        table = replaced(table, name, is_part, values)
    return table


def replaced(table: pa.Table, name: str, rows: NDArray[np.bool_], values: NDArray[np.generic]) -> pa.Table:
    """Put numbers into some rows of a column."""
    column = table.column(name).to_numpy().copy()
    column[rows] = values
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(place), pa.array(column))
