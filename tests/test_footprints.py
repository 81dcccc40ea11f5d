"""Straight walls from pixels: of one building, of neighbours with common walls, of whole towns strip by strip."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import shapely
from affine import Affine
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer
from scipy import ndimage
from scipy.ndimage import gaussian_filter

from geoseg.footprints import Network
from geoseg.footprints.directions import find_direction
from geoseg.footprints.overlap import common_areas
from geoseg.footprints.walls import ACROSS, ALONG, ASKEW, OTHER, SLANT, WALL, find_walls
from geoseg.outlines import OutlineFolder, OutlinePlan, regularizing
from geoseg.vector import Region
from geoseg.vectorize import Faces, Metric, Shaping, Simplification, features, polygonize
from geoseg.vectorize.areas import placed

KINDS = ALONG, ACROSS, OTHER
Labels = NDArray[np.int64]
Geometries = NDArray[np.object_]

UTM = Affine(0.25, 0, 440_000, 0, -0.25, 4_200_000), "EPSG:32637"
PLACES = [
    UTM,
    (Affine(1, 0, 0, 0, -1, 0), "EPSG:32637"),
    (Affine(0.2, 0.1, 1_000, 0.1, -0.2, 2_000), "EPSG:32637"),
    (Affine(0.3, 0, 1_000, 0, 0.3, 2_000), "EPSG:32637"),
    (Affine(0.5, 0, 3e6, 0, -0.3, 7e6), "EPSG:3857"),
    (Affine(3e-6, 0, 30.1, 0, -2.7e-6, 55.3), "EPSG:4326"),
]
"""Pixels that are square, oblong, rotated, south-up, and in degrees."""

RECTANGLE = shapely.box(0, 0, 1, 0.6)
ELL = RECTANGLE - shapely.box(0.55, 0.3, 1, 0.6)
TEE = shapely.box(0, 0, 1, 0.4) | shapely.box(0.3, 0.4, 0.7, 0.8)
YARD = shapely.box(0, 0, 1, 0.8) - shapely.box(0.35, 0.35, 0.65, 0.8)
SHAPES = {"rectangle": (RECTANGLE, 4), "L": (ELL, 6), "T": (TEE, 8), "U": (YARD, 8)}


def drawn(shapes: Iterable[shapely.Geometry], height: int, width: int) -> Labels:
    """Pixels whose centres lie in a shape, numbered by shape; later ones lie on top."""
    y, x = np.mgrid[:height, :width] + 0.5
    labels = np.zeros((height, width), np.int64)
    for number, shape in enumerate(shapes, start=1):
        labels[shapely.contains_xy(shape, x, y)] = number
    return labels


def put(shape: shapely.Geometry, size: float, angle: float, x: float, y: float) -> shapely.Geometry:
    """A shape of a size, px, turned by an angle, radians, about a place."""
    cos, sin = size * math.cos(angle), size * math.sin(angle)
    return shapely.transform(shape, lambda xy: xy @ [[cos, sin], [-sin, cos]] + [x, y])


def rough(labels: Labels, noise: float, seed: int) -> Labels:
    """Labels of one object whose edge wavers, as a network would see it: by about so many px."""
    rng = np.random.default_rng(seed)
    waves = gaussian_filter(rng.standard_normal(labels.shape), 2)
    soft = gaussian_filter((labels > 0).astype(float), 1)
    is_edge = (soft > 0.02) & (soft < 0.98)
    soft += is_edge * 0.4 * noise * waves / waves.std()
    parts, _ = ndimage.label(soft > 0.5)
    return np.where(parts == np.bincount(parts[parts > 0]).argmax(), labels.max(), 0)


def traced(labels: Labels, place: tuple[Affine, str] = UTM, **shaping: Any) -> pa.Table:
    """What is regularized: faces without the stairs of pixels, as features."""
    transform, crs = place
    metric = Metric.of(transform)
    stairs = Simplification(0.75 * math.sqrt(metric.gram.area))
    faces = polygonize(labels, nodata=0, shaping=Shaping(metric, stairs, **shaping))
    return features(faces, transform, crs, {})


def planned(shape: tuple[int, ...], place: tuple[Affine, str] = UTM, px: float = 1.5, **more: Any) -> OutlinePlan:
    transform, crs = place
    tolerance = px * math.sqrt(abs(transform.determinant))
    rows, cols = ((0, size) for size in shape)
    source: Any = None
    return OutlinePlan(
        source, OutlineFolder(Path()), rows, cols, transform, CRS(crs), Shaping(), tolerance=tolerance, **more
    )


def geometry(table: pa.Table) -> Geometries:
    return shapely.from_wkb(table.column("geometry").to_numpy(zero_copy_only=False))


def regularized(labels: Labels, place: tuple[Affine, str] = UTM, px: float = 1.5, **more: Any) -> pa.Table:
    faces = traced(labels, place, keeps_outer="region" in more)
    return pa.concat_tables(regularizing.regularize([faces], planned(labels.shape, place, px, **more)))


def in_pixels(polygons: Any, place: tuple[Affine, str] = UTM) -> Any:
    return shapely.transform(polygons, lambda xy: placed(xy, ~place[0]))


def corners(polygon: shapely.Polygon) -> NDArray[np.float64]:
    """Angles at the corners of the exterior, degrees, from 0 to 180."""
    xy = shapely.get_coordinates(polygon.exterior)[:-1]
    back, forth = np.roll(xy, 1, axis=0) - xy, np.roll(xy, -1, axis=0) - xy
    cosine = (back * forth).sum(axis=1) / np.hypot(*back.T) / np.hypot(*forth.T)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def overlap(one: Any, other: Any) -> Any:
    return shapely.area(shapely.intersection(one, other)) / shapely.area(shapely.union(one, other))


def leaning(polygon: shapely.Polygon) -> float:
    """The angle of the longest edge, modulo a right one."""
    steps = np.diff(shapely.get_coordinates(polygon.exterior), axis=0)
    dx, dy = steps[np.hypot(*steps.T).argmax()]
    return math.atan2(dy, dx) % (math.pi / 2)


def apart(one: float, other: float) -> float:
    """Degrees between two angles modulo a right one."""
    gap = abs(one - other) % (math.pi / 2)
    return math.degrees(min(gap, math.pi / 2 - gap))


@pytest.mark.parametrize("name", SHAPES)
@settings(max_examples=25)
@given(angle=st.floats(0, math.pi / 2), size=st.floats(40, 70), dx=st.floats(0, 1))
@example(angle=0.81640625, size=40.0, dx=0.0)  # as traced, an L of that size and angle overlaps by 0.940
def test_a_building_gets_its_walls_its_angle_and_right_corners(name: str, angle: float, size: float, dx: float) -> None:
    shape, count = SHAPES[name]
    building = put(shape, size, angle, 100 + dx, 80)
    (polygon,) = in_pixels(geometry(regularized(drawn([building], 200, 200))))
    assert corners(polygon) == pytest.approx(np.full(count, 90), abs=1e-5)
    assert apart(leaning(polygon), angle) < 2.5
    assert overlap(polygon, building) > 0.93


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
def test_a_building_whose_edges_waver_gets_the_same(name: str) -> None:
    (shape, count), rng = SHAPES[name], np.random.default_rng(0)
    errors = []
    for seed, (angle, size) in enumerate(rng.uniform([0, 40], [math.pi / 2, 70], (100, 2)).tolist()):
        building = put(shape, size, angle, 100, 80)
        (polygon,) = in_pixels(geometry(regularized(rough(drawn([building], 200, 200), 0.25, seed))))
        assert corners(polygon) == pytest.approx(np.full(count, 90), abs=1e-5)
        assert overlap(polygon, building) > 0.9
        errors.append(apart(leaning(polygon), angle))
    assert max(errors) < 2.5
    assert np.quantile(errors, 0.9) < 1


def test_walls_of_a_noisy_outline_are_nearer_to_the_truth_than_the_outline_itself() -> None:
    before, after = [], []
    for seed in range(20):
        building = put(ELL, 45, 0.1 + 0.07 * seed, 80, 70)
        labels = rough(drawn([building], 160, 160), 0.6, seed)
        (was,), (now,) = (in_pixels(geometry(table)) for table in (traced(labels), regularized(labels)))
        before.append(overlap(was, building))
        after.append(overlap(now, building))
    assert np.mean(after) > np.mean(before) + 0.01
    assert np.mean(after) > 0.92


@pytest.mark.parametrize("radius", [9, 14, 30])
def test_a_round_hut_becomes_a_regular_polygon_of_its_area(radius: float) -> None:
    disc = shapely.Point(50.3, 48.6).buffer(radius, 64)
    labels = drawn([disc], 100, 100)
    (polygon,) = in_pixels(geometry(regularized(labels)))
    assert np.ptp(corners(polygon)) < 1e-5
    assert len(corners(polygon)) >= 16
    assert polygon.area == pytest.approx(labels.sum(), rel=0.04)
    assert overlap(polygon, disc) > 0.96


def test_a_long_diagonal_wall_stays_and_is_no_stair() -> None:
    cut = shapely.Polygon([(0, 0), (60, 0), (60, 20), (35, 45), (0, 45)])
    building = put(cut, 1, 0.3, 40, 20)
    (polygon,) = in_pixels(geometry(regularized(rough(drawn([building], 120, 120), 0.3, 1))))
    assert sorted(np.round(corners(polygon))) == pytest.approx([90, 90, 90, 135, 135], abs=4)
    assert overlap(polygon, building) > 0.96


def test_stairs_of_a_facade_stay_stairs() -> None:
    steps = shapely.union_all([shapely.box(0, 0, 60 - 12 * k, 30 + 9 * k) for k in range(3)])
    building = put(steps, 1, 0.4, 40, 20)
    (polygon,) = in_pixels(geometry(regularized(rough(drawn([building], 120, 120), 0.2, 1))))
    assert corners(polygon) == pytest.approx(np.full(8, 90), abs=1e-5)


def test_a_courtyard_gets_straight_walls_too() -> None:
    building = put(shapely.box(0, 0, 60, 50) - shapely.box(20, 15, 42, 33), 1, 0.25, 30, 20)
    (polygon,) = in_pixels(geometry(regularized(rough(drawn([building], 120, 120), 0.2, 1))))
    yard = shapely.Polygon(polygon.interiors[0])
    assert corners(yard) == pytest.approx(np.full(4, 90), abs=1e-5)
    assert apart(leaning(yard), leaning(polygon)) < 1e-6


@pytest.mark.parametrize("latitude", [0.0, 60.0, -40.0])
def test_right_angles_are_right_on_the_ground_where_the_crs_is_in_degrees(latitude: float) -> None:
    size = 0.3 / 111_320
    place = Affine(size, 0, 30, 0, -size, latitude), "EPSG:4326"
    shorter = math.cos(math.radians(latitude))
    on_ground = put(RECTANGLE, 60, 0.5, 45, 15)
    on_map = shapely.transform(on_ground, lambda xy: xy / [shorter, 1])
    (polygon,) = in_pixels(geometry(regularized(drawn([on_map], 120, 200), place)), place)
    turned_back = shapely.transform(polygon, lambda xy: xy * [shorter, 1])
    assert corners(turned_back) == pytest.approx(np.full(4, 90), abs=0.4)  # the ellipsoid is no sphere
    assert apart(leaning(turned_back), 0.5) < 1


@pytest.mark.parametrize(
    "pixels",
    [np.ones((1, 1)), np.ones((1, 9)), np.ones((7, 1)), np.eye(9) + np.eye(9, k=1)],
    ids=["a pixel", "a row", "a column", "a thin diagonal"],
)
def test_what_is_no_building_stays_as_it_was_traced(pixels: NDArray[Any]) -> None:
    labels = np.pad(pixels.astype(np.int64), 5)
    before, after = geometry(traced(labels)), geometry(regularized(labels))
    assert shapely.is_valid(after).all()
    assert overlap(before, after) >= 0.85
    assert shapely.area(after) == pytest.approx(shapely.area(before), rel=0.05)


def terrace(angle: float, count: int = 4) -> list[shapely.Geometry]:
    """Houses in a row, each with its own depth, with common walls."""
    house = (shapely.box(18 * k, 0, 18 * (k + 1), 26 + 7 * (k % 2)) for k in range(count))
    return [put(shape, 1, angle, 45, 20) for shape in house]


@pytest.mark.parametrize("angle", [0.0, 0.2, 0.5])
def test_houses_in_a_row_keep_their_common_walls_and_get_right_corners(angle: float) -> None:
    houses = terrace(angle)
    polygons = in_pixels(geometry(regularized(drawn(houses, 110, 130))))
    assert shapely.coverage_is_valid(polygons)
    order = np.argsort(shapely.get_x(shapely.centroid(polygons)))
    for one, other in itertools.pairwise(polygons[order]):
        assert one.intersection(other).length == pytest.approx(26, abs=2)
    assert overlap(polygons[order], np.array(houses)).min() > 0.93
    for polygon in polygons:
        turned = np.abs(corners(polygon) - 90) < 3
        assert turned.sum() >= 4
        assert (turned | (corners(polygon) > 170)).all()


def test_walls_of_neighbours_do_not_cross_a_narrow_gap() -> None:
    rng = np.random.default_rng(3)
    labels = drawn([shapely.box(10, 10, 50, 60), shapely.box(10, 61, 50, 100)], 110, 60)
    wave = np.round(2 * np.sin(np.arange(60) / 4) + rng.normal(0, 0.3, 60)).astype(int)
    for x, step in enumerate(wave):
        labels[:, x] = np.roll(labels[:, x], step)
    one, other = geometry(regularized(labels))
    assert one.relate_pattern(other, "F********")
    assert overlap(np.array([one, other]), geometry(traced(labels))).min() >= 0.85


@st.composite
def towns(draw: st.DrawFn) -> Labels:
    """Crowds of rectangles, parts of them and discs, at all angles, over one another, with edges that waver."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    height, width = (int(side) for side in rng.integers(20, 130, 2))
    y, x = np.mgrid[:height, :width] + 0.5
    labels = np.zeros((height, width), np.int64)
    size = rng.uniform(2, 8), rng.uniform(10, 36)
    waves = rng.uniform(0, 2)
    for number in range(1, 2 + int(rng.uniform(0.2, 1.2) * height * width / np.mean(size) ** 2)):
        u, v = x - rng.uniform(0, width), y - rng.uniform(0, height)
        angle = rng.uniform(0, math.pi)
        u, v = u * math.cos(angle) + v * math.sin(angle), v * math.cos(angle) - u * math.sin(angle)
        a, b = rng.uniform(*size, 2) / 2
        inside = (np.abs(u) < a) & (np.abs(v) < b)
        kind = rng.integers(0, 5)
        if kind == 0:
            inside = np.hypot(u, v) < a
        elif kind == 1:
            inside &= (u < 0) | (v < 0)
        soft = gaussian_filter(inside.astype(float), 1) + waves * gaussian_filter(rng.standard_normal(labels.shape), 2)
        labels[(soft > 0.5) & ((labels == 0) | (rng.random() < 0.3))] = number
    return labels


