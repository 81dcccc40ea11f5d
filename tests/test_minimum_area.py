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
from scipy.ndimage import gaussian_filter
from shapely import box

from geoseg import polygonize
from geoseg.engine import connect
from geoseg.grid import Window
from geoseg.raster import pixel_areas
from geoseg.raster.placing import named_crs
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


WIDE = {
    "rotated degrees": ("EPSG:4326", Affine.translation(10, 66) @ Affine.rotation(30) @ Affine.scale(0.01, -0.01)),
    "transposed degrees": ("EPSG:4326", Affine(0, 0.01, 10, -0.01, 0, 66)),
    "south up": ("EPSG:4326", Affine(0.01, 0, 10, 0, 0.01, 54)),
    "Mercator": ("EPSG:3857", Affine(3000, 0, 1e6, 0, -3000, 9.5e6)),
    "polar": ("EPSG:3413", Affine(7000, 0, -3.5e6, 0, -7000, 3.5e6)),
    "conic": ("EPSG:3034", Affine(5000, 0, 1.5e6, 0, -5000, 6e6)),
    "Robinson": ("ESRI:54030", Affine(12000, 0, -6e6, 0, -12000, 7.5e6)),
    "over the antimeridian": ("EPSG:4326", Affine(0.02, 0, 170, 0, -0.02, 80)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WIDE)
def test_faces_of_every_map_stay_by_their_area_on_the_ground(client: Client, tmp_path: Path, name: str) -> None:
    crs, transform = WIDE[name]
    labels = np.zeros((1000, 1000), np.uint8)
    labels[20:-20:120, 20:-20:120] = 1
    labels = np.where(sum(np.roll(labels, (y, x), (0, 1)) for y in range(4) for x in range(4)) > 0, 1, 0)
    scene = write_raster(tmp_path / "labels.tif", labels.astype(np.uint8), crs=crs, transform=transform)
    polygonize(scene, tmp_path / "all.gpkg", client=client)
    faces = gpd.read_file(tmp_path / "all.gpkg", layer="polygons")
    sizes = np.sort(faces[faces["class"] == 1]["area_m2"])
    assert sizes[-1] > 1.2 * sizes[0]
    for block_size, share in ((300, 0.3), (1000, 0.7)):
        place = int(share * len(sizes))
        place += int(np.argmax(np.diff(sizes[place : place + 10])))
        least = float(sizes[place : place + 2].mean())
        polygonize(scene, tmp_path / "some.gpkg", min_area=least, block_size=block_size, client=client)
        kept = gpd.read_file(tmp_path / "some.gpkg", layer="polygons")
        np.testing.assert_allclose(np.sort(kept[kept["class"] == 1]["area_m2"]), sizes[sizes > least], rtol=1e-9)


SMALL = {
    "Mercator near the equator": ("EPSG:3857", Affine(10, 0, 1e6, 0, -10, 500_000)),
    "Mercator far from it": ("EPSG:3857", Affine(20, 0, 1e6, 0, -20, 5.63e6)),
    "sheared": ("EPSG:32618", Affine(10, 10, 440_000, 0, -10, 4.2e6)),
}


@pytest.mark.parametrize("name", SMALL)
def test_faces_of_a_small_map_stay_by_their_area_on_the_ground(client: Client, tmp_path: Path, name: str) -> None:
    crs, transform = SMALL[name]
    labels = np.zeros((700, 200), np.uint8)
    labels[10:30, 10:30] = labels[340:360, 10:30] = labels[670:690, 10:30] = 1
    scene = write_raster(tmp_path / "labels.tif", labels, crs=crs, transform=transform)
    polygonize(scene, tmp_path / "all.gpkg", client=client)
    faces = gpd.read_file(tmp_path / "all.gpkg", layer="polygons")
    sizes = np.sort(faces[faces["class"] == 1]["area_m2"])
    for least in sizes * 1.0004:
        polygonize(scene, tmp_path / "some.gpkg", min_area=float(least), client=client)
        kept = gpd.read_file(tmp_path / "some.gpkg", layer="polygons")
        np.testing.assert_allclose(np.sort(kept[kept["class"] == 1]["area_m2"]), sizes[sizes >= least], rtol=1e-9)


def test_simplified_polygons_keep_their_area_on_the_ground(client: Client, tmp_path: Path) -> None:
    fields = gaussian_filter(np.random.default_rng(3).random((3, 300, 200)), (0, 2, 2))
    transform = Affine(0.01, 0, 10, 0, -0.01, 80)
    scene = write_raster(
        tmp_path / "labels.tif", fields.argmax(0).astype(np.uint8), crs="EPSG:4326", transform=transform
    )
    options = {"client": client, "block_size": 100, "simplify": 0.02, "smooth": "chaikin"}
    polygonize(scene, tmp_path / "all.gpkg", **options)
    polygonize(scene, tmp_path / "out.gpkg", min_area=4e6, **options)
    before, after = (gpd.read_file(tmp_path / name, layer="polygons")["area_m2"] for name in ("all.gpkg", "out.gpkg"))
    assert before.min() < 2e6
    assert 4e6 * (1 - 1e-3) < after.min() < 4.4e6


def test_a_face_beyond_the_edge_of_the_world_has_no_area_and_stays(client: Client, tmp_path: Path) -> None:
    labels = np.zeros((600, 600), np.uint8)
    labels[20:24, 20:24] = labels[20:24, 500:504] = labels[300, 300] = 1
    transform = Affine(12000, 0, 6e6, 0, -12000, 8e6)  # its upper right corner is no place on the ground
    scene = write_raster(tmp_path / "labels.tif", labels, crs="ESRI:54030", transform=transform)
    polygonize(scene, tmp_path / "kept.gpkg", min_area=1e9, client=client)
    faces = gpd.read_file(tmp_path / "kept.gpkg", layer="polygons")
    areas = faces[faces["class"] == 1].sort_values("area_m2")["area_m2"].to_numpy()
    assert areas[0] > 1e9
    assert np.isnan(areas[1:]).tolist() == [True]


def test_holes_are_filled_by_their_area_on_the_ground(client: Client, tmp_path: Path) -> None:
    labels = np.ones((6000, 20), np.uint8)
    labels[1000:1004, 8:12] = labels[5000:5004, 8:12] = 0  # at 70 and at 30 degrees north
    transform = Affine(0.01, 0, 10, 0, -0.01, 80)
    scene = write_raster(tmp_path / "labels.tif", labels, crs="EPSG:4326", transform=transform, nodata=0)
    ground = [abs(Geod(ellps="WGS84").geometry_area_perimeter(box(10.08, y - 0.04, 10.12, y))[0]) for y in (70, 30)]
    for least, holes in ((0, 2), (ground[0] * 0.999, 2), (ground[0] * 1.001, 1), (ground[1] * 1.001, 0)):
        polygonize(scene, tmp_path / "some.gpkg", fill_holes=least, client=client)
        (polygon,) = gpd.read_file(tmp_path / "some.gpkg").geometry
        assert len(polygon.interiors) == holes


@pytest.mark.parametrize("name", WIDE)
def test_an_area_of_a_pixel_is_the_same_in_every_window(name: str) -> None:
    areas = pixel_areas(GeoBox((1000, 1000), WIDE[name][1], WIDE[name][0]))
    assert areas is not None
    whole = areas.of_window(Window(0, 0, 1000, 1000))
    for window in (Window(0, 0, 1, 1), Window(999, 998, 1, 2), Window(317, 411, 63, 129)):
        np.testing.assert_array_equal(areas.of_window(window), whole[window.slices()])
    rows, cols = np.array([0.0, 500, 999]), np.array([999.0, 500, 0])
    np.testing.assert_allclose(areas.at(rows, cols), whole[rows.astype(int), cols.astype(int)], atol=1)


@pytest.mark.parametrize("crs", GRIDS)
def test_areas_of_rows_are_geodesic(crs: str) -> None:
    geobox = GeoBox(SHAPE, GRIDS[crs], crs)
    areas = pixel_areas(geobox)
    assert areas is not None
    assert areas.is_by_row
    rows = np.array([0, 1, 1023, 1024, 4000, 7999])
    found = areas.of_window(Window(0, 7, SHAPE[0], 1))[rows, 0] * areas.unit
    for row, area in zip(rows, found, strict=True):
        ring = gpd.GeoSeries.from_wkt([_ring(geobox, int(row))], crs=crs).to_crs("EPSG:4326")[0]
        expected = abs(Geod(ellps="WGS84").geometry_area_perimeter(ring)[0])
        assert area == pytest.approx(expected, rel=1e-5)


def test_areas_of_rows_are_geodesic_up_to_a_pole() -> None:
    geobox = GeoBox((1800, 3600), Affine(0.1, 0, -180, 0, -0.1, 90), "EPSG:4326")
    areas = pixel_areas(geobox)
    assert areas is not None
    found = areas.of_window(Window(0, 0, 1800, 1))[:, 0] * areas.unit
    edges = np.radians(90 - 0.1 * np.arange(1801))
    e = Geod(ellps="WGS84").es ** 0.5
    q = np.sin(edges) / (1 - (e * np.sin(edges)) ** 2) + np.arctanh(e * np.sin(edges)) / e
    expected = Geod(ellps="WGS84").b ** 2 / 2 * np.radians(0.1) * np.abs(np.diff(q))
    np.testing.assert_allclose(found, expected, rtol=5e-4)
    assert found.sum() == pytest.approx(expected.sum(), rel=1e-4)


def _ring(geobox: GeoBox, row: int) -> str:
    """A pixel with many vertices along its parallels."""
    steps = np.linspace(0, 1, 200)
    corners = [(x, row) for x in steps] + [(x, row + 1) for x in steps[::-1]] + [(0, row)]
    placed = [geobox.transform @ corner for corner in corners]
    return "POLYGON ((" + ", ".join(f"{x!r} {y!r}" for x, y in ((float(a), float(b)) for a, b in placed)) + "))"


@pytest.mark.parametrize(
    ("crs", "place"),
    [
        ("EPSG:32618", (Affine(10, 0, 166_000, 0, -10, 4.2e6), (11_000, 66_800))),
        ("EPSG:3031", (Affine(10, 0, 5e5, 0, -10, 2e6), (100, 100))),
        ("EPSG:3035", (Affine(3000, 0, 2.5e6, 0, -3000, 5.5e6), (1200, 1200))),
        ("local", (Affine(1, 0, 0, 0, -1, 0), (1200, 1200))),
    ],
)
def test_pixels_count_as_their_crs_says_where_that_is_true(crs: str, place: tuple[Affine, tuple[int, int]]) -> None:
    transform, shape = place
    assert pixel_areas(GeoBox(shape, transform, named_crs(crs))) is None
