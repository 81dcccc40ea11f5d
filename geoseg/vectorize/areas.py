"""Areas on the ellipsoid of polygons whose edges are straight in any CRS.

Method. An equal-area map of the ellipsoid turns the area into a plane one. For a projected CRS that map is the polar
azimuthal one (Snyder 1987, "Map Projections: A Working Manual", USGS Professional Paper 1395, equations 3-12 and
24-23), for a geographic one the cylindrical one (equation 10-15, with longitude as it stands in the CRS): neither has
a seam where the CRS has none, be it at the antimeridian or at the pole. An edge that is straight in the CRS is a curve
on that map; it is cut into panels of about a kilometre at most, and each panel is integrated by one chord and by two
halves with Richardson's extrapolation, whose error shrinks with the fourth power of the panel. A polygon's area does
not depend on what else is measured with it. Geodesics between the corners, which ``pyproj.Geod`` integrates, are other
curves: along a parallel of 20 degrees they enclose some percent more.

This module knows rings and a CRS, nothing of labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer

from geoseg.errors import CrsError
from geoseg.vectorize.rings import Integers, Rings, offsets

PANEL = 1_000.0
"""Longest piece of an edge that is integrated at once, m."""

PANELS_PER_PIXEL = 8
"""Most panels of one pixel's edge: pixels of many kilometres get longer panels."""