def meeting(polygons: Geometries, relation: str) -> set[tuple[int, int]]:
    """Pairs of polygons with a relation."""
    one, other = shapely.STRtree(polygons).query(polygons, predicate="intersects")
    one, other = one[one < other], other[one < other]
    found = shapely.relate_pattern(polygons[one], polygons[other], relation)
    return set(zip(one[found].tolist(), other[found].tolist(), strict=True))


def wavering(labels: Labels, noise: float, seed: int) -> Labels:
    """Labels of many objects whose edges waver, by about so many px, and which still touch."""
    rng = np.random.default_rng(seed)
    waves = (gaussian_filter(rng.standard_normal(labels.shape), 3) for _ in range(2))
    places = [axis + noise * wave / wave.std() for axis, wave in zip(np.indices(labels.shape), waves, strict=True)]
    found: Labels = ndimage.map_coordinates(labels, places, order=0)
    return found


def edges(polygons: Any, place: tuple[Affine, str] = UTM) -> NDArray[np.float64]:
    """Lengths of all edges on the ellipsoid, m."""
    to_degrees = Transformer.from_crs(place[1], "EPSG:4326", always_xy=True).transform
    found: list[float] = []
    for ring in shapely.get_rings(shapely.get_parts(polygons)):
        lon, lat = to_degrees(*shapely.get_coordinates(ring).T)
        found += list(Geod(ellps="WGS84").line_lengths(lon, lat))
    return np.array(found)


