"""Areas and perimeters on the ellipsoid of polygons whose edges are straight in any CRS.

Method. An equal-area map of the ellipsoid turns the area into a plane one. For a projected CRS that map is the polar
azimuthal one (Snyder 1987, "Map Projections: A Working Manual", USGS Professional Paper 1395, equations 3-12 and
24-23), for a geographic one the cylindrical one (equation 10-15, with longitude as it stands in the CRS): neither has
a seam where the CRS has none, be it at the antimeridian or at the pole. Lengths are those of chords in space, between
geocentric coordinates. An edge that is straight in the CRS is a curve on that map and in space; it is cut into panels
of about a kilometre on earth at most, and each panel is integrated by one chord and by two halves with Richardson's
extrapolation, whose error shrinks with the fourth power of the panel. Geodesics between the corners, which
``pyproj.Geod`` integrates, are other curves: along a parallel of 20 degrees they enclose some percent more.

Strategy. All five coordinates are smooth, so PROJ is asked at the 16 nodes of each cell of a grid some kilometres wide
that begins at pixel corner (0, 0), and cubic interpolation gives the points of the edges; a cell that is not smooth
enough is mapped point by point. What a cell does depends on the cell alone, and so a polygon's area and perimeter do
not depend, bit for bit, on what else is measured with it.

This module knows rings and a CRS, nothing of labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from affine import Affine
from numba import njit
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer

from geoseg.arcs.chains import Coordinates, Integers
from geoseg.arcs.rings import Rings
from geoseg.errors import CrsError

PANEL = 1 / 6_400
"""Longest piece of an edge that is integrated at once, in radii of the ellipsoid as the CRS shows them."""

PANELS_PER_PIXEL = 8
"""Most panels of one pixel's edge, and most cells along it: pixels of many kilometres get longer ones."""

CELL = 1 / 400
"""Largest width of a cell of interpolation, in radii too."""

ROUGHNESS = 1e-9
"""How far interpolation may miss in a cell, as a part of the cell's diagonal; ten times that is lost to an area."""

VERTICES_AT_ONCE = 1 << 19
"""About how many vertices are measured together, which bounds memory."""

NODES = np.array([(x, y) for y in range(4) for x in range(4)]) / 3
"""Where a cell is mapped for interpolation, in its own width; row by row."""

WINDING = 2.0
"""How much longer two halves of a panel may be than its chord, 1 m aside: of smooth maps they are alike."""

TRIALS = np.array([(1, 1), (5, 1), (3, 3), (1, 5), (5, 5)]) / 6
"""Where interpolation is tried; it strays farthest between the first two nodes, and the last two, of an axis."""