VERTICES_AT_ONCE = 1 << 20
"""About how many vertices are measured together, which bounds memory."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def areas(rings: Rings, transform: Affine, crs: CRS) -> Floats:
    """Measure polygons on the ellipsoid.

    Parameters
    ----------
    rings : Rings
        The polygons in pixels.
    transform : Affine
        From pixels to CRS coordinates.
    crs : CRS
        On any body. An engineering CRS has no ellipsoid: its plane area is taken.

    Returns
    -------
    float64, shape (polygon,)
        m2; NaN where the polygon begins at a place, or runs through one, that is not on the ellipsoid.

    Raises
    ------
    CrsError
        The CRS has no horizontal coordinates.
    """
    measured = np.full(len(rings), np.nan)
    first = placed(rings.xy[rings.rings[rings.polygons[:-1]]], transform)
    for plane in _planes(crs):
        for index in _groups(rings, np.flatnonzero(plane.holds(first))):
            measured[index] = _areas(rings.take(index), transform, plane)
    return measured


def placed(xy: Integers | Floats, transform: Affine) -> Floats:
    """CRS coordinates of pixel corners, shape (vertex, 2), as ``transform * (x, y)`` gives them."""
    x, y = xy.T
    return np.column_stack(
        [x * transform.a + y * transform.b + transform.c, x * transform.d + y * transform.e + transform.f]
    )


def _groups(rings: Rings, index: Integers) -> list[Integers]:
    """Split polygons into groups with about as many vertices as are measured at once."""
    vertices = np.diff(rings.rings[rings.polygons])[index]
    group = np.cumsum(vertices) // VERTICES_AT_ONCE
    return np.split(index, np.flatnonzero(np.diff(group)) + 1) if len(index) else []


def _areas(rings: Rings, transform: Affine, plane: _Plane) -> Floats:
    """Sum the integrals of the edges, each along its panels, by polygon.

    All points follow one another: ``2 n`` of an edge with n panels, and the closing vertex of each ring.
    """
    corners = plane.map(placed(rings.xy, transform))
    counts = 2 * _panels(rings, corners)
    counts[rings.rings[1:] - 1] = 1
    begins = offsets(counts)
    vertex = np.repeat(np.arange(len(counts)), counts)
    turn = np.arange(begins[-1]) - begins[vertex]
    points = corners[vertex]
    inner = np.flatnonzero(turn)
    share = (turn[inner] / counts[vertex[inner]])[:, None]
    edge = np.diff(rings.xy, axis=0, append=rings.xy[-1:])
    points[inner] = plane.map(placed(rings.xy[vertex[inner]] + share * edge[vertex[inner]], transform))

    # Counted from the start of its ring, a small polygon's area loses no digits to the plane's size.
    points -= np.repeat(corners[rings.rings[:-1]], np.diff(begins[rings.rings]), axis=0)
    halves, chords = _cross(points, 1), np.where(turn % 2 == 0, _cross(points, 2), 0)
    parts = np.where(counts[vertex] > 1, 4 * halves - chords, 0) / 6
    return np.abs(np.add.reduceat(parts, begins[rings.rings[rings.polygons[:-1]]]))


def _panels(rings: Rings, corners: Floats) -> Integers:
    """How many panels the edge that starts at each vertex gets."""
    length = np.hypot(*np.diff(corners, axis=0, append=corners[-1:]).T)
    pixels = np.abs(np.diff(rings.xy, axis=0, append=rings.xy[-1:])).max(axis=1)
    wanted = np.ceil(np.nan_to_num(length) / PANEL)
    panels: Integers = np.clip(wanted, 1, np.maximum(1, PANELS_PER_PIXEL * pixels)).astype(np.int64)
    return panels


def _cross(points: Floats, step: int) -> Floats:
    """Twice the signed area between the origin, each point, and the one some steps further."""
    u, v = points.T
    next_u, next_v = np.roll(u, -step), np.roll(v, -step)
    area: Floats = u * (next_v - v) - v * (next_u - u)
    return area


class _Plane(Protocol):
    """An equal-area map, m."""

    def holds(self, xy: Floats) -> Bools:
        """Say which CRS coordinates are to be mapped here."""

    def map(self, xy: Floats) -> Floats:
        """Map CRS coordinates, shape (point, 2)."""


@dataclass(frozen=True)
class _Flat:
    """The plane of an engineering CRS; ``unit`` in m."""

    unit: float

    def holds(self, xy: Floats) -> Bools:
        return np.ones(len(xy), bool)

    def map(self, xy: Floats) -> Floats:
        return xy * self.unit


@dataclass(frozen=True)
class _Cylindrical:
    """Longitude and latitude in ``unit`` radians to ``(a lon, q(lat) / a)`` with dq = M N cos(lat) d lat."""

    unit: float
    geod: Geod

    def holds(self, xy: Floats) -> Bools:
        return np.ones(len(xy), bool)

    def map(self, xy: Floats) -> Floats:
        lon, lat = xy.T * self.unit
        sine, squared = np.sin(lat), self.geod.es
        area = self.geod.b**2 / 2 * (sine / (1 - squared * sine**2) + _artanh(sine, squared))
        return np.column_stack([self.geod.a * lon, area / self.geod.a])


@dataclass(frozen=True)
class _Polar:
    """Projected coordinates to ``r (cos lon, sin lon)``, where ``pi r^2`` is the area of the polar cap.

    With s = sin(lat) and d = 1 - s, which is taken from the distance to the pole so that no digits are lost there,
    ``r^2 = b^2 (d (1 + e^2 s) / ((1 - e^2) (1 - e^2 s^2)) + artanh(e d / (1 - e^2 s)) / e)``.
    ``pole`` is 1 for the north and -1 for the south.
    """

    to_geographic: Transformer
    unit: float
    geod: Geod
    pole: int

    def holds(self, xy: Floats) -> Bools:
        lat = self.pole * self._geographic(xy)[1]
        return lat > 0 if self.pole < 0 else lat >= 0

    def map(self, xy: Floats) -> Floats:
        lon, lat = self._geographic(xy)
        squared = self.geod.es
        difference = 2 * np.sin((np.pi / 2 - self.pole * lat) / 2) ** 2
        sine = 1 - difference
        rational = difference * (1 + squared * sine) / ((1 - squared) * (1 - squared * sine**2))
        radius = self.geod.b * np.sqrt(rational + _artanh(difference / (1 - squared * sine), squared))
        return np.column_stack([radius * np.cos(lon), radius * np.sin(lon)])

    def _geographic(self, xy: Floats) -> tuple[Floats, Floats]:
        """Longitude and latitude, radians; NaN outside of the projection."""
        lon, lat = self.to_geographic.transform(xy[:, 0], xy[:, 1])
        outside = ~np.isfinite(lon) | ~np.isfinite(lat)
        return np.where(outside, np.nan, lon) * self.unit, np.where(outside, np.nan, lat) * self.unit


def _artanh(value: Floats, squared: float) -> Floats:
    """``artanh(e x) / e``, which is x on a sphere."""
    if squared == 0:
        return value
    eccentricity = np.sqrt(squared)
    result: Floats = np.arctanh(eccentricity * value) / eccentricity
    return result


def _planes(crs: CRS) -> list[_Plane]:
    """Choose the equal-area maps of a CRS: for a projected one, one around each pole."""
    horizontal = (crs.source_crs if crs.is_bound and crs.source_crs else crs).to_2d()
    if horizontal.is_engineering:
        return [_Flat(horizontal.axis_info[0].unit_conversion_factor)]
    geod, geodetic = horizontal.get_geod(), horizontal.geodetic_crs
    if geod is None or geodetic is None or not (horizontal.is_geographic or horizontal.is_projected):
        raise CrsError(
            f"areas cannot be measured in the CRS '{crs.name}', which has no horizontal coordinates; "
            "give the raster a projected or geographic CRS"
        )
    if horizontal.is_geographic:
        if not (horizontal.is_derived and horizontal.source_crs):
            return [_Cylindrical(horizontal.axis_info[0].unit_conversion_factor, geod)]
        geodetic = horizontal.source_crs
    to_geographic = Transformer.from_crs(horizontal, geodetic, always_xy=True)
    unit = geodetic.axis_info[0].unit_conversion_factor
    return [_Polar(to_geographic, unit, geod, pole) for pole in (1, -1)]