RIGHT = {"right_angles": True, "shortest_edge": 0.5}


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("name", SHAPES)
def test_with_right_angles_buildings_alone_have_no_other_and_no_short_edge(name: str, seed: int) -> None:
    labels = rough(drawn([put(SHAPES[name][0], 55, 0.15 * seed, 100, 80)], 200, 200), 0.5, seed)
    (polygon,), (before,) = geometry(regularized(labels, **RIGHT)), geometry(traced(labels))
    assert corners(polygon) == pytest.approx(np.full(len(corners(polygon)), 90), abs=1e-5)
    assert edges(polygon).min() >= 0.5
    assert polygon.area == pytest.approx(before.area, rel=0.15)
    assert overlap(polygon, before) >= 0.75


@pytest.mark.parametrize("place", PLACES)
def test_the_shortest_edge_is_in_metres_on_the_ground_everywhere(place: tuple[Affine, str]) -> None:
    stairs = shapely.union_all([shapely.box(0, 0, 90 - 8 * k, 12 + 9 * k) for k in range(6)])
    labels = drawn([put(stairs, 1, 0.3, 60, 20)], 160, 160)
    longest = edges(geometry(regularized(labels, place, right_angles=True)), place).min() * 1.5
    (polygon,) = geometry(regularized(labels, place, right_angles=True, shortest_edge=longest))
    assert edges(polygon, place).min() >= longest * 0.995
    assert shapely.is_valid(polygon)


