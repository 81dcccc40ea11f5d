"""Areas, perimeters and columns of features, against PROJ's geodesics over dense rings and against shapely."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyproj
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import integrate

from geoseg.arcs.chains import offsets_of
from geoseg.arcs.faces import Faces
from geoseg.arcs.rings import Rings
from geoseg.errors import CrsError, VectorError
from geoseg.vectorize import areas, attributes, features, polygonize
from geoseg.vectorize.areas import measure

Labels = NDArray[np.uint8]
Floats = NDArray[np.float64]
UTM = Affine(10, 0, 400_000, 0, -10, 4_100_000)
COLUMNS = ["class", "name", "area_m2", "perimeter_m", "pixels", "confidence", "geometry", "key"]

CASES = {
    "utm": ("EPSG:32618", UTM),
    "utm_south_rotated": ("EPSG:32733", Affine(9, 3, 400_000, 4, -11, 6_000_000)),
    "utm_south_up": ("EPSG:32618", Affine(10, 0, 400_000, 0, 10, 4_100_000)),
    "utm_coarse": ("EPSG:32618", Affine(900, 0, 400_000, 0, -900, 4_100_000)),
    "degrees": ("EPSG:4326", Affine(0.001, 0, 10, 0, -0.002, 60)),
    "degrees_global": ("EPSG:4326", Affine(8, 0, -180, 0, -4.5, 90)),
    "degrees_rotated": ("EPSG:4326", Affine(0.001, 0.0003, 10, 0.0002, -0.001, -60)),
    "drone_mercator": ("EPSG:3857", Affine(0.07, 0, 4_000_000, 0, -0.07, -1_000_000)),
    "mercator_at_the_antimeridian": ("EPSG:3857", Affine(5000, 0, -20_037_508.34, 0, -5000, 8_000_000)),
    "pacific_mercator": ("EPSG:3832", Affine(3000, 0, 3_280_000, 0, -3000, 1_000_000)),
    "equal_area_europe": ("EPSG:3035", Affine(100, 0, 4_321_000, 0, -100, 3_210_000)),
    "north_pole_on_a_corner": ("EPSG:3413", Affine(1000, 0, -20_000, 0, -1000, 20_000)),
    "south_pole_in_a_pixel": ("EPSG:3031", Affine(30, 0, -605, 0, -30, 605)),
    "us_feet": ("EPSG:2225", Affine(30, 0, 6_000_000, 0, -30, 2_000_000)),
    "mars": ("+proj=laea +lat_0=0 +lon_0=180 +a=3396190 +b=3376200", Affine(100, 0, -2000, 0, -100, 2000)),
    "moon": ("+proj=eqc +R=1737400", Affine(100, 0, 9000, 0, -100, 2000)),
    "asteroid": ("+proj=stere +lat_0=90 +a=500 +b=480", Affine(20, 0, -400, 0, -20, 400)),
}
POINTS = {"degrees_global": 1_000, "south_pole_in_a_pixel": 64, "asteroid": 200}
"""Points along a pixel's edge: few leave the edge, many add up the rounding of geodesics where pixels are small."""


def map_with_holes() -> Labels:
    coarse = np.random.default_rng(5).integers(0, 3, (8, 9)).astype(np.uint8)
    labels = np.kron(coarse, np.ones((5, 5), np.uint8))
    labels[3, :] = 7
    labels[22, 22] = 8
    return labels


def noise(seed: int, shape: tuple[int, int] = (11, 13)) -> Labels:
    return np.random.default_rng(seed).integers(0, 4, shape).astype(np.uint8)


def without_every_third_vertex(faces: Faces) -> Faces:
    """Rings with edges in many directions; that neighbours no longer fit is nothing to an area."""
    keep = np.arange(len(faces.rings.xy)) % 3 > 0
    ends = np.concatenate([faces.rings.rings[:-1], faces.rings.rings[1:] - 1])
    keep[ends] = True
    ring = np.repeat(np.arange(len(faces.rings.rings) - 1), np.diff(faces.rings.rings))
    lengths = np.bincount(ring[keep])
    rings = Rings(faces.rings.xy[keep], offsets_of(lengths), faces.rings.polygons)
    large = shapely.area(rings.to_polygons()) > 1
    return replace(faces, rings=rings).take(np.flatnonzero(large))


def placed(transform: Affine, x: Any, y: Any) -> tuple[Any, Any]:
    x, y = np.asarray(x), np.asarray(y)
    return transform.a * x + transform.b * y + transform.c, transform.d * x + transform.e * y + transform.f


