"""One way from a label raster to polygons, in a process of its own; prints seconds, faces and vertices as JSON."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rasterio
import rasterio.features
import shapely
import shapely.geometry
from affine import Affine
from pyproj import CRS

from geoseg.vector import write_features
from geoseg.vectorize import Faces, Metric, Shaping, Simplification, features, polygonize
from geoseg.vectorize.areas import placed

REPEATS = 3
Count = tuple[int, int]


@dataclass(frozen=True)
class Case:
    """Labels, where they lie, and how far boundaries may stray."""

    labels: np.ndarray
    transform: Affine
    crs: CRS
    tolerance: float

    def faces(self) -> Faces:
        """Our faces, simplified."""
        shaping = Shaping(Metric.of(self.transform), Simplification(self.tolerance), max_vertices=1_000_000)
        return polygonize(self.labels, shaping=shaping)


def our_polygons(case: Case) -> Count:
    """Simplified, valid shapely polygons in the CRS."""
    rings = case.faces().rings
    polygons = rings.to_polygons(placed(rings.xy, case.transform))
    return len(polygons), len(rings.xy)


def our_geopackage(case: Case) -> Count:
    """The same with all attributes, on disk."""
    faces = case.faces()
    with tempfile.TemporaryDirectory() as folder:
        tables = [features(faces, case.transform, case.crs, {})]
        write_features(Path(folder) / "a.gpkg", tables, layer="a", crs=case.crs)
    return len(faces), len(faces.rings.xy)


def gdal_polygons(case: Case) -> Count:
    """GDAL's polygons, simplified as a coverage by GEOS."""
    labels = case.labels
    found = rasterio.features.shapes(labels, mask=labels != 255, connectivity=4, transform=case.transform)
    polygons = np.array([shapely.geometry.shape(shape) for shape, _ in found])
    simplified = shapely.coverage_simplify(polygons, case.tolerance)
    return len(simplified), int(shapely.get_num_coordinates(simplified).sum())


def xrspatial_polygons(case: Case) -> Count:
    """xarray-spatial's tracing alone: no simplification, no shapely objects."""
    import xarray
    from xrspatial.experimental import polygonize as trace

    _, polygons = trace(xarray.DataArray(case.labels), mask=xarray.DataArray(case.labels != 255))
    return len(polygons), sum(len(ring) for rings in polygons for ring in rings)


WAYS: dict[str, Callable[[Case], Count]] = {
    "geoseg polygons": our_polygons,
    "geoseg GeoPackage": our_geopackage,
    "GDAL + coverage_simplify": gdal_polygons,
    "xarray-spatial, tracing": xrspatial_polygons,
}


def main(way: str, raster: str, tolerance: float) -> None:
    """Warm up on a corner, then time the whole."""
    with rasterio.open(raster) as source:
        labels, transform, crs = source.read(1), source.transform, CRS.from_user_input(source.crs.to_wkt())
    case = Case(labels, transform, crs, tolerance)
    WAYS[way](replace(case, labels=labels[:300, :300].copy()))
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        faces, vertices = WAYS[way](case)
        seconds.append(time.perf_counter() - started)
    print(json.dumps({"seconds": seconds, "faces": faces, "vertices": vertices}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