@settings(max_examples=25)
@given(towns(), st.sampled_from(PLACES), st.sampled_from([0.8, 1.5, 3.0]), st.sampled_from([48, 64, 2048]))
def test_in_any_town_right_angles_keep_faces_valid_and_apart(
    labels: Labels, place: tuple[Affine, str], px: float, strip: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regularizing, "STRIP", strip)
        patch.setattr(regularizing, "REACH", (10, 8.0))
        table, before = regularized(labels, place, px, **RIGHT), traced(labels, place)
    was, now = geometry(before), geometry(table)
    assert shapely.is_valid(now).all()
    assert shapely.is_ccw(shapely.get_exterior_ring(now)).all()
    assert (np.abs(shapely.area(now) / shapely.area(was) - 1) <= 0.15 + 1e-9).all()
    assert (overlap(now, was) >= 0.75).all()
    assert not meeting(now, "T********")
    assert shapely.coverage_is_valid(now)
    for polygon in now:
        assert (np.diff(shapely.get_coordinates(polygon.exterior), axis=0) != 0).any(axis=1).all()


YARDS = {
    "right angles": """
        ....a.......
        ..aaaaa.....
        ..abbaaaaa..
        .aabbbaaaaaa
        .aabbbaaaaaa
        .aaabbaaaaac
        .aaaaaaaaaaa
        .aaaaaaaaaaa
        aaa...aaaaaa
        ...a..aaaaaa""",
    "any angle": """
        ccc.............
        cc..............
        c...............
        cc..............
        ccc.......ccccc.
        cccccc.cccccbcca
        ccccccccccbbbcaa
        cccccccccbbbbcaa
        ccccccccbbbbbccc
        cccccccccbbbbccc
        ccccccc....ccccc
        cccccc......cccc
        .ccccc......cccc
        .cccccc....ccccc
        cccccccccccccccc
        cc.....ccccccc..""",
}


