"""One way from a label raster to polygons, in a process of its own; prints seconds, faces and vertices as JSON."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.features
import shapely
import shapely.geometry
from affine import Affine
from pyproj import CRS

from geoseg.vector import write_features
from geoseg.vectorize import Metric, Shaping, Simplification, features, polygonize
from geoseg.vectorize.attributes import placed

REPEATS = 3
Count = tuple[int, int]


def our_polygons(labels: np.ndarray, transform: Affine, crs: CRS, tolerance: float) -> Count:
    """Simplified, valid shapely polygons in the CRS."""
    faces = polygonize(labels, shaping=_shaping(transform, tolerance))
    polygons = faces.rings.to_polygons(placed(faces.rings.xy, transform))
    return len(polygons), len(faces.rings.xy)


def our_geopackage(labels: np.ndarray, transform: Affine, crs: CRS, tolerance: float) -> Count:
    """The same with all attributes, on disk."""
    faces = polygonize(labels, shaping=_shaping(transform, tolerance))
    with tempfile.TemporaryDirectory() as folder:
        write_features(Path(folder) / "a.gpkg", [features(faces, transform, crs, {})], layer="a", crs=crs)
    return len(faces), len(faces.rings.xy)


def _shaping(transform: Affine, tolerance: float) -> Shaping:
    return Shaping(Metric.of(transform), Simplification(tolerance), max_vertices=1_000_000)


def gdal_polygons(labels: np.ndarray, transform: Affine, crs: CRS, tolerance: float) -> Count:
    """GDAL's polygons, simplified as a coverage by GEOS."""
    found = rasterio.features.shapes(labels, mask=labels != 255, connectivity=4, transform=transform)
    polygons = np.array([shapely.geometry.shape(shape) for shape, _ in found])
    simplified = shapely.coverage_simplify(polygons, tolerance)
    return len(simplified), int(shapely.get_num_coordinates(simplified).sum())


def xrspatial_polygons(labels: np.ndarray, transform: Affine, crs: CRS, tolerance: float) -> Count:
    """xarray-spatial's tracing alone: no simplification, no shapely objects."""
    import xarray
    from xrspatial.experimental import polygonize as trace

    _, polygons = trace(xarray.DataArray(labels), mask=xarray.DataArray(labels != 255))
    return len(polygons), sum(len(ring) for rings in polygons for ring in rings)


WAYS: dict[str, Callable[[np.ndarray, Affine, Any, float], Count]] = {
    "geoseg polygons": our_polygons,
    "geoseg GeoPackage": our_geopackage,
    "GDAL + coverage_simplify": gdal_polygons,
    "xarray-spatial, tracing": xrspatial_polygons,
}


def main(way: str, raster: str, tolerance: float) -> None:
    """Warm up on a corner, then time the whole."""
    with rasterio.open(raster) as source:
        labels, transform, crs = source.read(1), source.transform, CRS.from_user_input(source.crs.to_wkt())
    WAYS[way](labels[:300, :300].copy(), transform, crs, tolerance)
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        faces, vertices = WAYS[way](labels, transform, crs, tolerance)
        seconds.append(time.perf_counter() - started)
    print(json.dumps({"seconds": seconds, "faces": faces, "vertices": vertices}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
