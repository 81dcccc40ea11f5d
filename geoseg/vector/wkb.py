"""Polygons as Well-Known Binary in Arrow columns: told apart and promoted by their bytes, decoded only where one must.

Byte 0 of WKB is the byte order, bytes 1 to 4 are the type (OGC 06-103r4, section 8.2), so a layer's type is checked
without a geometry object. It knows nothing of layers, columns or files.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from geoseg.errors import VectorError

GeometryType = Literal["Polygon", "MultiPolygon"]

POLYGON = pa.scalar(b"\x01\x03\x00\x00\x00", pa.binary())
"""First bytes of a polygon in two dimensions, little-endian."""

MULTIPOLYGON = pa.scalar(b"\x01\x06\x00\x00\x00", pa.binary())
"""First bytes of a multipolygon in two dimensions, little-endian."""

_ONE_PART = pa.scalar(b"\x01\x06\x00\x00\x00\x01\x00\x00\x00", pa.binary())
"""What makes the WKB that follows the only part of a multipolygon."""


def decode(wkb: Any) -> NDArray[np.object_]:
    """Read WKB.

    Parameters
    ----------
    wkb : Array or ChunkedArray
        WKB of each feature.

    Returns
    -------
    object, shape (feature,)
        shapely geometries.
    """
    return shapely.from_wkb(wkb.to_numpy(zero_copy_only=False))  # type: ignore[no-any-return]


def encode(geometry: NDArray[np.object_]) -> pa.Array:
    """Write geometries as WKB in two dimensions, little-endian."""
    return pa.array(shapely.to_wkb(geometry, output_dimension=2, byte_order=1), pa.binary())


def of_type(wkb: pa.ChunkedArray, wanted: GeometryType) -> pa.ChunkedArray:
    """Check the type of geometries, and make multipolygons of polygons where they are wanted.

    Parameters
    ----------
    wkb : ChunkedArray
        In any byte order and number of dimensions.
    wanted : str
        Type of the layer.

    Returns
    -------
    ChunkedArray
        Little-endian, in two dimensions; unchanged bytes where they were so.

    Raises
    ------
    VectorError
        A feature has no geometry or one that the layer cannot hold.
    """
    is_polygon, is_multi = _starts_with(wkb, POLYGON), _starts_with(wkb, MULTIPOLYGON)
    if not _all(pc.or_(is_polygon, is_multi)):
        wkb = _plain(wkb)
        is_polygon, is_multi = _starts_with(wkb, POLYGON), _starts_with(wkb, MULTIPOLYGON)
    fits = is_polygon if wanted == "Polygon" else pc.or_(is_polygon, is_multi)
    if not _all(fits):
        stranger = wkb.filter(pc.invert(fits))[0].as_py()
        kind = "nothing" if stranger is None else shapely.from_wkb(stranger).geom_type
        raise VectorError(f"a feature is a {kind} where the layer holds {wanted}s; choose geometry_type='MultiPolygon'")
    if wanted == "Polygon":
        return wkb
    return pc.if_else(is_polygon, pc.binary_join_element_wise(_ONE_PART, wkb, pa.scalar(b"", pa.binary())), wkb)


def _starts_with(wkb: pa.ChunkedArray, head: pa.Scalar) -> pa.ChunkedArray:
    return pc.fill_null(pc.equal(pc.binary_slice(wkb, 0, 5), head), False)


def _all(flags: pa.ChunkedArray) -> bool:
    return bool(pc.all(flags, min_count=0).as_py())


def _plain(wkb: pa.ChunkedArray) -> pa.ChunkedArray:
    """Write WKB anew that is big-endian, has heights, or is of another type."""
    try:
        return pa.chunked_array([encode(decode(wkb))], pa.binary())
    except shapely.errors.GEOSException as error:
        raise VectorError(f"a feature's geometry is no WKB ({error}); write shapely geometries with to_wkb") from error
