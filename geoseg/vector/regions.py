"""The region of interest: read from any vector file or written as bounds, taken to a CRS, asked which pixels it holds.

This module knows transforms and windows; it reads no raster.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from numbers import Real
from pathlib import Path
from typing import Any, TypeAlias

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError
from shapely.affinity import affine_transform, translate
from shapely.errors import GEOSException

from geoseg.errors import CrsError, RegionError
from geoseg.grid import Window
from geoseg.vector.globe import (
    GLOBE,
    HALF_TURN,
    QUARTER_TURN,
    STRAY,
    TURN,
    Floats,
    Shape,
    across_antimeridian,
    on_sphere,
)
from geoseg.vector.pixels import centres_inside, crossed, edges_of
from geoseg.vector.tables import GEOJSON, OF_RASTER, check_edges, crs_text, read_table, shape_text, unwrapped

PIECES = 4_000
"""An outline is cut into about this many pieces before it is projected, so that its straight edges stay in place."""

_NUMBER = r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*"
_BOUNDS = re.compile(rf"^{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}(?:,\s*(\S.*?)\s*)?$")
_MIDDLES = "Longitude of natural origin", "Longitude of false origin", "Longitude of projection centre"
_RIM = 1e-9
"""Degrees that a region stays off the meridian at which a map of the world ends: on it, places are not told apart."""
_NUMBERS = re.compile(rf"^{_NUMBER}(?:,{_NUMBER})+$")
_NO_NUMBERS = re.compile(r"(?:^|,)\s*[-+]?(?:nan|inf|infinity)\s*(?:,|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Region:
    """Where to map.

    Attributes
    ----------
    geometry : Polygon or MultiPolygon
        The outline, valid, in CRS coordinates.
    crs : CRS
        Its coordinate reference system.
    """

    geometry: Shape
    crs: CRS

    def to_crs(self, crs: Any) -> Region:
        """Express the region in another CRS; its straight edges become curves there.

        Raises
        ------
        RegionError
            Part of the region has no place in the other CRS.
        """
        target = CRS.from_user_input(crs)
        if target == self.crs:
            return Region(across_antimeridian(self.geometry), target) if self._leaves_the_globe else self
        try:
            transformer = Transformer.from_crs(self.crs, target, always_xy=True)
        except ProjError as error:
            raise _out_of_place(self, target) from error
        moved = self._moved(transformer, target)
        if moved is None:  # perhaps over the meridian at which a map of the world ends
            parts = [part._moved(transformer, target) for part in self._cut_at_rim(target)]
            if not parts or any(part is None for part in parts):
                raise _out_of_place(self, target)
            moved = polygons_of(shapely.union_all(parts))
        return Region(moved, target)

    def _moved(self, transformer: Transformer, target: CRS) -> Shape | None:
        """The outline in another CRS; None where part of it has no place there."""
        dense = shapely.segmentize(self.geometry, max(self.geometry.length / PIECES, 1e-12))
        moved = shapely.transform(dense, transformer.transform, interleaved=False)
        if not _comes_back(dense, moved, transformer, self.crs):
            return None
        if target.is_geographic:
            try:
                moved = across_antimeridian(moved)
            except GEOSException:  # a ring around a pole does not close
                return None
        outline = polygons_of(shapely.make_valid(moved))
        # An outline can turn inside out although each of its points comes back: a hemisphere in UTM does.
        inside = shapely.point_on_surface(shapely.get_parts(self.geometry))
        shapely.prepare(outline)
        is_inside = shapely.intersects(outline, shapely.points(*_transformed(inside, transformer))).all()
        return outline if is_inside else None

    def _cut_at_rim(self, target: CRS) -> list[Region]:
        """What of a region in degrees lies on either side of the meridian opposite to a projection's middle."""
        middle = _middle_of(target) if self.crs.is_geographic else None
        if middle is None:
            return []
        west, east = middle - HALF_TURN + _RIM, middle + HALF_TURN - _RIM
        whole = shapely.box(west, -QUARTER_TURN, east, QUARTER_TURN)
        turns = [translate(self.geometry, turn) for turn in (-TURN, 0, TURN)]
        parts = shapely.get_parts([shapely.intersection(turned, whole) for turned in turns])
        return [Region(part, self.crs) for part in parts if part.area > _RIM]

    @property
    def _leaves_the_globe(self) -> bool:
        """Whether longitudes go beyond 180 degrees, as in bounds over the antimeridian."""
        left, _, right, _ = self.geometry.bounds
        return self.crs.is_geographic and (left < -HALF_TURN or right > HALF_TURN)

    def mask(self, window: Window, transform: Affine, *, all_touched: bool = False) -> NDArray[np.bool_]:
        """Say of each pixel whether its centre lies inside, or whether the region touches it at all.

        Parameters
        ----------
        window : Window
            The pixels.
        transform : Affine
            Of the whole raster, in the region's CRS.
        all_touched : bool
            True for every pixel that shares some of its area with the region: what clipping to the region needs.

        Returns
        -------
        bool, shape (y, x)
            True = inside.
        """
        edges = edges_of(self.geometry, transform)
        inside = centres_inside(edges, window)
        return inside | crossed(edges, window) if all_touched else inside

    def touches(self, window: Window, transform: Affine) -> bool:
        """Say whether the region may hold a pixel of the window; never False when it does."""
        return bool(self.touches_each([window], transform)[0])

    def touches_each(self, windows: Sequence[Window], transform: Affine) -> NDArray[np.bool_]:
        """Say of each window whether the region may hold a pixel of it; bool, shape (window,)."""
        corners = np.array(
            [[(w.x, w.y), (w.right, w.y), (w.right, w.bottom), (w.x, w.bottom)] for w in windows], np.float64
        )
        x, y = corners[..., 0], corners[..., 1]
        placed = np.stack(
            [x * transform.a + y * transform.b + transform.c, x * transform.d + y * transform.e + transform.f], axis=-1
        )
        shapely.prepare(self.geometry)
        touched: NDArray[np.bool_] = shapely.intersects(self.geometry, shapely.polygons(placed))
        return touched


