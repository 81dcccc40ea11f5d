"""Features cut to a region exactly: what lies inside stays as it is, what crosses the border is cut along it.

Most features of a large region lie inside or outside, which a prepared outline tells at once. Those that cross it are
halved again and again, by where they lie, and with each half goes only the part of the outline around it, so that no
feature is cut with an outline of a million vertices. Edges of the outline stay whole in every part: a feature is cut in
the same way whatever comes with it, and neighbours get one vertex where their common edge meets the region. It knows
tables with a geometry column and polygons.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from geoseg.errors import VectorError
from geoseg.vector.regions import Region

VERTICES = 256
"""An outline is not worth cutting below this number of vertices."""

POLYGONS = 16
"""So few polygons are cut in less time than it takes to cut an outline in two."""

SLIVER = 1e-12
"""A part narrower than this share of its coordinates is rounding, not ground: 4 micrometres in UTM."""

Geometries: TypeAlias = NDArray[np.object_]


def clip_features(table: pa.Table, region: Region) -> tuple[pa.Table, NDArray[np.bool_]]:
    """Cut features to a region.

    A feature that the region cuts into several parts becomes several features, one after the other, so a layer of
    polygons remains one; each has all the columns of the feature it comes from.

    Parameters
    ----------
    table : Table
        With a column ``geometry``, WKB of polygons in the region's CRS.
    region : Region
        What remains.

    Returns
    -------
    Table
        Features wholly inside, bit for bit as they were, and parts of those on the border, valid, exteriors
        counter-clockwise; in the order of the table.
    bool, shape (feature,)
        True = the feature is a part, so its area, perimeter and pixels are no longer what its columns say.

    Raises
    ------
    VectorError
        A feature has no geometry.
    """
    wkb = table.column("geometry").to_numpy(zero_copy_only=False)
    polygons = shapely.from_wkb(wkb)
    if shapely.is_missing(polygons).any():
        raise VectorError("a feature has no geometry and cannot be cut to a region; leave it out")
    shapely.prepare(region.geometry)
    inside = shapely.covers(region.geometry, polygons)
    on_border = np.flatnonzero(shapely.intersects(region.geometry, polygons) & ~inside)
    parts, source = _parts(_cut(_valid(polygons[on_border]), region.geometry))

    kept = np.flatnonzero(inside)
    rows = np.concatenate([kept, on_border[source]])
    order = np.argsort(rows, kind="stable")
    geometry = np.concatenate([wkb[kept], shapely.to_wkb(parts, byte_order=1)])[order]
    features = table.take(pa.array(rows[order]))
    place = table.schema.get_field_index("geometry")
    field = table.schema.field(place)
    return features.set_column(place, field, pa.array(geometry, field.type)), order >= len(kept)


def _valid(polygons: Geometries) -> Geometries:
    """Repair what GEOS would refuse to cut."""
    invalid = ~shapely.is_valid(polygons)
    repaired = polygons.copy()
    repaired[invalid] = shapely.make_valid(polygons[invalid])
    return repaired


def _cut(polygons: Geometries, outline: shapely.Geometry) -> Geometries:
    """What each polygon shares with an outline."""
    if len(polygons) <= POLYGONS or shapely.get_num_coordinates(outline) <= VERTICES:
        return shapely.intersection(polygons, outline)  # type: ignore[no-any-return]
    bounds = shapely.bounds(polygons)
    middle = bounds[:, :2] + bounds[:, 2:]
    along = int(np.argmax(np.ptp(middle, axis=0)))
    order = np.argsort(middle[:, along], kind="stable")
    cut = np.empty_like(polygons)
    for half in np.array_split(order, 2):
        cut[half] = _cut(polygons[half], _around(outline, shapely.total_bounds(polygons[half])))
    return cut


def _around(outline: shapely.Geometry, bounds: NDArray[np.float64]) -> shapely.Geometry:
    """The part of an outline within bounds, larger where an edge leaves them.

    A piece of an edge crosses a polygon's edge at another place than the whole one does, by a rounding: enough to tear
    neighbours apart. So the bounds are widened to hold every edge that comes near from end to end (M. Davis,
    RobustClipEnvelopeComputer of JTS).
    """
    xy, ring = shapely.get_coordinates(shapely.get_rings(shapely.get_parts(outline)), return_index=True)
    low, high = np.minimum(xy[:-1], xy[1:]), np.maximum(xy[:-1], xy[1:])
    near = np.flatnonzero(
        (low[:, 0] <= bounds[2]) & (low[:, 1] <= bounds[3]) & (high[:, 0] >= bounds[0]) & (high[:, 1] >= bounds[1])
        & (ring[1:] == ring[:-1])
    )  # fmt: skip
    left, bottom = np.minimum(low[near].min(axis=0, initial=np.inf), bounds[:2])
    right, top = np.maximum(high[near].max(axis=0, initial=-np.inf), bounds[2:])
    polygons, _ = _areal(np.array([shapely.intersection(outline, shapely.box(left, bottom, right, top))]))
    return shapely.multipolygons(polygons)


def _parts(cut: Geometries) -> tuple[Geometries, NDArray[np.int64]]:
    """The polygons that remain, exteriors counter-clockwise, and which feature each is of."""
    # Normal form has exteriors clockwise, and one order of parts whatever the outline's was.
    parts, source = _areal(shapely.normalize(cut))
    width = 2 * shapely.area(parts) / shapely.length(parts)
    real = width > SLIVER * np.abs(shapely.bounds(parts)).max(axis=1, initial=0)
    return shapely.reverse(parts[real]), source[real]


def _areal(geometry: Geometries) -> tuple[Geometries, NDArray[np.int64]]:
    """The polygons in geometries of any type, and which geometry each is of."""
    parts, source = shapely.get_parts(geometry, return_index=True)
    polygons, collection = shapely.get_parts(parts, return_index=True)
    is_areal = (shapely.get_type_id(polygons) == shapely.GeometryType.POLYGON) & ~shapely.is_empty(polygons)
    return polygons[is_areal], source[collection[is_areal]]
