"""Polygons of any CRS as polygons on earth, in degrees of WGS 84, for formats that know no other CRS.

They are cut at the antimeridian, closed around a pole, and what has no place on earth is left out.
It knows shapes and CRSs; neither files nor what the polygons mean.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from shapely.affinity import translate

from geoseg.errors import FormatWarning, VectorError
from geoseg.vector.globe import HALF_TURN, QUARTER_TURN, STRAY, TURN, Floats, Shapes, unwrap
from geoseg.vector.wkb import decode, encode

EDGE = 1_000.0
"""Longest edge, m, that is projected to degrees by its ends alone; at 45 degrees it then strays by 2 cm."""

MOST_VERTICES = 500_000
"""Vertices, as far as their lengths foretell, of the polygons that are projected together: some 100 MiB at a time."""

EARTHLY: Mapping[str, str] = {"GeoJSON": "GeoJSON holds longitude and latitude", "PMTiles": "PMTiles hold places"}
"""Formats that know one CRS, and what they hold on earth."""

RIM = 1e-9
"""Share of its coordinates by which a place on the rim of a map is moved inwards, 2 cm on a map of the world."""

CELLS, HALVINGS = 64, 6
"""Cells along each side of a shape whose corners are placed, and how often one at the rim of a map is halved."""

SLIVER = 1e-7
"""Area over perimeter, degrees, of what straight edges leave at the antimeridian: it is some centimetres wide."""

TRIANGLE = 3
"""Vertices that a ring needs to hold something."""

DISK = 1.0
"""Radius in CRS units of what is left open at a pole through which an outline goes, and which has every longitude."""


def earth_transformer(crs: CRS, target: str, promise: str) -> Transformer:
    """Find the way from a CRS to one that a format prescribes.

    Parameters
    ----------
    crs : CRS
        Of the layer.
    target : str
        Of the format.
    promise : str
        What the format holds, for the message.

    Returns
    -------
    Transformer
        x and y to x and y.

    Raises
    ------
    VectorError
        The layer lies on another planet, or nowhere.
    """
    try:
        return Transformer.from_crs(crs, target, always_xy=True)
    except ProjError as error:
        raise VectorError(f"{promise} on earth, and '{crs.name}' has none ({error}); write .gpkg") from error


def on_earth(
    batches: Iterable[pa.RecordBatch], crs: CRS, name: str, highest: float = QUARTER_TURN
) -> Iterator[pa.RecordBatch]:
    """Bring features to degrees of WGS 84.

    Parameters
    ----------
    batches : iterable of RecordBatch
        The features.
    crs : CRS
        Of the features.
    name : str
        Of the file, for the warning.
    highest : float
        The latitude, north and south, at which the format's map ends.

    Yields
    ------
    RecordBatch
        Without the features that have no place at all.

    Warns
    -----
    FormatWarning
        Parts of features have no place in the file.
    """
    places, incomplete = Places(crs), 0
    for part in _portions(batches, places):
        degrees, is_whole = in_degrees(decode(part.column("geometry")), places, highest)
        incomplete += int(np.count_nonzero(~is_whole))
        columns = pa.RecordBatch.from_arrays([*part.columns[:-1], encode(degrees)], schema=part.schema)
        placed = columns.filter(pa.array(~shapely.is_empty(degrees)))
        if len(placed):
            yield placed
    if incomplete:
        warnings.warn(
            f"{incomplete} polygons are not in '{name}', or a part of them is not, because they reach over the edge of "
            f"the world in '{crs.name}' or beyond latitude {highest:.2f}; write .gpkg too for all of them",
            FormatWarning,
            stacklevel=3,
        )


def _portions(batches: Iterable[pa.RecordBatch], places: Places) -> Iterator[pa.RecordBatch]:
    """Parts of batches that stay small when their long edges become many short ones."""
    for batch in batches:
        polygons = decode(batch.column("geometry"))
        counts = shapely.get_num_coordinates(polygons).astype(np.float64)
        if not places.is_geographic:
            counts += shapely.length(polygons) * places.unit / EDGE
        starts = np.flatnonzero(np.diff(np.cumsum(counts) // MOST_VERTICES, prepend=-1))
        for start, end in pairwise([*starts.tolist(), len(batch)]):
            yield batch.slice(start, end - start)


class Places:
    """Where coordinates of a CRS lie on earth.

    Parameters
    ----------
    crs : CRS
        Of the coordinates.
    """

    def __init__(self, crs: CRS) -> None:
        self.is_geographic = crs.is_geographic
        self.unit = float(crs.axis_info[0].unit_conversion_factor) if crs.axis_info else 1.0
        self._transformer = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)

    @cached_property
    def poles(self) -> list[tuple[float, shapely.Point]]:
        """Latitude of each pole that is a point of the map, and the point."""
        if self.is_geographic:
            return []
        at = {lat: self._transformer.transform((0, 90), (lat, lat), direction="INVERSE") for lat in (90.0, -90.0)}
        finite = {lat: np.transpose(xy) for lat, xy in at.items() if np.isfinite(xy).all()}
        return [(lat, shapely.Point(one)) for lat, (one, other) in finite.items() if math.dist(one, other) < DISK]

    def __call__(self, xy: Floats) -> Floats:
        """Longitude and latitude of points, shape (point, 2); NaN where a point lies nowhere on earth.

        Longitudes of a geographic CRS go on where its own do, beyond 180 degrees.
        """
        return self._continued(xy) if self.is_geographic else self._projected(xy)

    def _continued(self, xy: Floats) -> Floats:
        own = np.degrees(xy * self.unit)
        lat = np.clip(own[:, 1], -QUARTER_TURN, QUARTER_TURN)
        lon, lat = self._transformer.transform(xy[:, 0], np.radians(lat) / self.unit)
        shift = (lon - own[:, 0] + HALF_TURN) % TURN - HALF_TURN
        return np.column_stack([own[:, 0] + shift, lat])

    def _projected(self, xy: Floats) -> Floats:
        lonlat = self._there_and_back(xy)
        nowhere = np.isnan(lonlat[:, 0])
        lonlat[nowhere] = self._there_and_back(xy[nowhere] * (1 - RIM))
        return lonlat

    def _there_and_back(self, xy: Floats) -> Floats:
        """Places that lead back to their points: projections give nonsense beyond their rim."""
        lon, lat = self._transformer.transform(*xy.T)
        back = np.column_stack(self._transformer.transform(lon, lat, direction="INVERSE"))
        with np.errstate(invalid="ignore"):
            strays = ~(np.hypot(*(back - xy).T) <= STRAY * np.hypot(*xy.T).clip(min=1e3))
        return np.where(strays[:, None], np.nan, np.column_stack([lon, lat]))


def in_degrees(polygons: Shapes, places: Places, highest: float = QUARTER_TURN) -> tuple[Shapes, NDArray[np.bool_]]:
    """Bring polygons to degrees of WGS 84, from -180 to 180, cut at the antimeridian.

    Parameters
    ----------
    polygons : object, shape (feature,)
        Polygons and multipolygons in some CRS, whole there.
    places : Places
        Of that CRS.
    highest : float
        The latitude, north and south, at which they are cut off.

    Returns
    -------
    degrees : object, shape (feature,)
        The same; multipolygons in place of those that are cut, empty ones in place of those that lie nowhere.
    is_whole : bool, shape (feature,)
        False where a part is left out.
    """
    if not places.is_geographic:
        polygons = shapely.segmentize(polygons, EDGE / places.unit)
    xy, feature = shapely.get_coordinates(polygons, return_index=True)
    lonlat = places(xy)
    steps = np.abs(np.diff(lonlat[:, 0], prepend=lonlat[:1, 0]))
    is_odd = ~(np.abs(lonlat[:, 0]) <= HALF_TURN) | ~(np.abs(lonlat[:, 1]) <= highest)
    if not places.is_geographic:
        is_odd |= (steps > HALF_TURN) & (feature == np.roll(feature, 1))
    odd = np.unique(feature[is_odd])
    degrees, is_whole = polygons.copy(), np.ones(len(polygons), dtype=bool)
    plain = np.setdiff1d(np.arange(len(polygons)), odd)
    degrees[plain] = shapely.set_coordinates(polygons[plain], lonlat[~np.isin(feature, odd)])
    for index in odd:
        degrees[index], is_whole[index] = _cut(polygons[index], places, highest)
    return degrees, is_whole


def _cut(geometry: shapely.Geometry, places: Places, highest: float) -> tuple[shapely.Geometry, bool]:
    """A shape in degrees, cut to the globe; and whether all of it is there."""
    is_whole = not np.isnan(places(shapely.get_coordinates(geometry))).any()
    if not is_whole:
        geometry = _placed_part(geometry, places)
    for _, pole in places.poles:
        if shapely.dwithin(shapely.boundary(geometry), pole, DISK / 2):
            geometry = shapely.difference(geometry, shapely.buffer(pole, DISK))
    parts = shapely.get_parts(shapely.get_parts(geometry))
    pieces = _pieces([_area(part, places) for part in parts if part.geom_type == "Polygon"])
    is_whole &= all(max(-piece.bounds[1], piece.bounds[3]) <= highest for piece in pieces)
    globe = shapely.box(-HALF_TURN, -highest, HALF_TURN, highest)
    return shapely.MultiPolygon(_pieces(shapely.intersection(pieces, globe))), is_whole


def _pieces(areas: Sequence[shapely.Geometry]) -> list[shapely.Polygon]:
    """The polygons of shapes, without slivers that rounding leaves."""
    parts = shapely.get_parts(shapely.get_parts(np.array(areas, dtype=object)))
    return [part for part in parts if part.geom_type == "Polygon" and part.area > SLIVER * part.length]


def _area(polygon: shapely.Polygon, places: Places) -> shapely.Geometry:
    """A polygon in degrees, from -180 to 180, without its holes."""
    shell, *holes = (_filled(ring, places) for ring in (polygon.exterior, *polygon.interiors))
    return shapely.difference(shell, shapely.union_all(holes)) if holes else shell


def _filled(ring: shapely.LinearRing, places: Places) -> shapely.Geometry:
    """What a ring holds, in degrees from -180 to 180; around a pole all that is nearer to it."""
    lonlat = places(shapely.get_coordinates(ring))
    lonlat = lonlat[~np.isnan(lonlat[:, 0])]
    if len(lonlat) < TRIANGLE:
        return shapely.Polygon()
    if not places.is_geographic:
        lonlat = unwrap(lonlat)
        if abs(lonlat[-1, 0] - lonlat[0, 0]) > HALF_TURN:
            pole = _pole_within(ring, places, lonlat)
            lonlat = np.vstack([lonlat, (lonlat[-1, 0], pole), (lonlat[0, 0], pole)])
    whole = shapely.make_valid(shapely.Polygon(lonlat))
    left, _, right, _ = whole.bounds
    first, last = -np.floor((right + HALF_TURN) / TURN), np.ceil((HALF_TURN - left) / TURN)
    copies = [translate(whole, turn * TURN) for turn in np.arange(first, last)]
    band = shapely.box(-HALF_TURN, -QUARTER_TURN, HALF_TURN, QUARTER_TURN)
    return shapely.union_all(shapely.intersection(np.array(copies), band))


def _pole_within(ring: shapely.LinearRing, places: Places, lonlat: Floats) -> float:
    """Latitude of the pole that a ring goes around."""
    held = [lat for lat, pole in places.poles if shapely.Polygon(ring).contains(pole)]
    return held[0] if held else float(np.copysign(QUARTER_TURN, lonlat[:, 1].mean()))


def _placed_part(geometry: shapely.Geometry, places: Places) -> shapely.Geometry:
    """What of a shape has a place: cells whose corners all do, those at the rim of the map halved again and again."""
    left, bottom, right, top = geometry.bounds
    rows, columns = (axis.ravel() for axis in np.mgrid[:CELLS, :CELLS])
    kept = []
    for level in range(HALVINGS + 1):
        width, height = (right - left) / CELLS / 2**level, (top - bottom) / CELLS / 2**level
        x = left + width * (columns[:, None] + [0, 1, 1, 0])
        y = bottom + height * (rows[:, None] + [0, 0, 1, 1])
        is_placed = ~np.isnan(places(np.column_stack([x.ravel(), y.ravel()]))[:, 0]).reshape(-1, 4)
        inside = is_placed.all(axis=1)
        kept.append(shapely.box(x[inside, 0], y[inside, 0], x[inside, 1], y[inside, 2]))
        rim = is_placed.any(axis=1) & ~inside
        rows = (2 * rows[rim, None] + [0, 0, 1, 1]).ravel()
        columns = (2 * columns[rim, None] + [0, 1, 0, 1]).ravel()
    part = shapely.intersection(geometry, shapely.union_all(np.concatenate(kept)))
    return shapely.segmentize(part, EDGE / places.unit)
