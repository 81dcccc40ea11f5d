"""Where a grid lies, as STAC says it: footprint, bounds, and the fields of the projection extension.

It knows grids and regions, not what is described.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import shapely
import shapely.geometry
from odc.geo.geobox import GeoBox
from pyproj import CRS

from geoseg.errors import RegionError
from geoseg.raster.placing import exact_code, is_plain
from geoseg.vector import Region, geographic_bounds, geographic_outline

PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"

_FINE = 1e-4  # of its longer side: how far a footprint may stray
_DIGITS = 7  # of degrees: a centimetre
_MOST_VERTICES = 2_000  # of a footprint that many regions make; catalogs index footprints and draw them


@dataclass(frozen=True)
class Place:
    """Where something lies.

    Attributes
    ----------
    geometry : dict or None
        GeoJSON in degrees, cut at the antimeridian; None for plain pixels.
    bbox : list of float or None
        West, south, east, north; west is larger than east over the antimeridian.
    properties : dict
        Fields of the projection extension.
    """

    geometry: dict[str, Any] | None
    bbox: list[float] | None
    properties: dict[str, Any]


def describe(geobox: GeoBox, region: Region | None = None) -> Place:
    """Describe a grid, or the part of it that a region holds; what has no place on the globe gets no footprint."""
    height, width = geobox.shape
    corners = [geobox.transform @ corner for corner in ((0, 0), (0, height), (width, height), (width, 0))]
    xs, ys = zip(*corners, strict=True)
    properties = {
        **_crs_fields(geobox),
        "proj:shape": [height, width],
        "proj:transform": list(geobox.transform)[:6],
        "proj:bbox": [min(xs), min(ys), max(xs), max(ys)],
    }
    shape = None if geobox.crs is None or is_plain(geobox) else _on_globe(geobox, shapely.Polygon(corners), region)
    if shape is None:
        return Place(None, None, properties)
    return Place(shapely.geometry.mapping(shape), _bbox(shape), properties)


def _crs_fields(geobox: GeoBox) -> dict[str, Any]:
    crs = geobox.crs
    if crs is None:
        return {"proj:code": None}
    code = exact_code(crs.proj)
    return {"proj:code": code} if code is not None else {"proj:code": None, "proj:wkt2": crs.proj.to_wkt()}


def _on_globe(geobox: GeoBox, outline: shapely.Polygon, region: Region | None) -> shapely.Geometry | None:
    """The footprint in degrees, with as few vertices as it needs.

    It is that of bounds where the outline leaves the globe, and of the region's where it has too many vertices.
    """
    try:
        if region is not None:
            outline = shapely.intersection(outline, region.to_crs(geobox.crs).geometry)
        shape = geographic_outline(Region(outline, CRS.from_user_input(geobox.crs)))
    except (RegionError, ValueError):
        shape = geographic_bounds(geobox)
    if shape is None:
        return None
    west, south, east, north = _bbox(shape)
    width = east - west if west < east else east - west + 360.0  # over the antimeridian
    simple = shapely.simplify(shape, _FINE * math.hypot(width, north - south))
    if region is not None and shapely.get_num_coordinates(simple) > _MOST_VERTICES:
        return _on_globe(geobox, shapely.box(*outline.bounds), None)
    return shapely.orient_polygons(shapely.set_precision(simple, 10.0**-_DIGITS))


def _bbox(shape: shapely.Geometry) -> list[float]:
    """Bounds as RFC 7946 has them (section 5.2)."""
    west, south, east, north = shape.bounds
    parts = shapely.get_parts(shape)
    if len(parts) > 1 and west == -180 and east == 180:
        west = min(part.bounds[0] for part in parts if part.bounds[2] == east)
        east = max(part.bounds[2] for part in parts if part.bounds[0] == -180)
    return [round(float(value), _DIGITS) for value in (west, south, east, north)]