def dense(ring: shapely.LinearRing, transform: Affine, crs: pyproj.CRS, points: int) -> tuple[Any, Any]:
    """Longitude and latitude of many points along each pixel edge."""
    x, y = shapely.get_coordinates(shapely.segmentize(ring, 1 / points)).T
    to_degrees = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    lon, lat = to_degrees.transform(*placed(transform, x, y))
    return lon, lat


def dense_area(polygon: shapely.Polygon, transform: Affine, crs: pyproj.CRS, points: int) -> float:
    geod = crs.get_geod()
    assert geod is not None

    def ring_area(ring: shapely.LinearRing) -> float:
        return abs(float(geod.polygon_area_perimeter(*dense(ring, transform, crs, points))[0]))

    return ring_area(polygon.exterior) - sum(ring_area(hole) for hole in polygon.interiors)


def dense_plane_area(polygon: shapely.Polygon, transform: Affine, crs: pyproj.CRS, points: int) -> float:
    """Of a polygon of some metres, where geodesics would leave nothing but rounding: on PROJ's own equal-area map."""
    lon, lat = dense(polygon.exterior, transform, crs, points)
    local = pyproj.Proj(f"+proj=laea +lon_0={lon[0]} +lat_0={lat[0]} +ellps=WGS84")

    def ring(line: shapely.LinearRing) -> NDArray[np.float64]:
        return np.column_stack(local(*dense(line, transform, crs, points)))

    return float(shapely.Polygon(ring(polygon.exterior), [ring(hole) for hole in polygon.interiors]).area)


def dense_perimeter(polygon: shapely.Polygon, transform: Affine, crs: pyproj.CRS, points: int) -> float:
    geod = crs.get_geod()
    assert geod is not None
    rings = [polygon.exterior, *polygon.interiors]
    return sum(float(geod.line_length(*dense(ring, transform, crs, points))) for ring in rings)


def polygons_of(table: pa.Table) -> NDArray[np.object_]:
    polygons: NDArray[np.object_] = shapely.from_wkb(table["geometry"].to_numpy())
    return polygons


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shape", [Faces, without_every_third_vertex])
def test_areas_and_perimeters_are_geodesic_in_any_crs(case: str, shape: Callable[..., Faces]) -> None:
    crs, transform = pyproj.CRS.from_user_input(CASES[case][0]), CASES[case][1]
    faces = polygonize(map_with_holes())
    faces = faces if shape is Faces else shape(faces)
    table = features(faces, transform, crs, {})
    points = POINTS.get(case, 4)
    area = dense_plane_area if case == "drone_mercator" else dense_area
    for column, oracle in {"area_m2": area, "perimeter_m": dense_perimeter}.items():
        expected = [oracle(polygon, transform, crs, points) for polygon in faces.geometry]
        np.testing.assert_allclose(table[column], expected, rtol=1e-6, err_msg=column)