@pytest.mark.parametrize(("yard", "px", "options"), [("right angles", 3.0, RIGHT), ("any angle", 1.5, {})])
def test_the_wall_of_a_yard_does_not_touch_a_corner_of_what_stands_in_it(
    yard: str, px: float, options: dict[str, Any]
) -> None:
    labels = np.array([[".abc".index(letter) for letter in row] for row in YARDS[yard].split()])
    now = geometry(regularized(labels, PLACES[0], px, **options))
    assert shapely.coverage_is_valid(now)
    assert not meeting(now, "T********")


def test_houses_in_a_row_lie_on_common_lines_with_right_angles() -> None:
    found: dict[bool, list[float]] = {False: [], True: []}
    for angle, is_right in itertools.product([0.0, 0.2, 0.5], [False, True]):
        labels = wavering(drawn(terrace(angle), 110, 130), 0.6, 1)
        polygons = in_pixels(geometry(regularized(labels, right_angles=is_right)))
        assert shapely.coverage_is_valid(polygons)
        assert meeting(in_pixels(geometry(traced(labels))), "****1****") == meeting(polygons, "****1****")
        angles = np.concatenate([corners(polygon) for polygon in polygons])
        found[is_right] += (np.abs(angles - 90) < 1)[angles < 180 - 1e-4].tolist()
    assert np.mean(found[True]) >= 0.9
    assert np.mean(found[True]) > np.mean(found[False]) + 0.2