RegionLike: TypeAlias = (
    "str | os.PathLike[str] | Sequence[float] | Region | gpd.GeoDataFrame | gpd.GeoSeries | shapely.Geometry"
)
"""What `read_region` takes."""


def read_region(region: RegionLike, *, crs: Any = None) -> Region:
    """Read a region of interest.

    Parameters
    ----------
    region : str, path, sequence of float, GeoDataFrame, GeoSeries, shapely geometry or Region
        A vector file of polygons; bounds ``"minx,miny,maxx,maxy"``, with a CRS as fifth part or without, or as a
        sequence of these, or as bounds of odc-geo, which have a CRS; or polygons: a table, a geometry, or a GeoJSON
        geometry as text, with a CRS before it or without: ``EPSG:32618;{"type": "Polygon", "coordinates": [...]}``. In
        degrees minx may be larger than maxx: such bounds reach over the antimeridian.
    crs : anything pyproj takes, optional
        CRS of bounds and geometries that do not say: that of the raster. Degrees of WGS 84 for bounds and GeoJSON
        unless given.

    Returns
    -------
    Region
        The union of all polygons.

    Raises
    ------
    InputNotFoundError
        There is no such file.
    RegionError
        The bounds are empty, or the file is no vector file, has several layers, no features, or no polygons.
    CrsError
        The file has no CRS, or the CRS of the bounds is not known.
    """
    if isinstance(region, Region):
        return region
    text = region_text(region)
    if bounds := _BOUNDS.match(text):
        return _from_bounds(text, *bounds.groups(), default=crs or "EPSG:4326")
    if shape := GEOJSON.match(text):
        return _from_text(shape["crs"], shape["shape"], crs)
    if _NO_NUMBERS.search(text) and text.count(",") >= 3:
        raise RegionError(f"the region '{text}' has bounds that are no numbers; write minx,miny,maxx,maxy")
    if _NUMBERS.match(text) and not Path(text).exists():
        raise RegionError(
            f"the region '{text}' has {text.count(',') + 1} numbers; write minx,miny,maxx,maxy, or with their CRS "
            "minx,miny,maxx,maxy,EPSG:32618"
        )
    return _from_file(text, crs)


def region_text(region: RegionLike) -> str:
    """What `read_region` takes as text, with every digit: a path or bounds as they are, polygons with their CRS.

    Raises
    ------
    RegionError
        It is something else.
    CrsError
        A table has no CRS.
    """
    if isinstance(region, str | os.PathLike):
        return os.fspath(region)
    if isinstance(region, shapely.Geometry):
        return shape_text(OF_RASTER, region)
    if isinstance(region, Region):
        is_wide = region.crs.is_geographic and np.ptp(region.geometry.bounds[::2]) > HALF_TURN
        whole = shapely.segmentize(region.geometry, QUARTER_TURN) if is_wide else region.geometry
        return shape_text(crs_text(region.crs), whole)
    if isinstance(region, gpd.GeoDataFrame | gpd.GeoSeries):
        if region.crs is None:
            raise CrsError("the region is a table without a CRS; give it one with set_crs.")
        shapes = unwrapped(region.geometry.dropna().to_numpy())
        _check_kinds("the region", {shape.geom_type for shape in shapes})
        check_edges(shapes, region.crs, "the region", RegionError)
        _check_numbers(shapes)
        united = shapely.disjoint_subset_union_all(shapely.make_valid(shapely.force_2d(shapes)))
        return shape_text(crs_text(region.crs), polygons_of(united))
    if (bounds := _bounds_text_of(region)) is not None:
        return bounds
    raise RegionError(
        f"the region is a {type(region).__name__}; give a vector file, a GeoDataFrame, a GeoSeries or polygons, or "
        "bounds with their CRS, such as '440000,4190000,450000,4200000,EPSG:32618'."
    )