@pytest.mark.parametrize("case", CASES)
def test_interpolation_between_cells_nodes_is_the_map_itself(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    crs, transform = pyproj.CRS.from_user_input(CASES[case][0]), CASES[case][1]
    rings = without_every_third_vertex(polygonize(map_with_holes())).rings
    interpolated = measure(rings, transform, crs)
    monkeypatch.setattr(areas, "ROUGHNESS", -1)
    exact = measure(rings, transform, crs)
    np.testing.assert_allclose(interpolated.area, exact.area, rtol=1e-7)
    np.testing.assert_allclose(interpolated.perimeter, exact.perimeter, rtol=1e-7)


def test_few_places_are_asked_of_proj(monkeypatch: pytest.MonkeyPatch) -> None:
    """A map of 10 km needs some cells' nodes, not its 60,000 corners: this is what makes measuring fast."""
    asked = 0
    exact = areas._Polar.map

    def counted(self: areas._Polar, xy: Floats) -> Floats:
        nonlocal asked
        asked += len(xy)
        return exact(self, xy)

    monkeypatch.setattr(areas._Polar, "map", counted)
    measure(polygonize(noise(1, (100, 100))).rings, UTM, pyproj.CRS("EPSG:32618"))
    assert 0 < asked < 200


@pytest.mark.parametrize("case", ["utm", "utm_south_rotated", "utm_south_up", "us_feet"])
def test_the_area_of_a_pixel_is_its_plane_area_divided_by_the_areal_scale(case: str) -> None:
    crs, transform = pyproj.CRS.from_user_input(CASES[case][0]), CASES[case][1]
    projection = pyproj.Proj(crs, preserve_units=True)
    scale = projection.get_factors(*projection(*placed(transform, 0.5, 0.5), inverse=True)).areal_scale
    metres = crs.axis_info[0].unit_conversion_factor
    area = features(polygonize(np.zeros((1, 1), np.uint8)), transform, crs, {})["area_m2"][0].as_py()
    assert area == pytest.approx(abs(transform.determinant) * metres**2 / scale, rel=1e-7)


def test_the_perimeter_on_a_sphere_is_that_of_meridians_and_parallels() -> None:
    """Plate carree on the moon: ``R (lat2 - lat1)`` and ``R cos(lat) (lon2 - lon1)``, a hole of one pixel included."""
    radius, pixel = 1_737_400.0, 30_000.0
    labels = np.zeros((5, 7), np.uint8)
    labels[3, 4] = 1
    faces = polygonize(labels)
    table = features(faces, Affine(pixel, 0, 0, 0, -pixel, 20 * pixel), "+proj=eqc +R=1737400", {})

    def around(top: int, bottom: int, width: int) -> float:
        cosines = np.cos(pixel * (20 - np.array([top, bottom])) / radius)
        return float(2 * (bottom - top) * pixel + width * pixel * cosines.sum())

    hole = around(3, 4, 1)
    np.testing.assert_allclose(table["perimeter_m"], [around(0, 5, 7) + hole, hole], rtol=1e-9)


def test_an_engineering_crs_is_measured_in_its_plane() -> None:
    feet = pyproj.CRS('LOCAL_CS["site",UNIT["foot",0.3048],AXIS["E",EAST],AXIS["N",NORTH]]')
    table = features(polygonize(np.zeros((30, 40), np.uint8)), Affine(2, 0, 0, 0, -2, 0), feet, {})
    assert table["area_m2"][0].as_py() == pytest.approx(4 * 1200 * 0.3048**2, rel=1e-12)
    assert table["perimeter_m"][0].as_py() == pytest.approx(2 * 140 * 0.3048, rel=1e-12)


def test_areas_of_the_whole_globe_sum_to_the_ellipsoid() -> None:
    geod = pyproj.Geod(ellps="WGS84")
    eccentricity = geod.es**0.5
    surface = 2 * np.pi * geod.a**2 * (1 + (1 - geod.es) / eccentricity * np.arctanh(eccentricity))
    table = features(polygonize(map_with_holes()), Affine(8, 0, -180, 0, -4.5, 90), "EPSG:4326", {})
    assert table["area_m2"].to_numpy().sum() == pytest.approx(surface, rel=1e-12)


def test_a_long_face_is_measured_along_its_straight_edges() -> None:
    """20 degrees along the 60th parallel: a geodesic between the corners would enclose percents more."""
    labels = np.zeros((100, 20_000), np.uint8)
    transform = Affine(0.001, 0, 0, 0, -0.001, 60)
    whole = measure(polygonize(labels).rings, transform, pyproj.CRS("EPSG:4326"))
    pixel = measure(polygonize(labels[:, :1]).rings, transform, pyproj.CRS("EPSG:4326"))
    assert whole.area[0] == pytest.approx(20_000 * pixel.area[0], rel=1e-9)
    geod = pyproj.Geod(ellps="WGS84")
    meridians = 2 * geod.line_length([0, 0], [60, 59.9])
    parallels = sum(np.radians(20) * geod.a * np.cos(np.arctan((1 - geod.f) * np.tan(np.radians([60, 59.9])))))
    assert whole.perimeter[0] == pytest.approx(meridians + parallels, rel=1e-9)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["utm_coarse", "degrees_rotated", "mercator_at_the_antimeridian"]))
def test_sizes_do_not_depend_on_the_batch(seed: int, case: str) -> None:
    """Bit for bit: rasters of many kilometres, so that one polygon touches many cells and shares them with others."""
    crs, transform = pyproj.CRS(CASES[case][0]), CASES[case][1]
    rings = without_every_third_vertex(polygonize(np.kron(noise(seed, (6, 7)), np.ones((15, 15), np.uint8)))).rings
    together = measure(rings, transform, crs)
    for index in range(len(rings)):
        alone = measure(rings.take(np.array([index])), transform, crs)
        assert alone.area[0] == together.area[index]
        assert alone.perimeter[0] == together.perimeter[index]