@settings(max_examples=25)
@given(towns(), st.sampled_from(PLACES), st.sampled_from([0.8, 1.5, 3.0]), st.sampled_from([48, 64, 2048]))
def test_in_any_town_faces_stay_valid_where_they_were_and_apart_but_for_common_walls(
    labels: Labels, place: tuple[Affine, str], px: float, strip: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regularizing, "STRIP", strip)
        patch.setattr(regularizing, "REACH", (10, 8.0))
        table, before = regularized(labels, place, px), traced(labels, place)
    assert table.column("key").equals(before.column("key"))
    was, now = geometry(before), geometry(table)
    assert shapely.is_valid(now).all()
    assert shapely.is_ccw(shapely.get_exterior_ring(now)).all()
    assert (np.abs(shapely.area(now) / shapely.area(was) - 1) <= 0.05 + 1e-9).all()
    assert (overlap(now, was) >= 0.85).all()
    assert not meeting(now, "T********")
    assert shapely.coverage_is_valid(now)
    assert meeting(was, "****1****") <= meeting(now, "****1****"), "a common wall is lost"


@settings(max_examples=10)
@given(towns(), st.data())
def test_how_features_come_in_tables_does_not_matter(labels: Labels, data: st.DataObject) -> None:
    table = traced(labels)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(table)), max_size=4)))
    parts = [table.slice(begin, end - begin) for begin, end in itertools.pairwise([0, *cuts, len(table)])]
    plan = planned(labels.shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regularizing, "STRIP", 48)
        patch.setattr(regularizing, "REACH", (10, 8.0))
        whole = pa.concat_tables(regularizing.regularize([table], plan))
        cut = pa.concat_tables(regularizing.regularize(parts, plan))
    assert cut.equals(whole)


def test_a_feature_that_is_taller_than_two_strips_stays_as_it_was_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regularizing, "STRIP", 40)
    monkeypatch.setattr(regularizing, "REACH", (8, 4.0))
    labels = drawn([put(shapely.box(0, 0, 20, 150), 1, -0.1, 20, 10), put(RECTANGLE, 25, 0.2, 60, 90)], 180, 110)
    before, after = geometry(traced(labels)), geometry(regularized(labels))
    tall = shapely.bounds(in_pixels(before))[:, 3].argmax()
    assert after[tall].wkb == before[tall].wkb
    assert corners(after[1 - tall]) == pytest.approx(np.full(4, 90), abs=1e-5)


