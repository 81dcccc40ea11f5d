"""How good and how fast generalized polygons are: geoseg beside `shapely.coverage_simplify` and GRASS' `v.generalize`.

Each way goes from one label raster, noise of five classes, to polygons whose boundaries are simplified by two pixels,
and smoothed where it can. All are judged by shapely: which polygons are valid, whether they are a coverage, how much
lies between them or twice, and how far the area of each class is from that of its pixels. Without the command grass,
of Debian's package grass-core, its rows are left out.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import rasterio.features
import shapely
import shapely.geometry

from benchmarks.bench_polygonize import noise, write_labels
from benchmarks.measure import table
from geoseg.vectorize import Metric, Shaping, Simplification, polygonize
from geoseg.vectorize.areas import placed

SIDE = 2_048
TOLERANCE = 20.0
"""CRS units: two pixels."""

REPEATS = 3
WARM = 300
"""Px of the corner that each way sees first: loops are compiled there."""

Polygons = tuple[np.ndarray, np.ndarray]
"""Classes and geometries."""


def by_geoseg(path: Path, simplification: Simplification) -> Polygons:
    """Traced, simplified and smoothed arcs, as shapely polygons in the CRS."""
    labels, transform = _read(path)
    faces = polygonize(labels, shaping=Shaping(Metric.of(transform), simplification, max_vertices=1_000_000))
    return faces.label, faces.rings.to_polygons(placed(faces.rings.xy, transform))


def by_shapely(path: Path) -> Polygons:
    """GDAL's polygons, simplified as a coverage by GEOS."""
    labels, transform = _read(path)
    found = [*rasterio.features.shapes(labels, mask=labels != 255, connectivity=4, transform=transform)]
    polygons = np.array([shapely.geometry.shape(shape) for shape, _ in found])
    return np.array([value for _, value in found]), shapely.coverage_simplify(polygons, TOLERANCE)


def by_grass(path: Path, *methods: str) -> Polygons:
    """Areas of `r.to.vect`, generalized by one method after another; importing and exporting counts too."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.gpkg"
        steps = [f"r.in.gdal --q input={path} output=labels", "g.region --q raster=labels"]
        steps.append("r.to.vect --q -v input=labels output=step0 type=area")
        for number, method in enumerate(methods):
            lines = f"v.generalize --q input=step{number} output=step{number + 1} method={method} type=boundary"
            steps.append(f"{lines} threshold={TOLERANCE}")
        steps.append(f"v.out.ogr --q input=step{len(methods)} output={out} format=GPKG type=area")
        command = ["grass", "--tmp-location", str(path), "--exec", "sh", "-ec", "; ".join(steps)]
        subprocess.run(command, check=True, capture_output=True)
        frame = gpd.read_file(out)
    return frame["cat" if "cat" in frame else frame.columns[0]].to_numpy(), frame.geometry.to_numpy()


WAYS: dict[str, Callable[[Path], Polygons]] = {
    "geoseg, simplified": lambda path: by_geoseg(path, Simplification(TOLERANCE)),
    "geoseg, simplified and smoothed": lambda path: by_geoseg(path, Simplification(TOLERANCE, smoothing="chaikin")),
    "GDAL + coverage_simplify": by_shapely,
    "GRASS v.generalize douglas": lambda path: by_grass(path, "douglas"),
    "GRASS v.generalize douglas, chaiken": lambda path: by_grass(path, "douglas", "chaiken"),
}


def _read(path: Path) -> tuple[np.ndarray, rasterio.Affine]:
    with rasterio.open(path) as source:
        return source.read(1), source.transform


def _row(name: str, path: Path, corner: Path, repeats: int) -> list[str]:
    """Time a way, and judge what came of it."""
    WAYS[name](corner)
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        classes, polygons = WAYS[name](path)
        seconds.append(time.perf_counter() - started)
    labels, transform = _read(path)
    pixel, areas = -transform.determinant, shapely.area(polygons)
    covered = shapely.union_all(shapely.make_valid(polygons)).area
    values, pixels = np.unique(labels, return_counts=True)
    change = [areas[classes == value].sum() / (count * pixel) - 1 for value, count in zip(values, pixels, strict=True)]
    return [
        name,
        f"{statistics.median(seconds):.2f}",
        f"{len(polygons):,}",
        f"{shapely.get_num_coordinates(polygons).sum():,}",
        f"{(~shapely.is_valid(polygons)).sum():,}",
        "yes" if shapely.coverage_is_valid(polygons) else "no",
        f"{labels.size - covered / pixel:,.1f}",
        f"{(areas.sum() - covered) / pixel:,.1f}",
        f"{max(map(abs, change)):.2%}",
    ]


def main(side: int = SIDE, repeats: int = REPEATS) -> None:
    """Print one table."""
    headings = ["way", "s", "polygons", "vertices", "invalid", "coverage", "gaps px", "overlaps px", "area of a class"]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        labels = noise(side)
        path, corner = Path(folder) / "labels.tif", Path(folder) / "corner.tif"
        write_labels(path, labels), write_labels(corner, labels[:WARM, :WARM])
        for name in WAYS:
            if name.startswith("GRASS") and shutil.which("grass") is None:
                print(f"{name}: skipped, because the command grass is not installed.")
            else:
                rows.append(_row(name, path, corner, repeats))
    table(f"Labels of {side:,} x {side:,} px to polygons, simplified by two pixels", headings, rows)