def _bounds_text_of(region: Any) -> str | None:
    """Four numbers, with a CRS as fifth part or attribute, as text with every digit; None for anything else."""
    parts = list(region) if isinstance(region, Sequence | np.ndarray) else []
    numbers, crs = parts[:4], [*parts[4:], *([] if (own := getattr(region, "crs", None)) is None else [own])]
    is_number = len(numbers) == 4 and all(isinstance(number, Real) and isfinite(number) for number in numbers)
    if not is_number or len(crs) > 1:
        return None
    named = [f"EPSG:{code}" if isinstance(code, int) else str(code) for code in crs]
    return ",".join([*(repr(float(number)) for number in numbers), *named])


def is_bare(region: RegionLike) -> bool:
    """Say whether a region is a geometry without a CRS, which lies in that of the raster."""
    shape = None if isinstance(region, Region) else GEOJSON.match(region_text(region))
    return shape is not None and shape["crs"] == OF_RASTER


def _from_text(named: str | None, text: str, crs: Any) -> Region:
    if named == OF_RASTER and crs is None:
        raise CrsError("the region is a geometry without a CRS; give a GeoSeries that has one.")
    try:
        shape = shapely.from_geojson(text)
        known = CRS.from_user_input(crs if named == OF_RASTER else named or crs or "EPSG:4326")
    except (shapely.errors.ShapelyError, CRSError) as error:
        raise RegionError(f"the region '{text[:40]}...' cannot be read ({error}); give a GeoJSON geometry.") from error
    _check_kinds("the region", {shape.geom_type} - {"GeometryCollection"})
    check_edges(np.array([shape]), known, "the region", RegionError)
    return Region(polygons_of(shapely.make_valid(shapely.force_2d(shape))), known)


def _check_numbers(shapes: NDArray[np.object_]) -> None:
    if not np.isfinite(shapely.get_coordinates(shapes)).all():
        raise RegionError("the region has coordinates that are no numbers; leave out what has no place")


def _check_kinds(name: str, kinds: set[str]) -> None:
    strangers = kinds - {"Polygon", "MultiPolygon"}
    if strangers:
        raise RegionError(f"{name} has features of type {sorted(strangers)[0]}; give polygons only")


def geographic_outline(region: Region) -> Shape:
    """A region in degrees of WGS 84, cut at the antimeridian, as GeoJSON has it (RFC 7946, section 3.1.9).

    Raises
    ------
    RegionError
        The region has no place on the globe.
    """
    moved = region.to_crs("EPSG:4326").geometry
    return polygons_of(shapely.intersection(moved, GLOBE))


def place_region(region: Region, geobox: GeoBox) -> Region:
    """Bring a region onto a raster, in the longitudes that the raster has: those from 0 to 360 are turned.

    Parameters
    ----------
    region : Region
        In any CRS.
    geobox : GeoBox
        The raster's grid.

    Returns
    -------
    Region
        In the raster's CRS.

    Raises
    ------
    RegionError
        With the bounds of both in the raster's CRS.
    """
    window = Window(0, 0, *geobox.shape)
    moved = in_crs_of(region, geobox)
    if not moved.touches(window, geobox.affine):
        raster = Region(_outline(window, geobox.affine), moved.crs)
        raise RegionError(
            f"the region {_bounds_text(moved)} lies outside of the raster {_bounds_text(raster)} "
            f"({_crs_name(moved.crs)}); give a region that overlaps it"
        )
    return moved


def in_crs_of(region: Region, geobox: GeoBox) -> Region:
    """The region in a raster's CRS; where degrees count from 0 to 360, with what of it lies there a turn away."""
    region = region.to_crs(geobox.crs)
    left, _, right, _ = _outline(Window(0, 0, *geobox.shape), geobox.affine).bounds
    if not region.crs.is_geographic or (left >= -HALF_TURN and right <= HALF_TURN):
        return region
    turns = (translate(region.geometry, turn) for turn in (-TURN, TURN))
    copies = [copy for copy in turns if copy.bounds[0] < right and copy.bounds[2] > left]
    return Region(shapely.disjoint_subset_union_all([region.geometry, *copies]), region.crs) if copies else region