def test_sizes_do_not_depend_on_how_many_are_measured_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rings = polygonize(noise(3, (40, 50))).rings
    at_once = measure(rings, UTM, pyproj.CRS("EPSG:32618"))
    monkeypatch.setattr(areas, "VERTICES_AT_ONCE", 100)
    in_groups = measure(rings, UTM, pyproj.CRS("EPSG:32618"))
    np.testing.assert_array_equal(at_once.area, in_groups.area)
    np.testing.assert_array_equal(at_once.perimeter, in_groups.perimeter)


@pytest.mark.parametrize("pixel", [100.0, 1e6, 3e7])
def test_a_place_outside_of_the_projection_has_no_size(pixel: float) -> None:
    """The first pixel is on earth, the last beyond the edge of the world map, whatever cells there are between."""
    labels = (np.arange(3) == np.arange(3)[:, None]).astype(np.uint8)
    transform = Affine(pixel, 0, 18_040_000 - 1.5 * pixel, 0, -pixel, pixel)
    sizes = measure(polygonize(labels).rings, transform, pyproj.CRS("ESRI:54009"))
    outside = np.isnan(sizes.area)
    np.testing.assert_array_equal(outside, np.isnan(sizes.perimeter))
    assert outside.any()
    to_degrees = pyproj.Transformer.from_crs("ESRI:54009", "EPSG:4326", always_xy=True)
    for polygon, is_outside in zip(polygonize(labels).geometry, outside, strict=True):
        lon, _ = to_degrees.transform(*placed(transform, *polygon.exterior.xy))
        assert is_outside == (~np.isfinite(lon)).any()


def test_a_crs_without_horizontal_coordinates_is_refused() -> None:
    with pytest.raises(CrsError, match="EGM"):
        features(polygonize(np.zeros((2, 2), np.uint8)), UTM, "EPSG:5773", {})


@pytest.mark.parametrize("case", CASES)
def test_corners_are_placed_by_the_transform_and_exteriors_run_counter_clockwise(case: str) -> None:
    crs, transform = CASES[case]
    faces = polygonize(map_with_holes())
    polygons = polygons_of(features(faces, transform, crs, {}))
    assert shapely.is_ccw(shapely.get_exterior_ring(polygons)).all()
    for on_earth, polygon in zip(polygons, faces.geometry, strict=True):
        assert set(on_earth.exterior.coords) == set(zip(*placed(transform, *polygon.exterior.xy), strict=True))
        assert len(on_earth.interiors) == len(polygon.interiors)


@given(st.integers(0, 2**32 - 1))
def test_geometries_are_the_bytes_that_shapely_writes(seed: int) -> None:
    faces = polygonize(noise(seed, (9, 17)))
    table = features(faces, UTM, "EPSG:32618", {})
    expected = shapely.to_wkb(shapely.transform(faces.geometry, lambda xy: np.column_stack(placed(UTM, *xy.T))),
                              byte_order=1)  # fmt: skip
    assert table["geometry"].to_pylist() == expected.tolist()


def test_geometries_are_divided_where_one_array_cannot_hold_them(monkeypatch: pytest.MonkeyPatch) -> None:
    faces = polygonize(map_with_holes())
    whole = features(faces, UTM, "EPSG:32618", {})
    longest = max(map(len, whole["geometry"].to_pylist()))
    monkeypatch.setattr(attributes, "LARGEST", longest)
    divided = features(faces, UTM, "EPSG:32618", {})
    assert divided.equals(whole)
    assert all(chunk.nbytes <= longest + 4 * len(faces) + 4 for chunk in divided["geometry"].chunks)
    assert divided["geometry"].num_chunks > 1
    monkeypatch.setattr(attributes, "LARGEST", longest - 1)
    with pytest.raises(VectorError, match="max_vertices"):
        features(faces, UTM, "EPSG:32618", {})


def test_columns_say_class_name_pixels_and_mean_confidence() -> None:
    labels = np.array([[0, 0, 1], [2, 2, 1]], np.uint8)
    confidence = np.array([[255, 0, 255], [100, 101, 254]], np.uint8)
    table = features(polygonize(labels, confidence=confidence), UTM, "EPSG:32618", {0: "Wässer", 1: "森林"})
    assert table.schema.equals(attributes.SCHEMA)
    assert table.column_names == COLUMNS
    assert table["class"].to_pylist() == [0, 1, 2]
    assert table["name"].to_pylist() == ["Wässer", "森林", "2"]
    assert table["pixels"].to_pylist() == [2, 2, 2]
    assert table["confidence"].to_pylist() == [0.5, round(509 / 510, 4), round(201 / 510, 4)]
    assert table["key"].to_pylist() == [0, 2, 3]


