"""Degrees on a round globe: longitudes beyond 180, outlines over the antimeridian, bounds at a pole.

It knows shapes and grids; not what they are the outline of.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from pyproj.exceptions import ProjError
from shapely.affinity import translate

TURN, HALF_TURN, QUARTER_TURN = 360.0, 180.0, 90.0
"""Degrees: once around, the antimeridian, a pole."""

GLOBE = shapely.box(-HALF_TURN, -QUARTER_TURN, HALF_TURN, QUARTER_TURN)
"""All longitudes and latitudes."""

LATTICE = 128
"""Steps along each side of a grid whose points are placed one by one."""

STRAY = 1e-6
"""How far from itself a place may come back from another CRS, as a share of the earth's radius or of coordinates."""

Floats = NDArray[np.float64]
Shapes = NDArray[np.object_]
Shape: TypeAlias = shapely.Polygon | shapely.MultiPolygon


def on_sphere(lonlat: Floats) -> Floats:
    """Unit vectors, which know no antimeridian and no longitude at the poles."""
    lon, lat = lonlat.T
    return np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def across_antimeridian(geometry: shapely.Geometry) -> shapely.Geometry:
    """Make outlines that jump from 180 to -180 degrees continuous, and repeat them on the other side."""
    return repeated([shapely.transform(part, unwrap) for part in shapely.get_parts(geometry)])


def repeated(parts: Any) -> shapely.Geometry:
    """Repeat shapes that go beyond 180 or -180 degrees on the other side, a turn away."""
    beyond = [(part, TURN) for part in parts if part.bounds[0] < -HALF_TURN]
    beyond += [(part, -TURN) for part in parts if part.bounds[2] > HALF_TURN]
    copies = [translate(part, turn) for part, turn in beyond]
    return shapely.disjoint_subset_union_all(shapely.make_valid(np.array([*parts, *copies])))


def unwrap(xy: Floats) -> Floats:
    """Coordinates in degrees, shape (point, 2), without jumps of a turn from one to the next."""
    # by whole turns: np.unwrap rounds, and the last vertex of a ring would no longer be its first
    turns = np.cumsum(np.round(np.diff(xy[:, 0], prepend=xy[:1, 0]) / TURN))
    return np.column_stack([xy[:, 0] - TURN * turns, xy[:, 1]])


def every_reading(geometry: shapely.Geometry) -> shapely.Geometry:
    """All that a footprint may mean where tools write the antimeridian in their own ways.

    Degrees may go beyond 180, as the bounds do; and an edge over more than half a turn is meant to go the short way,
    unless it goes around the whole globe.
    """
    parts = shapely.get_parts(shapely.make_valid(geometry))
    plain = repeated(parts)
    jumps = np.abs(np.diff(shapely.get_coordinates(geometry)[:, 0]))
    if not ((jumps > HALF_TURN) & (jumps < TURN)).any():
        return plain
    try:
        return shapely.union(plain, across_antimeridian(geometry))
    except shapely.errors.GEOSException:  # a ring around a pole does not close
        return plain


def geographic_bounds(geobox: GeoBox) -> Shape | None:
    """What of a grid has a place on the globe, as a box in degrees of WGS 84, two of them over the antimeridian.

    It is for grids whose outline has no place: of the whole globe in an equal-area projection, the disk that a
    geostationary satellite sees, around a pole. A lattice of points is placed, and the box reaches two steps beyond.

    Returns
    -------
    Polygon, MultiPolygon or None
        None when no point has a place, as on other planets.
    """
    try:
        transformer = Transformer.from_crs(geobox.crs.proj, "EPSG:4326", always_xy=True)  # type: ignore[union-attr]
    except ProjError:
        return None
    height, width = geobox.shape
    rows, columns = np.meshgrid(np.linspace(0, height, LATTICE + 1), np.linspace(0, width, LATTICE + 1))
    a, b, c, d, e, f = tuple(geobox.transform)[:6]
    x, y = (a * columns + b * rows + c).ravel(), (d * columns + e * rows + f).ravel()
    lon, lat = transformer.transform(x, y)
    back_x, back_y = transformer.transform(lon, lat, direction="INVERSE")
    if geobox.crs is not None and geobox.crs.proj.is_geographic:
        back_x, back_y = x, y
    stray = np.hypot(back_x - x, back_y - y)
    placed = (stray <= STRAY * max(np.abs(x).max(), np.abs(y).max(), 1.0)) & (np.abs(lat) <= QUARTER_TURN)
    if not placed.any():
        return None
    poles = [pole for pole in (-QUARTER_TURN, QUARTER_TURN) if _holds_pole(geobox, transformer, pole)]
    step = 2 * np.ptp(lat[placed]) / LATTICE
    south, north = min([lat[placed].min() - step, *poles]), max([lat[placed].max() + step, *poles])
    west, east = (-HALF_TURN, HALF_TURN) if poles else _shortest_arc(lon[placed])
    box: Shape = shapely.intersection(repeated([shapely.box(west, south, east, north)]), GLOBE)
    return box


def _holds_pole(geobox: GeoBox, transformer: Transformer, pole: float) -> bool:
    """Say whether a pole lies in a grid."""
    x, y = transformer.transform(0.0, pole, direction="INVERSE")
    column, row = ~geobox.transform @ (x, y)
    return bool(0 <= row <= geobox.shape[0] and 0 <= column <= geobox.shape[1])


def _shortest_arc(lon: Floats) -> tuple[float, float]:
    """West and east of the shortest arc that holds longitudes; the whole circle where they lie all around it."""
    order = np.unique(lon % TURN)
    gaps = np.diff(order, append=order[0] + TURN)
    widest = int(np.argmax(gaps))
    arc = TURN - gaps[widest]
    step = 2 * arc / LATTICE
    if gaps[widest] <= 2 * step:
        return -HALF_TURN, HALF_TURN
    west = (order[(widest + 1) % len(order)] + HALF_TURN) % TURN - HALF_TURN
    return float(west - step), float(west + arc + step)
