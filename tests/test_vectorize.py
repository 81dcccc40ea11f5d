"""Faces, traces, the stitch and areas, against GDAL over the whole raster and PROJ over dense rings."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio.features
import shapely
import shapely.geometry
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.errors import BlockError, CrsError, OutputError
from geoseg.grid import Window
from geoseg.vectorize import Faces, Trace, features, polygonize, stitch, trace

Labels = NDArray[np.uint8]
NODATA = 255
UTM = Affine(10, 0, 400_000, 0, -10, 4_100_000)


def noise(rng: np.random.Generator, shape: tuple[int, int]) -> Labels:
    return rng.integers(0, rng.integers(1, 5), shape).astype(np.uint8)


def stripes(rng: np.random.Generator, shape: tuple[int, int]) -> Labels:
    y, x = np.indices(shape)
    return ((y * rng.integers(0, 2) + x * rng.integers(0, 2)) // rng.integers(1, 4) % 3).astype(np.uint8)


def checkerboard(rng: np.random.Generator, shape: tuple[int, int]) -> Labels:
    y, x = np.indices(shape) // rng.integers(1, 4)
    return ((x + y) % 2).astype(np.uint8)


def spiral(_: np.random.Generator, shape: tuple[int, int]) -> Labels:
    labels = np.zeros(shape, np.uint8)
    y, x, direction = 0, 0, 0
    steps = [(0, 1), (1, 0), (0, -1), (-1, 0)]
    labels[0, 0] = 1
    for _step in range(labels.size):
        dy, dx = steps[direction]
        ahead, beyond = (y + dy, x + dx), (y + 2 * dy, x + 2 * dx)
        inside = 0 <= ahead[0] < shape[0] and 0 <= ahead[1] < shape[1]
        touches = 0 <= beyond[0] < shape[0] and 0 <= beyond[1] < shape[1] and labels[beyond] == 1
        if not inside or labels[ahead] == 1 or touches:
            direction = (direction + 1) % 4
            continue
        y, x = ahead
        labels[y, x] = 1
    return labels


def blobs(rng: np.random.Generator, shape: tuple[int, int]) -> Labels:
    size = int(rng.integers(2, 6))
    coarse = rng.integers(0, 4, (shape[0] // size + 2, shape[1] // size + 2)).astype(np.uint8)
    return np.kron(coarse, np.ones((size, size), np.uint8))[1 : shape[0] + 1, 1 : shape[1] + 1]


def one_class(_: np.random.Generator, shape: tuple[int, int]) -> Labels:
    return np.full(shape, 3, np.uint8)


@st.composite
def label_maps(draw: st.DrawFn, longest: int = 24) -> Labels:
    """Maps of every kind that is hard on a tracer, with and without holes of nodata."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, longest)), draw(st.integers(1, longest)))
    kind = draw(st.sampled_from([noise, stripes, checkerboard, spiral, blobs, one_class]))
    labels = kind(rng, shape)
    labels[rng.random(shape) < draw(st.sampled_from([0, 0, 0.1, 0.5, 1]))] = NODATA
    return labels


@st.composite
def cuts(draw: st.DrawFn, length: int) -> list[int]:
    """Where blocks begin along an axis, and its end."""
    inner = draw(st.sets(st.integers(1, max(1, length - 1)), max_size=8))
    return sorted({0, length} | {cut for cut in inner if cut < length})


def confidence_of(labels: Labels) -> Labels:
    return np.random.default_rng(labels.size).integers(0, 256, labels.shape).astype(np.uint8)


def traces_of(labels: Labels, rows: list[int], cols: list[int]) -> dict[tuple[int, int], Trace]:
    confidence = confidence_of(labels)
    traces = {}
    for row, (top, bottom) in enumerate(pairwise(rows)):
        for col, (left, right) in enumerate(pairwise(cols)):
            window = Window(top, left, bottom - top, right - left)
            core = window.slices()
            traces[row, col] = trace(labels[core], confidence[core], window, labels.shape, NODATA)
    return traces


def opened(traces: dict[tuple[int, int], Trace]) -> dict[tuple[int, int], Callable[[], Trace]]:
    def give(one: Trace) -> Trace:
        return one

    return {place: partial(give, one) for place, one in traces.items()}


def stitched(labels: Labels, rows: list[int], cols: list[int]) -> Faces:
    return Faces.concatenate(list(stitch(opened(traces_of(labels, rows, cols)), labels.shape[1])))