COORDINATES = 5
"""On the equal-area map two, in space three."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Sizes:
    """How large polygons are on the ellipsoid.

    NaN where a polygon begins at a place, or runs through one, that is not on the ellipsoid; what PROJ turns round the
    globe beyond an edge of the world counts as the ground there, unless that is too close to a pole to be told.

    Attributes
    ----------
    area : float64, shape (polygon,)
        m2.
    perimeter : float64, shape (polygon,)
        Length of the exterior and of all holes, m.
    """

    area: Floats
    perimeter: Floats


def measure(rings: Rings, transform: Affine, crs: CRS) -> Sizes:
    """Measure polygons on the ellipsoid: within 1e-6 of their size, and usually within 1e-9.

    Parameters
    ----------
    rings : Rings
        The polygons in pixels.
    transform : Affine
        From pixels to CRS coordinates.
    crs : CRS
        On any body. An engineering CRS has no ellipsoid: it is measured in its plane.

    Raises
    ------
    CrsError
        The CRS has no horizontal coordinates.
    """
    sizes = Sizes(np.full(len(rings), np.nan), np.full(len(rings), np.nan))
    first = placed(rings.xy[rings.rings[rings.polygons[:-1]]], transform)
    for ground in _grounds(crs):
        lattice = _Lattice(transform, ground)
        for index in _groups(rings, np.flatnonzero(ground.holds(first))):
            sizes.area[index], sizes.perimeter[index] = _measure(rings.take(index), lattice)
    return sizes


def placed(xy: Coordinates | Floats, transform: Affine) -> Floats:
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


def _measure(rings: Rings, lattice: _Lattice) -> tuple[Floats, Floats]:
    """Areas and perimeters: points along the edges, mapped, and summed.

    All points of a ring follow one another: ``2 n`` of an edge with n panels, and the closing vertex.
    """
    xy = rings.xy.astype(np.float64)
    panels, begins = _panels(xy, rings.rings, *(lattice.pixel / PANEL))
    return _sums(lattice.map(_points(xy, rings.rings, panels, begins[-1])), begins, rings.polygons)


@njit(cache=True, nogil=True)
def _panels(xy: Floats, rings: Integers, width: float, height: float) -> tuple[Integers, Integers]:
    """How many panels the edge that starts at each vertex gets, and where the points of each ring begin.

    ``width`` and ``height`` are those of a pixel, in panels; an edge is no longer than its steps together.
    """
    panels, begins = np.zeros(len(xy), np.int64), np.zeros(len(rings), np.int64)
    for ring in range(len(rings) - 1):
        begins[ring + 1] = begins[ring] + 1
        for vertex in range(rings[ring], rings[ring + 1] - 1):
            cols, rows = abs(xy[vertex + 1, 0] - xy[vertex, 0]), abs(xy[vertex + 1, 1] - xy[vertex, 1])
            most = PANELS_PER_PIXEL * max(cols, rows)
            panels[vertex] = int(max(1.0, np.ceil(min(cols * width + rows * height, most))))
            begins[ring + 1] += 2 * panels[vertex]
    return panels, begins


@njit(cache=True, nogil=True)
def _points(xy: Floats, rings: Integers, panels: Integers, count: int) -> Floats:
    """Pixel coordinates of the ends and middles of all panels."""
    points = np.empty((count, 2))
    place = 0
    for ring in range(len(rings) - 1):
        last = rings[ring + 1] - 1
        for vertex in range(rings[ring], last):
            step_x, step_y = xy[vertex + 1, 0] - xy[vertex, 0], xy[vertex + 1, 1] - xy[vertex, 1]
            parts = 2 * panels[vertex]
            for part in range(parts):
                points[place, 0] = xy[vertex, 0] + part / parts * step_x
                points[place, 1] = xy[vertex, 1] + part / parts * step_y
                place += 1
        points[place] = xy[last]
        place += 1
    return points


@njit(cache=True, nogil=True)
def _sums(points: Floats, rings: Integers, polygons: Integers) -> tuple[Floats, Floats]:
    """Sum the panels by polygon; Richardson's extrapolation of a chord and two halves.

    Some inverses of PROJ (9.5) have no edge: those of the sinusoidal, the Equal Earth and the Natural Earth turn places
    off the globe round it, ever faster towards a pole, until a panel goes round it too. That polygon is not on earth.
    """
    area, perimeter = np.zeros(len(polygons) - 1), np.zeros(len(polygons) - 1)
    for polygon in range(len(polygons) - 1):
        for ring in range(polygons[polygon], polygons[polygon + 1]):
            # Counted from the start of its ring, a small polygon's area loses no digits to the plane's size.
            origin = points[rings[ring]]
            for place in range(rings[ring], rings[ring + 1] - 1, 2):
                start, middle, end = points[place], points[place + 1], points[place + 2]
                halves = _cross(start, middle, origin) + _cross(middle, end, origin)
                area[polygon] += (4 * halves - _cross(start, end, origin)) / 6
                halves = _chord(start, middle) + _chord(middle, end)
                chord = _chord(start, end)
                perimeter[polygon] += (4 * halves - chord) / 3
                if halves > WINDING * chord + 1.0:
                    area[polygon] = perimeter[polygon] = np.nan
    return np.abs(area), perimeter


@njit(cache=True, nogil=True)
def _cross(one: Floats, other: Floats, origin: Floats) -> float:
    """Twice the signed area between an origin and two points, m2."""
    u, v = one[0] - origin[0], one[1] - origin[1]
    area: float = u * (other[1] - one[1]) - v * (other[0] - one[0])
    return area


@njit(cache=True, nogil=True)
def _chord(one: Floats, other: Floats) -> float:
    """Straight distance in space, m."""
    x, y, z = other[2] - one[2], other[3] - one[3], other[4] - one[4]
    distance: float = np.sqrt(x * x + y * y + z * z)
    return distance


class _Lattice:
    """Pixel corners, and points between them, on the ground.

    Parameters
    ----------
    transform : Affine
        From pixels to CRS coordinates.
    ground : _Ground
        From CRS coordinates on.
    """

    def __init__(self, transform: Affine, ground: _Ground) -> None:
        self.transform, self.ground = transform, ground
        self.pixel = ground.radii * np.hypot([transform.a, transform.b], [transform.d, transform.e])
        """Width and height of a pixel, in radii of the ellipsoid."""
        self.span = max(2.0 ** np.floor(np.log2(CELL / self.pixel.max())), 1 / PANELS_PER_PIXEL)
        """Width of a cell, px: a power of two, so that nothing is rounded away."""

    def map(self, xy: Floats) -> Floats:
        """Map pixel coordinates, shape (point, 2), to ``(u, v, x, y, z)``."""
        starts, cells = _runs(xy, 1 / self.span)
        _, first, cell = np.unique((cells[:, 1] << 32) + cells[:, 0], return_index=True, return_inverse=True)
        corners = cells[first].astype(np.float64)
        nodes = self._exact(_in_cells(corners, NODES) * self.span).reshape(-1, 4, 4, COORDINATES)
        mapped = _interpolated(xy / self.span, starts, corners[cell], nodes, cell)
        rough = np.flatnonzero(np.repeat(self._is_rough(corners, nodes)[cell], np.diff(starts)))
        mapped[rough] = self._exact(xy[rough])
        return mapped

    def _is_rough(self, corners: Floats, nodes: Floats) -> Bools:
        """Say in which cells interpolation misses; a place that is not on the ellipsoid is missed always."""
        count = len(corners)
        trials = _in_cells(corners, TRIALS)
        starts, cell = len(TRIALS) * np.arange(count + 1), np.arange(count)
        missed = np.abs(_interpolated(trials, starts, corners, nodes, cell) - self._exact(trials * self.span))
        diagonal = np.linalg.norm((nodes[:, 3, 3] - nodes[:, 0, 0])[:, 2:], axis=1)
        is_smooth: Bools = missed.reshape(count, -1).max(axis=1) <= ROUGHNESS * diagonal
        return ~is_smooth

    def _exact(self, xy: Floats) -> Floats:
        return self.ground.map(placed(xy, self.transform))


def _in_cells(corners: Floats, places: Floats) -> Floats:
    """The same places in every cell, shape (cell x place, 2), in widths of a cell."""
    return (corners[:, None] + places).reshape(-1, 2)


@njit(cache=True, nogil=True)
def _runs(xy: Floats, per_pixel: float) -> tuple[Integers, Integers]:
    """Where points that follow one another change the cell, and the end; and column and row of those cells."""
    starts, cells = np.empty(len(xy) + 1, np.int64), np.empty((len(xy), 2), np.int64)
    count = 0
    for point in range(len(xy)):
        col, row = np.int64(np.floor(xy[point, 0] * per_pixel)), np.int64(np.floor(xy[point, 1] * per_pixel))
        if count == 0 or col != cells[count - 1, 0] or row != cells[count - 1, 1]:
            starts[count], cells[count, 0], cells[count, 1] = point, col, row
            count += 1
    starts[count] = len(xy)
    return starts[: count + 1].copy(), cells[:count].copy()


@njit(cache=True, nogil=True)
def _interpolated(xy: Floats, starts: Integers, corners: Floats, nodes: Floats, cell: Integers) -> Floats:
    """Interpolate runs of points, in widths of a cell, between the 4 x 4 nodes of each run's cell."""
    mapped = np.empty((len(xy), COORDINATES))
    across, down = np.empty(4), np.empty(4)
    for run in range(len(cell)):
        known = nodes[cell[run]]
        for point in range(starts[run], starts[run + 1]):
            _weigh(xy[point, 0] - corners[run, 0], across)
            _weigh(xy[point, 1] - corners[run, 1], down)
            mapped[point] = 0
            for row in range(4):
                for col in range(4):
                    weight = down[row] * across[col]
                    for coordinate in range(COORDINATES):
                        mapped[point, coordinate] += weight * known[row, col, coordinate]
    return mapped