def test_features_of_nothing_have_their_columns() -> None:
    table = features(polygonize(np.full((3, 3), 255, np.uint8)), UTM, "EPSG:32618", {0: "a"})
    assert table.num_rows == 0
    assert table.schema.equals(attributes.SCHEMA)


def zone(south: float, north: float, width: float) -> float:
    """The area between two parallels and two meridians: M N cos(lat) integrated by quadrature, m2."""
    geod = pyproj.Geod(ellps="WGS84")

    def element(lat: float) -> float:
        squared = 1 - geod.es * np.sin(lat) ** 2
        meridian, normal = geod.a * (1 - geod.es) / squared**1.5, geod.a / squared**0.5
        return float(meridian * normal * np.cos(lat))

    return float(integrate.quad(element, *np.radians([south, north]), epsabs=0, epsrel=1e-12)[0] * np.radians(width))


@pytest.mark.parametrize("west", [-180.0, 0.0, 60.0, -330.0])
@pytest.mark.parametrize(
    ("south", "north", "width"),
    [(80, 90, 360), (-90, -60, 360), (-10, 20, 240), (-90, 90, 300), (89, 90, 1), (50, 51, 359), (-1, 1, 200)],
)
def test_boxes_in_degrees_have_the_area_of_their_zone_at_poles_and_however_wide(
    west: float, south: float, north: float, width: float
) -> None:
    """Where ``pyproj.Geod`` says 0 around a pole, and less than 0 of a box of more than half a turn."""
    labels = np.zeros((10, 20), np.uint8)
    transform = Affine(width / 20, 0, west, 0, (south - north) / 10, north)
    table = features(polygonize(labels), transform, "EPSG:4326", {})
    assert table["area_m2"][0].as_py() == pytest.approx(zone(south, north, width), rel=1e-9)


@pytest.mark.parametrize("west", [170.0, -190.0])
def test_areas_across_the_antimeridian_are_those_elsewhere(west: float) -> None:
    labels = map_with_holes()
    here, there = (
        features(polygonize(labels), Affine(0.5, 0, left, 0, -0.5, 10), "EPSG:4326", {}) for left in (west, 20.0)
    )
    for column in ("area_m2", "perimeter_m"):
        np.testing.assert_allclose(here[column], there[column], rtol=1e-9)


@pytest.mark.parametrize(("crs", "pole"), [("EPSG:3413", 90), ("EPSG:3031", -90), ("EPSG:3995", 90), ("EPSG:6931", 90)])
def test_a_box_around_a_pole_has_the_area_that_proj_says_of_its_scale(crs: str, pole: int) -> None:
    """The square of 4,000 km around the pole, by Gauss-Legendre quadrature of one over the areal scale."""
    half = 2e6
    table = features(polygonize(np.zeros((8, 8), np.uint8)), Affine(half / 4, 0, -half, 0, -half / 4, half), crs, {})
    nodes, weights = np.polynomial.legendre.leggauss(60)
    proj = pyproj.Proj(crs)
    x, y = np.meshgrid((nodes + 1) * half / 2, (nodes + 1) * half / 2)  # a quarter, so that the pole is no node
    lon, lat = proj(x.ravel(), y.ravel(), inverse=True)
    assert np.all(np.sign(lat) == np.sign(pole))
    scale = np.asarray(proj.get_factors(lon, lat).areal_scale).reshape(x.shape)
    expected = 4 * (half / 2) ** 2 * float(weights @ (1 / scale) @ weights)
    assert table["area_m2"][0].as_py() == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("body", ["+R=6371007.181", "+ellps=WGS84"])
def test_a_polygon_beyond_the_rim_of_the_world_has_its_area_or_none(body: str) -> None:
    """The sinusoidal map is equal-area; on a sphere PROJ turns places beyond its rim round the globe."""
    metres = 100_000
    noise = np.random.default_rng(0).random((201, 401))
    labels = (noise > 0.5).astype(np.uint8)
    faces = polygonize(labels)
    transform = Affine(metres, 0, -20_050_000, 0, -metres, 10_050_000)
    sizes = measure(faces.rings, transform, pyproj.CRS(f"+proj=sinu {body} +units=m"))
    known, plane = np.isfinite(sizes.area), faces.pixels * metres**2
    assert 0.9 < known.mean() < 1
    assert (sizes.area[known] < 1.01 * plane[known]).all()
    row = faces.key // labels.shape[1]
    is_far = known & (row > 20) & (row < 170) & (faces.pixels < 20)  # of the poles, where pixels of 100 km are coarse
    np.testing.assert_allclose(sizes.area[is_far], plane[is_far], rtol=1e-6)