def test_numbers_are_those_of_the_new_outline() -> None:
    labels = drawn([put(RECTANGLE, 60, 0.4, 40, 20)], 120, 120)
    before, after = traced(labels), regularized(labels)
    (polygon,) = geometry(after)
    assert after["area_m2"][0].as_py() == pytest.approx(polygon.area, rel=2e-3)  # UTM's own scale
    assert after["perimeter_m"][0].as_py() == pytest.approx(polygon.length, rel=2e-3)
    assert after["perimeter_m"][0].as_py() != before["perimeter_m"][0].as_py()
    for name in ("class", "name", "pixels", "confidence", "key"):
        assert after[name].equals(before[name])


def test_a_building_that_the_raster_cuts_ends_at_its_edge() -> None:
    building = put(RECTANGLE, 60, 0.3, -8, 30)
    labels = drawn([building], 110, 90)
    (polygon,) = in_pixels(geometry(regularized(labels)))
    assert polygon.bounds[0] == 0
    edge = polygon.intersection(shapely.LineString([(0, 0), (0, 110)]))
    assert edge.length == pytest.approx(building.intersection(shapely.LineString([(0, 0), (0, 110)])).length, abs=1.5)
    assert overlap(polygon, building & shapely.box(0, 0, 90, 110)) > 0.96


def test_parts_that_touch_at_a_corner_stay_one_multipolygon() -> None:
    labels = np.zeros((70, 70), np.int64)
    labels[10:35, 10:35] = labels[35:60, 35:60] = 1
    table = traced(labels, connectivity=8)
    assert len(table) == 1
    (whole,) = geometry(pa.concat_tables(regularizing.regularize([table], planned(labels.shape))))
    assert whole.is_valid
    assert len(whole.geoms) == 2
    assert whole.geoms[0].touches(whole.geoms[1])


def test_what_a_region_cuts_reaches_its_edge() -> None:
    transform, crs = UTM
    labels = drawn([put(RECTANGLE, 60, 0.3, 40, 20)], 110, 110)
    edge = shapely.transform(shapely.Polygon([(0, 0), (70, 0), (62, 110), (0, 110)]), lambda xy: placed(xy, transform))
    region = Region(edge, CRS(crs))
    y, x = np.mgrid[:110, :110]
    touched = shapely.intersects(in_pixels(edge), shapely.box(x, y, x + 1, y + 1))
    table = regularized(np.where(touched, labels, 0), region=region)
    (polygon,) = geometry(table)
    (whole,) = geometry(regularized(labels))
    assert (polygon & edge).symmetric_difference(whole & edge).area < 0.04 * (whole & edge).area
    cut = (polygon & edge).boundary & edge.boundary
    assert cut.length == pytest.approx((whole & edge.boundary).length, rel=0.05)


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=40)
def test_walls_are_the_cheapest_of_all_there_are(seed: int, is_closed: bool) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(4, 8))
    if is_closed:
        angle = np.sort(rng.uniform(0, 2 * math.pi, count))
        xy = np.stack([np.cos(angle), np.sin(angle)], axis=1) * rng.uniform(1, 6, (count, 1))
        xy = np.concatenate([xy, xy[:1]])
    else:
        xy = np.cumsum(rng.uniform(-3, 3, (count, 2)), axis=0)
    cost, first, kind = find_walls(xy[:, 0].copy(), xy[:, 1].copy(), is_closed, 1.5)
    last = len(xy) - 1
    spans = itertools.combinations(range(last + 1), 2)
    costs = {(a, b, kind): wall_cost(xy[a : b + 1], kind, 1.5) for a, b in spans for kind in KINDS}
    assert cost == pytest.approx(cheapest(costs, last, is_closed), rel=1e-4)
    found = zip(itertools.pairwise([*first.tolist(), last]), kind.tolist(), strict=True)
    assert cost == pytest.approx(sum(costs[a, b, int(kind)] for (a, b), kind in found), rel=1e-4)