@njit(cache=True, nogil=True)
def _weigh(place: float, weights: Floats) -> None:
    """Lagrange's weights of the nodes 0, 1/3, 2/3 and 1 at a place between them."""
    t = 3 * place
    weights[0] = (1 - t) * (t - 2) * (t - 3) / 6
    weights[1] = t * (t - 2) * (t - 3) / 2
    weights[2] = t * (t - 1) * (3 - t) / 2
    weights[3] = t * (t - 1) * (t - 2) / 6


class _Ground(Protocol):
    """An equal-area map, and places in space."""

    @property
    def radii(self) -> float:
        """A unit of the CRS, in radii of the ellipsoid."""

    def holds(self, xy: Floats) -> Bools:
        """Say which CRS coordinates are to be mapped here."""

    def map(self, xy: Floats) -> Floats:
        """Map CRS coordinates, shape (point, 2), to ``(u, v, x, y, z)``, m: equal-area, then geocentric."""


@dataclass(frozen=True)
class _Flat:
    """The plane of an engineering CRS, with units of ``metres``."""

    metres: float

    @property
    def radii(self) -> float:
        return self.metres / 6.4e6  # as if on earth: in a plane every panel and every cell is exact

    def holds(self, xy: Floats) -> Bools:
        return np.ones(len(xy), bool)

    def map(self, xy: Floats) -> Floats:
        u, v = xy.T * self.metres
        return np.column_stack([u, v, u, v, np.zeros(len(xy))])


