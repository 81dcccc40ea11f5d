"""Minimum area in m2 is an area on the ground at the face's own latitude, for every layout of blocks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
from affine import Affine
from distributed import Client
from odc.geo.geobox import GeoBox
from pyproj import Geod

from geoseg import polygonize
from geoseg.engine import connect
from geoseg.raster import row_areas
from tests.rasters import write_raster

GRIDS = {
    "EPSG:4326": Affine(0.01, 0, 10, 0, -0.01, 80),
    "EPSG:3857": Affine(1500, 0, 1e6, 0, -1500, 15.5e6),
}
SIDE = 8
SHAPE = 8000, 60


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Workers that all tests of this file share."""
    with connect(None, 1) as client:
        yield client


def _scene(folder: Path, crs: str) -> Path:
    labels = np.zeros(SHAPE, np.uint8)
    for y in range(20, SHAPE[0] - 20, 150):
        labels[y : y + SIDE, 20 : 20 + SIDE] = 1
    return write_raster(folder / "labels.tif", labels, crs=crs, transform=GRIDS[crs], compress="deflate")


@pytest.mark.parametrize("crs", GRIDS)
def test_faces_stay_by_their_area_on_the_ground(client: Client, tmp_path: Path, crs: str) -> None:
    scene = _scene(tmp_path, crs)
    polygonize(scene, tmp_path / "all.gpkg", client=client)
    faces = gpd.read_file(tmp_path / "all.gpkg", layer="polygons")
    sizes = faces[faces["class"] == 1]["area_m2"]
    assert sizes.max() > 2.5 * sizes.min()
    least = float(np.sort(sizes)[len(sizes) // 2 - 1 : len(sizes) // 2 + 1].mean())
    kept = []
    for block_size in (512, 1000):
        path = tmp_path / f"{block_size}.gpkg"
        polygonize(scene, path, min_area=least, block_size=block_size, client=client)
        table = gpd.read_file(path, layer="polygons")
        kept.append(np.sort(table[table["class"] == 1]["area_m2"]))
    np.testing.assert_array_equal(*kept)
    np.testing.assert_allclose(kept[0], np.sort(sizes[sizes >= least]), rtol=1e-9)


@pytest.mark.parametrize("crs", GRIDS)
def test_areas_of_rows_are_geodesic(crs: str) -> None:
    geobox = GeoBox(SHAPE, GRIDS[crs], crs)
    areas = row_areas(geobox)
    assert areas is not None
    rows = np.array([0, 1, 1023, 1024, 4000, 7999])
    found = areas.of_rows(rows) * areas.unit
    for row, area in zip(rows, found, strict=True):
        ring = gpd.GeoSeries.from_wkt([_ring(geobox, int(row))], crs=crs).to_crs("EPSG:4326")[0]
        expected = abs(Geod(ellps="WGS84").geometry_area_perimeter(ring)[0])
        assert area == pytest.approx(expected, rel=1e-5)


def _ring(geobox: GeoBox, row: int) -> str:
    """A pixel with many vertices along its parallels."""
    steps = np.linspace(0, 1, 200)
    corners = [(x, row) for x in steps] + [(x, row + 1) for x in steps[::-1]] + [(0, row)]
    placed = [geobox.transform @ corner for corner in corners]
    return "POLYGON ((" + ", ".join(f"{x!r} {y!r}" for x, y in ((float(a), float(b)) for a, b in placed)) + "))"


@pytest.mark.parametrize("crs", ["EPSG:32618", "EPSG:3031"])
def test_other_projections_count_as_at_the_centre(crs: str) -> None:
    assert row_areas(GeoBox((100, 100), Affine(10, 0, 5e5, 0, -10, 4.2e6), crs)) is None