def cheapest(costs: dict[tuple[int, int, int], float], last: int, is_closed: bool) -> float:
    """Try every way to divide a polyline, and every kind of each wall."""
    least = math.inf
    for number in range(last):
        for inner in itertools.combinations(range(1, last), number):
            spans = list(itertools.pairwise([0, *inner, last]))
            for kinds in itertools.product(KINDS, repeat=len(spans)):
                pairs = [*itertools.pairwise(kinds), *([(kinds[-1], kinds[0])] if is_closed else [])]
                if not any(a == b != OTHER for a, b in pairs):
                    total = sum(costs[a, b, kind] for (a, b), kind in zip(spans, kinds, strict=True))
                    least = min(least, total)
    return least


def wall_cost(xy: NDArray[np.float64], kind: int, tolerance: float) -> float:
    """What a wall costs, by adding up many points of its edges."""
    steps = np.hypot(*np.diff(xy, axis=0).T)
    share = (np.arange(400) + 0.5) / 400
    points = np.concatenate([a + share[:, None] * (b - a) for a, b in itertools.pairwise(xy)])
    weight = np.repeat(steps / 400, 400)
    away = points - np.average(points, axis=0, weights=weight)
    scatter = (weight * away.T) @ away
    values, vectors = np.linalg.eigh(scatter)
    if kind == OTHER:
        angle = math.atan2(*vectors[::-1, 1])
        return ASKEW + values[0] / tolerance**3 if apart(angle, 0) >= math.degrees(SLANT) else math.inf
    return WALL + scatter[1 - kind, 1 - kind] / tolerance**3


@given(st.integers(0, 2**32 - 1), st.floats(0, math.pi / 2))
def test_the_direction_of_a_rectangle_does_not_depend_on_how_it_lies(seed: int, angle: float) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(5, 40, 2)
    xy = shapely.get_coordinates(put(shapely.box(0, 0, a, b), 1, angle, 0, 0))
    assert apart(find_direction(xy[:, 0].copy(), xy[:, 1].copy(), 1.5), angle) < 1e-6


@settings(max_examples=20)
@given(towns())
def test_a_network_holds_every_face_and_every_common_wall_once(labels: Labels) -> None:
    faces: Faces = polygonize(labels, nodata=0)
    network = Network.of(faces.rings)
    chains = network.chains
    xy = np.stack([chains.x, chains.y], axis=1).astype(np.float64)
    again = network.assemble(xy, chains.offsets, np.arange(len(faces))).to_polygons()
    assert (shapely.normalize(again) == shapely.normalize(faces.geometry)).all()
    lines = shapely.linestrings(xy, indices=np.repeat(np.arange(len(chains)), np.diff(chains.offsets)))
    edges = shapely.union_all(shapely.boundary(faces.geometry))
    assert shapely.length(lines).sum() == pytest.approx(edges.length)
    sides = network.faces[(network.faces >= 0).all(axis=1)]
    assert {(min(a, b), max(a, b)) for a, b in sides.tolist()} == meeting(faces.geometry, "****1****")


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
@example(0)
@example(1893)  # off by 1.04 %
def test_the_area_that_two_polygons_share_is_that_of_geos(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = (
        put(shapely.box(0, 0, 30, 20) - shapely.box(8, 5, 20, 12), rng.uniform(0.5, 2), rng.uniform(0, 3), *at)
        for at in rng.uniform(0, 15, (2, 2))
    )
    parts = []
    for polygon in (one, other):
        _, xy, (rings, polygons) = shapely.to_ragged_array([polygon])
        parts += [xy, rings.astype(np.int64), polygons.astype(np.int64)]
    exact = one.intersection(other).area
    assert common_areas(*parts)[0] == pytest.approx(exact, abs=0.015 * min(one.area, other.area))