def _from_bounds(text: str, left: str, bottom: str, right: str, top: str, crs: str | None, *, default: Any) -> Region:
    west, south, east, north = (float(number) for number in (left, bottom, right, top))
    try:
        known = CRS.from_user_input(crs or default)
    except CRSError as error:
        raise CrsError(f"the CRS '{crs}' of the region is not known; write it like EPSG:4326") from error
    if crs is None and known.is_geographic and max(abs(side) for side in (west, south, east, north)) > TURN:
        raise RegionError(
            f"the region '{text}' is not in degrees; give its CRS as fifth part, such as {text},EPSG:32618"
        )
    if known.is_geographic and -HALF_TURN <= east < west <= HALF_TURN:
        east += 2 * HALF_TURN
    if not (west < east and south < north):
        raise RegionError(f"the region '{text}' is empty; write minx,miny,maxx,maxy with minx < maxx and miny < maxy")
    return Region(shapely.box(west, south, east, north), known)


def _from_file(path: str, crs: Any) -> Region:
    table = read_table(path, "the region", "at least one polygon", RegionError, columns=[], crs=crs)
    _check_kinds(f"the region '{path}'", set(table.geom_type))
    check_edges(table.geometry.to_numpy(), table.crs, f"the region '{path}'", RegionError)
    valid = shapely.make_valid(shapely.force_2d(table.geometry.to_numpy()))
    return Region(polygons_of(shapely.disjoint_subset_union_all(valid)), table.crs)


def polygons_of(geometry: shapely.Geometry) -> Shape:
    """Keep the polygons of what a union or a repair returns.

    Raises
    ------
    RegionError
        There is none.
    """
    parts = shapely.get_parts(shapely.get_parts(geometry))
    areal = parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON]
    areal = areal[~shapely.is_empty(areal)]
    if len(areal) == 0:
        raise RegionError("the region covers no area; give polygons that do")
    united: Shape = shapely.disjoint_subset_union_all(areal)
    return united


def _middle_of(crs: CRS) -> float | None:
    """The meridian in the middle of a projection, degrees from Greenwich; None where it has none."""
    operation = crs.coordinate_operation
    for parameter in () if operation is None else operation.params:
        if parameter.name in _MIDDLES:
            meridian = 0.0 if crs.prime_meridian is None else crs.prime_meridian.longitude
            return float(np.rad2deg(float(parameter.value) * parameter.unit_conversion_factor)) + meridian
    return None


def _transformed(geometry: Any, transformer: Transformer, direction: str = "FORWARD") -> tuple[Floats, Floats]:
    """Coordinates of geometries, elsewhere."""
    x, y = shapely.get_coordinates(geometry).T
    moved: tuple[Floats, Floats] = transformer.transform(x, y, direction=direction)
    return moved


def _comes_back(before: shapely.Geometry, after: shapely.Geometry, transformer: Transformer, crs: CRS) -> bool:
    """Say whether the way back leads to the same places: projections give nonsense far from where they belong."""
    there = shapely.get_coordinates(before)
    back = np.column_stack(_transformed(after, transformer, "INVERSE"))
    if not np.isfinite(back).all():
        return False
    if crs.is_geographic:
        unit = crs.axis_info[0].unit_conversion_factor
        return bool(np.abs(on_sphere(there * unit) - on_sphere(back * unit)).max() < STRAY)
    return bool(np.abs(there - back).max() < STRAY * max(np.abs(there).max(), 1.0))


def _out_of_place(region: Region, target: CRS) -> RegionError:
    if target.is_engineering:
        return RegionError(
            f"the region is in {_crs_name(region.crs)}, and the raster has no place on the ground; give it in pixels "
            "of the raster: a file without a CRS, or bounds"
        )
    return RegionError(
        f"the region {_bounds_text(region)} cannot be projected to {_crs_name(target)}, the CRS of the raster; "
        "give a smaller region around the raster"
    )


def _outline(window: Window, transform: Affine) -> shapely.Polygon:
    """A window in CRS coordinates."""
    box = shapely.box(window.x, window.y, window.right, window.bottom)
    return affine_transform(box, transform.to_shapely())


def _bounds_text(region: Region) -> str:
    left, bottom, right, top = region.geometry.bounds
    return f"({left:.7g}, {bottom:.7g}, {right:.7g}, {top:.7g})"


def _crs_name(crs: CRS) -> str:
    return ":".join(crs.to_authority(min_confidence=100) or (crs.name,))