def assert_same(one: Faces, other: Faces) -> None:
    for name in ("label", "pixels", "confidence_sum", "key"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in ("xy", "rings", "polygons"):
        np.testing.assert_array_equal(getattr(one.rings, name), getattr(other.rings, name))


def comparable(label: int, polygon: shapely.Polygon) -> tuple[int, bytes]:
    """A polygon without collinear vertices, with rings in GEOS' own order."""
    return int(label), shapely.normalize(shapely.simplify(polygon, 0)).wkb


def gdal_polygons(labels: Labels) -> set[tuple[int, bytes]]:
    """One pass of GDAL for each class over the whole raster."""
    return {
        comparable(int(label), shapely.geometry.shape(polygon))
        for label in np.unique(labels[labels != NODATA])
        for polygon, _ in rasterio.features.shapes(
            (labels == label).astype(np.uint8), mask=labels == label, connectivity=4
        )
    }


@given(label_maps())
def test_faces_are_the_polygons_that_gdal_finds_class_by_class(labels: Labels) -> None:
    faces = polygonize(labels)
    assert {comparable(*pair) for pair in zip(faces.label, faces.geometry, strict=True)} == gdal_polygons(labels)


@given(label_maps())
def test_every_polygon_is_valid_and_covers_exactly_its_pixels(labels: Labels) -> None:
    faces = polygonize(labels)
    assert shapely.is_valid(faces.geometry).all()
    np.testing.assert_array_equal(shapely.area(faces.geometry), faces.pixels)
    assert faces.pixels.sum() == (labels != NODATA).sum()
    if len(faces):
        painted = rasterio.features.rasterize(
            zip(faces.geometry, faces.label, strict=True), labels.shape, fill=NODATA, dtype="uint8"
        )
        np.testing.assert_array_equal(painted, labels)


@given(label_maps())
def test_sums_and_keys_are_those_of_the_pixels(labels: Labels) -> None:
    confidence = confidence_of(labels)
    faces = polygonize(labels, confidence=confidence)
    for index, polygon in enumerate(faces.geometry):
        inside = rasterio.features.rasterize([polygon], labels.shape).astype(bool)
        assert faces.confidence_sum[index] == confidence[inside].sum(dtype=np.int64)
        assert faces.key[index] == np.flatnonzero(inside)[0]
    assert (np.diff(faces.key) > 0).all()


@given(label_maps())
def test_rings_are_canonical(labels: Labels) -> None:
    for polygon in polygonize(labels).geometry:
        rings = [polygon.exterior, *polygon.interiors]
        starts = [ring.coords[0][::-1] for ring in rings]
        assert starts == [min((y, x) for x, y in ring.coords) for ring in rings]
        assert starts[1:] == sorted(starts[1:])
        # Rows go down: counter-clockwise on a screen is clockwise in numbers.
        assert [ring.is_ccw for ring in rings] == [False] + [True] * len(polygon.interiors)
        for ring in rings:
            xy = np.array(ring.coords[:-1])
            before, after = np.roll(xy, 1, axis=0), np.roll(xy, -1, axis=0)
            assert not ((xy == before) & (xy == after)).any()


@given(st.data(), label_maps())
def test_blocks_of_any_layout_give_the_faces_of_the_whole_raster(data: st.DataObject, labels: Labels) -> None:
    rows, cols = data.draw(cuts(labels.shape[0])), data.draw(cuts(labels.shape[1]))
    assert_same(stitched(labels, rows, cols), polygonize(labels, confidence=confidence_of(labels)))


@pytest.mark.parametrize("kind", [noise, stripes, checkerboard, spiral, blobs, one_class])
@pytest.mark.parametrize("layout", [(1, 1), (1, 97), (61, 1), (7, 5), (16, 16), (64, 64)])
def test_larger_maps_are_the_same_in_blocks(
    kind: Callable[[np.random.Generator, tuple[int, int]], Labels], layout: tuple[int, int]
) -> None:
    shape = (17, 23) if layout == (1, 1) else (61, 97)
    labels = kind(np.random.default_rng(7), shape)
    labels[9:12, 5:18] = NODATA
    rows, cols = ([*range(0, length, step), length] for length, step in zip(labels.shape, layout, strict=True))
    assert_same(stitched(labels, rows, cols), polygonize(labels, confidence=confidence_of(labels)))


def test_faces_come_in_batches_of_rows_of_blocks_in_raster_order() -> None:
    labels = noise(np.random.default_rng(3), (30, 40))
    batches = list(stitch(opened(traces_of(labels, [0, 10, 20, 30], [0, 15, 40])), 40))
    assert len(batches) == 3
    for row, batch in enumerate(batches):
        assert ((batch.key // 40) // 10 == row).all()
        assert (np.diff(batch.key) > 0).all()


def test_nothing_is_joined_across_a_block_that_was_not_traced() -> None:
    labels = one_class(np.random.default_rng(0), (4, 9))
    traces = traces_of(labels, [0, 4], [0, 3, 6, 9])
    del traces[0, 1]
    faces = Faces.concatenate(list(stitch(opened(traces), 9)))
    assert [polygon.bounds for polygon in faces.geometry] == [(0, 0, 3, 4), (6, 0, 9, 4)]


def test_a_missing_block_does_not_hide_a_way_around_it() -> None:
    labels = one_class(np.random.default_rng(0), (9, 9))
    traces = traces_of(labels, [0, 3, 6, 9], [0, 3, 6, 9])
    del traces[1, 1]
    (faces,) = stitch(opened(traces), 9)
    assert shapely.area(faces.geometry).tolist() == [72]
    assert len(faces.geometry[0].interiors) == 1


def test_no_faces_and_no_blocks_are_no_batches() -> None:
    assert list(stitch({}, 5)) == []
    assert list(stitch(opened(traces_of(np.full((6, 6), NODATA, np.uint8), [0, 3, 6], [0, 6])), 6)) == []


def test_a_stored_trace_is_the_same_and_holds_no_pickle(tmp_path: Path) -> None:
    labels = noise(np.random.default_rng(1), (20, 30))
    traces = traces_of(labels, [0, 10, 20], [0, 10, 30])
    for (row, col), one in traces.items():
        one.save(tmp_path / f"{row}-{col}.npz")
    loaders = {place: partial(Trace.load, tmp_path / f"{place[0]}-{place[1]}.npz") for place in traces}
    assert_same(Faces.concatenate(list(stitch(loaders, 30))), polygonize(labels, confidence=confidence_of(labels)))
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".npz"] * 4
    with np.load(tmp_path / "0-0.npz", allow_pickle=False) as arrays:
        assert all(arrays[name].dtype.kind == "i" for name in arrays.files)


def test_equal_traces_are_equal_files(tmp_path: Path) -> None:
    labels = noise(np.random.default_rng(1), (20, 30))
    for name in ("one", "other"):
        traces_of(labels, [0, 20], [0, 30])[0, 0].save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_a_damaged_trace_is_named(tmp_path: Path) -> None:
    path = tmp_path / "0-0.npz"
    traces_of(np.zeros((4, 4), np.uint8), [0, 4], [0, 4])[0, 0].save(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(OutputError, match=r"0-0\.npz"):
        list(stitch({(0, 0): partial(Trace.load, path)}, 4))


def test_a_trace_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    one = traces_of(np.zeros((4, 4), np.uint8), [0, 4], [0, 4])[0, 0]
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputError, match="taken"):
        one.save(tmp_path / "taken")
    assert os.listdir(tmp_path) == ["taken"]


def test_traces_of_another_raster_are_refused() -> None:
    traces = opened(traces_of(np.zeros((4, 4), np.uint8), [0, 4], [0, 4]))
    with pytest.raises(BlockError, match="4 px wide, not 5"):
        list(stitch(traces, 5))


def test_face_numbers_beyond_24_bits_stay_apart() -> None:
    """GDAL's float version of polygonize would merge 2 ** 24 and 2 ** 24 + 1; the integer one must be used."""
    number = np.array([[2**24, 2**24 + 1]], np.int32)
    assert len(list(rasterio.features.shapes(number, connectivity=4))) == 2


# Features -------------------------------------------------------------------------------------------------------------

CASES = {
    "utm": ("EPSG:32618", UTM),
    "utm_south_rotated": ("EPSG:32733", Affine(9, 3, 400_000, 4, -11, 6_000_000)),
    "utm_south_up": ("EPSG:32618", Affine(10, 0, 400_000, 0, 10, 4_100_000)),
    "degrees": ("EPSG:4326", Affine(0.001, 0, 10, 0, -0.002, 60)),
    "degrees_global": ("EPSG:4326", Affine(8, 0, -180, 0, -4.5, 90)),
    "degrees_rotated": ("EPSG:4326", Affine(0.001, 0.0003, 10, 0.0002, -0.001, -60)),
    "drone_mercator": ("EPSG:3857", Affine(0.07, 0, 4_000_000, 0, -0.07, -1_000_000)),
    "mercator_at_the_antimeridian": ("EPSG:3857", Affine(5000, 0, -20_037_508.34, 0, -5000, 8_000_000)),
    "pacific_mercator": ("EPSG:3832", Affine(3000, 0, 3_280_000, 0, -3000, 1_000_000)),
    "north_pole_on_a_corner": ("EPSG:3413", Affine(1000, 0, -20_000, 0, -1000, 20_000)),
    "south_pole_in_a_pixel": ("EPSG:3031", Affine(30, 0, -605, 0, -30, 605)),
    "us_feet": ("EPSG:2225", Affine(30, 0, 6_000_000, 0, -30, 2_000_000)),
    "mars": ("+proj=laea +lat_0=0 +lon_0=180 +a=3396190 +b=3376200", Affine(100, 0, -2000, 0, -100, 2000)),
    "moon": ("+proj=eqc +R=1737400", Affine(100, 0, 9000, 0, -100, 2000)),
}


def map_with_holes() -> Labels:
    coarse = np.random.default_rng(5).integers(0, 3, (8, 9)).astype(np.uint8)
    labels = np.kron(coarse, np.ones((5, 5), np.uint8))
    labels[3, :] = 7
    labels[22, 22] = 8
    return labels


def placed(transform: Affine, x: Any, y: Any) -> tuple[Any, Any]:
    x, y = np.asarray(x), np.asarray(y)
    return transform.a * x + transform.b * y + transform.c, transform.d * x + transform.e * y + transform.f


def dense_area(polygon: shapely.Polygon, transform: Affine, crs: pyproj.CRS, points: int) -> float:
    """Area by PROJ's geodesics between many points along each pixel edge."""
    geod, geographic = crs.get_geod(), crs.geodetic_crs
    assert geod is not None
    assert geographic is not None
    to_degrees = pyproj.Transformer.from_crs(crs, geographic, always_xy=True)

    def ring_area(ring: shapely.LinearRing) -> float:
        x, y = shapely.get_coordinates(shapely.segmentize(ring, 1 / points)).T
        lon, lat = to_degrees.transform(*placed(transform, x, y))
        return abs(float(geod.polygon_area_perimeter(lon, lat)[0]))

    return ring_area(polygon.exterior) - sum(ring_area(hole) for hole in polygon.interiors)


@pytest.mark.parametrize("case", CASES)
def test_areas_are_geodesic_in_any_crs(case: str) -> None:
    crs, transform = pyproj.CRS.from_user_input(CASES[case][0]), CASES[case][1]
    faces = polygonize(map_with_holes())
    measured = features(faces, transform, crs, {})["area_m2"]
    # Few points leave the edge, many add up the rounding of the geodesics: where pixels are small, few are exact.
    points = {"degrees_global": 2_000, "south_pole_in_a_pixel": 64}.get(case, 4)
    expected = [dense_area(polygon, transform, crs, points) for polygon in faces.geometry]
    np.testing.assert_allclose(measured, expected, rtol=1e-6)


@pytest.mark.parametrize("case", ["utm", "utm_south_rotated", "utm_south_up", "us_feet"])
def test_the_area_of_a_pixel_is_its_plane_area_divided_by_the_areal_scale(case: str) -> None:
    crs, transform = pyproj.CRS.from_user_input(CASES[case][0]), CASES[case][1]
    projection = pyproj.Proj(crs, preserve_units=True)
    scale = projection.get_factors(*projection(*placed(transform, 0.5, 0.5), inverse=True)).areal_scale
    metres = crs.axis_info[0].unit_conversion_factor
    measured = features(polygonize(np.zeros((1, 1), np.uint8)), transform, crs, {})["area_m2"][0]
    assert measured == pytest.approx(abs(transform.determinant) * metres**2 / scale, rel=1e-7)


def test_areas_of_the_whole_globe_sum_to_the_ellipsoid() -> None:
    geod = pyproj.Geod(ellps="WGS84")
    eccentricity = geod.es**0.5
    surface = 2 * np.pi * geod.a**2 * (1 + (1 - geod.es) / eccentricity * np.arctanh(eccentricity))
    table = features(polygonize(map_with_holes()), Affine(8, 0, -180, 0, -4.5, 90), "EPSG:4326", {})
    assert table["area_m2"].sum() == pytest.approx(surface, rel=1e-12)


def test_a_long_face_is_measured_along_its_straight_edges() -> None:
    """20 degrees along the 60th parallel: a geodesic between the corners would enclose percents more."""
    labels = np.zeros((100, 20_000), np.uint8)
    transform = Affine(0.001, 0, 0, 0, -0.001, 60)
    faces = polygonize(labels)
    whole = features(faces, transform, "EPSG:4326", {})["area_m2"][0]
    pixel = features(polygonize(labels[:, :1]), transform, "EPSG:4326", {})["area_m2"][0]
    assert whole == pytest.approx(20_000 * pixel, rel=1e-9)


@given(label_maps(12))
def test_an_area_does_not_depend_on_the_batch(labels: Labels) -> None:
    faces = polygonize(labels)
    together = features(faces, UTM, "EPSG:32618", {})["area_m2"]
    alone = [features(faces.take(np.array([i])), UTM, "EPSG:32618", {})["area_m2"][0] for i in range(len(faces))]
    np.testing.assert_array_equal(together, alone)


def test_a_place_outside_of_the_projection_has_no_area() -> None:
    table = features(polygonize(np.array([[0, 1]], np.uint8)), Affine(3e7, 0, 0, 0, -1e6, 0), "ESRI:54009", {})
    assert np.isnan(table["area_m2"]).all()


def test_a_crs_without_horizontal_coordinates_is_refused() -> None:
    with pytest.raises(CrsError, match="EGM"):
        features(polygonize(np.zeros((2, 2), np.uint8)), UTM, "EPSG:5773", {})


@pytest.mark.parametrize("case", CASES)
def test_corners_are_placed_by_the_transform_and_exteriors_run_counter_clockwise(case: str) -> None:
    crs, transform = CASES[case]
    faces = polygonize(map_with_holes())
    table = features(faces, transform, crs, {})
    assert shapely.is_ccw(shapely.get_exterior_ring(table.geometry.to_numpy())).all()
    for on_earth, polygon in zip(table.geometry, faces.geometry, strict=True):
        assert set(on_earth.exterior.coords) == set(zip(*placed(transform, *polygon.exterior.xy), strict=True))
        assert len(on_earth.interiors) == len(polygon.interiors)


def test_columns_say_class_name_and_mean_confidence() -> None:
    labels = np.array([[0, 0, 1], [2, 2, 1]], np.uint8)
    confidence = np.array([[255, 0, 255], [100, 101, 254]], np.uint8)
    table = features(polygonize(labels, confidence=confidence), UTM, "EPSG:32618", {0: "Wässer", 1: "森林"})
    assert list(table.columns) == ["class", "name", "area_m2", "confidence", "geometry"]
    assert table["class"].tolist() == [0, 1, 2]
    assert table["name"].tolist() == ["Wässer", "森林", "2"]
    assert table["confidence"].tolist() == [0.5, round(509 / 510, 4), round(201 / 510, 4)]
    assert table.crs == "EPSG:32618"


def test_features_of_nothing_have_their_columns() -> None:
    table = features(polygonize(np.full((3, 3), NODATA, np.uint8)), UTM, "EPSG:32618", {0: "a"})
    assert len(table) == 0
    assert list(table.columns) == ["class", "name", "area_m2", "confidence", "geometry"]


def test_faces_and_traces_can_be_sent_to_another_process() -> None:
    labels = map_with_holes()
    assert_same(pickle.loads(pickle.dumps(polygonize(labels))), polygonize(labels))
    sent = pickle.loads(pickle.dumps(traces_of(labels, [0, 40], [0, 45])[0, 0]))
    assert_same(sent.complete, polygonize(labels, confidence=confidence_of(labels)))


def test_a_map_of_many_faces_sums_up() -> None:
    coarse = np.random.default_rng(2).integers(0, 5, (70, 90)).astype(np.uint8)
    labels = np.kron(coarse, np.ones((7, 6), np.uint8))
    faces = stitched(labels, [0, *accumulate([123, 200, 167])], [0, *accumulate([77, 300, 163])])
    assert np.array_equal(np.bincount(faces.label, weights=faces.pixels), np.bincount(labels.ravel()))
    assert shapely.is_valid(faces.geometry).all()