@dataclass(frozen=True)
class _Cylindrical:
    """Longitude and latitude in ``unit`` radians to ``(a lon, q(lat) / a)`` with dq = M N cos(lat) d lat."""

    unit: float
    geod: Geod

    @property
    def radii(self) -> float:
        return self.unit

    def holds(self, xy: Floats) -> Bools:
        return np.ones(len(xy), bool)

    def map(self, xy: Floats) -> Floats:
        lon, lat = xy.T * self.unit
        sine, squared = np.sin(lat), self.geod.es
        area = self.geod.b**2 / 2 * (sine / (1 - squared * sine**2) + _artanh(sine, squared))
        return np.column_stack([self.geod.a * lon, area / self.geod.a, *_geocentric(lon, lat, self.geod)])


@dataclass(frozen=True)
class _Polar:
    """Projected coordinates to ``r (cos lon, sin lon)``, where ``pi r^2`` is the area of the polar cap.

    With s = sin(lat) and d = 1 - s, which is taken from the distance to the pole so that no digits are lost there,
    ``r^2 = b^2 (d (1 + e^2 s) / ((1 - e^2) (1 - e^2 s^2)) + artanh(e d / (1 - e^2 s)) / e)``.
    ``pole`` is 1 for the north and -1 for the south.
    """

    to_geographic: Transformer
    radii: float
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
        return np.column_stack([radius * np.cos(lon), radius * np.sin(lon), *_geocentric(lon, lat, self.geod)])

    def _geographic(self, xy: Floats) -> tuple[Floats, Floats]:
        """Longitude and latitude, radians; NaN outside of the projection."""
        lon, lat = self.to_geographic.transform(xy[:, 0], xy[:, 1])
        is_place = np.isfinite(lon) & (np.abs(lat) * self.unit <= math.pi / 2 + 1e-9)  # Aitoff gives 628 degrees
        return np.where(is_place, lon, np.nan) * self.unit, np.where(is_place, lat, np.nan) * self.unit


def _artanh(value: Floats, squared: float) -> Floats:
    """``artanh(e x) / e``, which is x on a sphere."""
    if squared == 0:
        return value
    eccentricity = np.sqrt(squared)
    result: Floats = np.arctanh(eccentricity * value) / eccentricity
    return result


def _geocentric(lon: Floats, lat: Floats, geod: Geod) -> tuple[Floats, Floats, Floats]:
    """``N (cos lat cos lon, cos lat sin lon, (1 - e^2) sin lat)`` with ``N = a / sqrt(1 - e^2 sin^2 lat)``."""
    sine = np.sin(lat)
    normal = geod.a / np.sqrt(1 - geod.es * sine**2)
    equatorial = normal * np.cos(lat)
    return equatorial * np.cos(lon), equatorial * np.sin(lon), (1 - geod.es) * normal * sine


def _grounds(crs: CRS) -> list[_Ground]:
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
    size = horizontal.axis_info[0].unit_conversion_factor
    if horizontal.is_geographic:
        if not (horizontal.is_derived and horizontal.source_crs):
            return [_Cylindrical(size, geod)]
        geodetic, radii = horizontal.source_crs, size
    else:
        radii = size / geod.a
    to_geographic = Transformer.from_crs(horizontal, geodetic, always_xy=True)
    unit = geodetic.axis_info[0].unit_conversion_factor
    return [_Polar(to_geographic, radii, unit, geod, pole) for pole in (1, -1)]
