"""Layers of polygons: pairs and distances against brute force, in metres wherever they lie."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod
from shapely.affinity import rotate, scale, translate
from shapely.geometry import LineString, Point, Polygon, box

from geoseg.errors import CrsError, EvaluationError
from geoseg.evaluation import evaluate, hausdorff_distances, polis_distances
from geoseg.evaluation.shapes import count_vertices, rotations
from geoseg.raster.placing import PLAIN_PIXELS, UPRIGHT
from tests.rasters import write_raster

UTM = 32618
CORNER = (440_000, 4_199_000)


def write(path: Path, shapes: list[Any], crs: Any = UTM, **columns: Any) -> Path:
    """Shapes around a corner of UTM, in any CRS."""
    placed = [translate(shape, *CORNER) for shape in shapes]
    gpd.GeoDataFrame(columns, geometry=placed, crs=UTM).to_crs(crs).to_file(path)
    return path


def summary_of(*paths: Path, **settings: Any) -> dict[str, Any]:
    return evaluate(*paths, **settings).summary()["scores"]  # type: ignore[no-any-return]


def blob(seed: int) -> Polygon:
    """A star of some corners, sometimes with a hole."""
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(5, 12)))
    radii = rng.uniform(5, 12, len(angles))
    shape = Polygon(np.column_stack([radii * np.cos(angles), radii * np.sin(angles)])).buffer(0)
    if shape.geom_type != "Polygon" or shape.is_empty:
        return box(0, 0, 10, 10)
    hole = box(-0.5, -0.5, 0.5, 0.5)
    return shape.difference(hole) if rng.random() < 0.4 and shape.contains(hole) else shape


def outline(shape: Polygon) -> list[list[tuple[float, float]]]:
    return [list(ring.coords) for ring in (shape.exterior, *shape.interiors)]


def to_segment(point: tuple[float, float], start: tuple[float, float], end: tuple[float, float]) -> float:
    """Distance of a point to a segment, by projection."""
    (px, py), (ax, ay), (bx, by) = point, start, end
    length = (bx - ax) ** 2 + (by - ay) ** 2
    share = 0 if length == 0 else min(1, max(0, ((px - ax) * (bx - ax) + (py - ay) * (by - ay)) / length))
    return math.dist(point, (ax + share * (bx - ax), ay + share * (by - ay)))


def to_outline(point: tuple[float, float], shape: Polygon) -> float:
    return min(
        to_segment(point, start, end)
        for ring in outline(shape)
        for start, end in pairwise(ring)
    )  # fmt: skip


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_polis_is_the_mean_distance_of_vertices_to_the_other_outline(one: int, other: int) -> None:
    first, second = blob(one), translate(blob(other), 2, -1)
    sides = []
    for own, foreign in ((first, second), (second, first)):
        vertices = [point for ring in outline(own) for point in ring[:-1]]
        sides.append(sum(to_outline(point, foreign) for point in vertices) / (2 * len(vertices)))
    assert polis_distances(np.array([first]), np.array([second]))[0] == pytest.approx(sum(sides))
    assert count_vertices(np.array([first]))[0] == sum(len(ring) - 1 for ring in outline(first))


def test_polis_of_known_shapes() -> None:
    square = box(0, 0, 10, 10)
    # Vertices of the same square with one more vertex in the middle of an edge, 2 outside: 2 / 5 of one side,
    # and the square's own vertices lie on the other's outline.
    bent = Polygon([(0, 0), (5, -2), (10, 0), (10, 10), (0, 10)])
    pairs = np.array([square] * 3), np.array([square, translate(square, 1, 0), bent])
    assert polis_distances(*pairs) == pytest.approx([0, 0.5, 2 / 5 / 2])


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_hausdorff_is_the_largest_distance_of_dense_points(one: int, other: int) -> None:
    first, second = blob(one), translate(blob(other), 2, -1)
    found = hausdorff_distances(np.array([first]), np.array([second]))[0]
    largest, longest, step = 0.0, 0.0, 0.0
    for own, foreign in ((first, second), (second, first)):
        for ring in outline(own):
            line = LineString(ring)
            step = max(step, line.length / 399)
            points = [line.interpolate(share, normalized=True) for share in np.linspace(0, 1, 400)]
            largest = max(largest, *(point.distance(foreign.boundary) for point in points))
            longest = max(longest, *(math.dist(*pair) for pair in pairwise(ring)))
    assert largest - longest / 40 - 1e-9 <= found <= largest + step / 2


def test_hausdorff_is_found_within_edges_too() -> None:
    notched = Polygon([(0, 0), (10, 0), (10, 10), (9, 10), (9, 5), (1, 5), (1, 10), (0, 10)])
    found = hausdorff_distances(np.array([box(0, 0, 10, 10)]), np.array([notched]))
    assert found[0] == pytest.approx(5)  # from the middle of the notch to the square, though every vertex is nearer


def test_pairs_are_those_of_all_pairs(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = [translate(scale(blob(seed), 1.5, 1), *rng.uniform(0, 300, 2)) for seed in range(60)]
    found = [
        translate(rotate(scale(shape, 1.1, 1), rng.uniform(-20, 20)), *rng.uniform(-3, 3, 2))
        for shape in truth
        if rng.random() < 0.8
    ] + [translate(blob(seed), *rng.uniform(0, 300, 2)) for seed in range(10)]  # fmt: skip
    scores = rng.permutation(len(found)) / 100
    prediction = write(tmp_path / "predicted.gpkg", found, score=scores)
    result = evaluate(prediction, write(tmp_path / "truth.gpkg", truth))
    mine = result.summary()["scores"]
    iou = np.array([[a.intersection(b).area / a.union(b).area for a in truth] for b in found])
    free, pairs = set(range(len(truth))), []
    for guess in np.argsort(-scores):
        best = max(free, key=lambda true: iou[guess, true])
        if iou[guess, best] >= 0.5:
            free.remove(best)
            pairs.append((truth[best], found[guess], iou[guess, best]))
    one, other = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
    assert result.task == "polygons"
    assert (mine["pairs"], mine["true_objects"], mine["predicted_objects"]) == (len(pairs), len(truth), len(found))
    assert mine["precision"] == len(pairs) / len(found)
    assert mine["mean_iou"] == pytest.approx(np.mean([pair[2] for pair in pairs]))
    assert mine["polis"] == pytest.approx(polis_distances(one, other).mean(), rel=1e-6)
    assert mine["hausdorff_median"] == pytest.approx(np.median(hausdorff_distances(one, other)), rel=1e-6)
    assert mine["area_bias"] == pytest.approx(shapely.area(other).sum() / shapely.area(one).sum() - 1)
    assert mine["area_difference"] == pytest.approx((shapely.area(other) - shapely.area(one)).mean())
    assert mine["predicted_vertices"] == pytest.approx(count_vertices(other).mean())
    unions = shapely.union_all(truth), shapely.union_all(found)
    assert mine["area_iou"] == pytest.approx(unions[0].intersection(unions[1]).area / unions[0].union(unions[1]).area)
    assert 0.3 < mine["recall"] < 1
    forced = evaluate(prediction, tmp_path / "truth.gpkg", task="instance").summary()
    assert forced["task"] == "instance"
    assert forced["scores"].items() <= (mine | {"pixels": 0, "compared": None}).items()


def tightest(shape: Polygon) -> float:
    """Angle modulo 90 of the smallest enclosing rectangle: one of its sides lies along an edge of the hull."""
    hull = list(pairwise(shape.convex_hull.exterior.coords))
    angles = [math.degrees(math.atan2(end[1] - start[1], end[0] - start[0])) for start, end in hull]
    turned = (rotate(shape, -angle, origin=(0, 0)).bounds for angle in angles)
    areas = [(right - left) * (top - bottom) for left, bottom, right, top in turned]
    return angles[int(np.argmin(areas))] % 90


@given(st.integers(0, 2**32 - 1), st.floats(-180, 180), st.floats(-180, 180))
def test_rotation_is_that_of_smallest_enclosing_rectangles_modulo_a_right_angle(
    seed: int, one: float, other: float
) -> None:
    width, height, *notch = np.random.default_rng(seed).uniform([4, 4, 1, 1], [20, 20, 3, 3]).tolist()
    ell = box(0, 0, width, height) - box(0, 0, *notch)
    pair = rotate(ell, one), rotate(ell, other)
    (found,) = rotations(*(np.array([shape]) for shape in pair))
    gap = abs(tightest(pair[0]) - tightest(pair[1]))
    assert found == pytest.approx(min(gap, 90 - gap), abs=1e-4)
    assert found == pytest.approx(abs((one - other + 45) % 90 - 45), abs=1e-4)


def test_the_rotation_of_a_layer_is_the_mean_of_its_pairs_in_metres(tmp_path: Path) -> None:
    house = box(0, 0, 20, 10)
    hall = translate(box(0, 0, 20, 18), 60)
    truth, found = [house, hall], [rotate(house, 6), rotate(hall, -88)]
    mine = summary_of(write(tmp_path / "p.gpkg", found, 4326), write(tmp_path / "t.gpkg", truth, 4326))
    assert mine["rotation"] == pytest.approx((6 + 2) / 2, abs=0.05)
    assert mine["rotation_median"] == pytest.approx(4, abs=0.05)
    assert (mine["true_vertices"], mine["predicted_vertices"]) == (4, 4)


@pytest.mark.parametrize("crs", [4326, 3857, 2263])
def test_lengths_and_areas_are_metres_on_the_ground(crs: int, tmp_path: Path) -> None:
    truth, found = [box(0, 0, 20, 30), box(60, 0, 90, 20)], [box(1, 0, 21, 30), box(60, 2, 90, 22)]
    paths = write(tmp_path / "p.gpkg", found, crs), write(tmp_path / "t.gpkg", truth, crs)
    mine = summary_of(*paths)
    geodesic = Geod(ellps="WGS84")
    lonlat = gpd.read_file(paths[1]).to_crs(4326).geometry
    assert mine["true_area"] == pytest.approx(
        sum(abs(geodesic.geometry_area_perimeter(s)[0]) for s in lonlat), rel=1e-5
    )
    assert mine["polis"] == pytest.approx((0.5 + 1) / 2, rel=2e-3)
    assert mine["mean_iou"] == pytest.approx((19 / 21 + 18 / 22) / 2, rel=1e-4)
    assert mine["hausdorff"] == pytest.approx((1 + 2) / 2, rel=2e-3)
    mixed = summary_of(write(tmp_path / "utm.gpkg", found), paths[1])
    assert mixed["polis"] == pytest.approx(mine["polis"], rel=1e-3)


def test_a_crs_in_metres_is_kept(tmp_path: Path) -> None:
    paths = write(tmp_path / "p.gpkg", [box(1, 0, 21, 30)]), write(tmp_path / "t.gpkg", [box(0, 0, 20, 30)])
    mine = summary_of(*paths)
    assert (mine["true_area"], mine["polis"], mine["hausdorff"]) == pytest.approx((600, 0.5, 1), rel=1e-9)


def test_invalid_features_are_counted_and_repaired(tmp_path: Path) -> None:
    bow = Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    prediction = write(tmp_path / "p.gpkg", [bow, box(40, 0, 50, 10)])
    mine = summary_of(prediction, write(tmp_path / "t.gpkg", [box(40, 0, 50, 10), box(0, 0, 5, 5)]))
    assert (mine["predicted_invalid"], mine["true_invalid"], mine["pairs"]) == (1, 0, 1)
    assert mine["predicted_area"] == pytest.approx(50 + 100)


def test_polygons_are_cut_to_the_region_on_both_sides(tmp_path: Path) -> None:
    truth, found = (
        [box(0, 0, 20, 20), box(50, 0, 70, 20), box(200, 0, 220, 20)],
        [box(0, 0, 20, 20), box(60, 0, 80, 20)],
    )
    paths = write(tmp_path / "p.gpkg", found), write(tmp_path / "t.gpkg", truth)
    write(tmp_path / "aoi.geojson", [box(-10, -10, 65, 10)], 4326)
    mine = summary_of(*paths, region=tmp_path / "aoi.geojson")
    assert (mine["true_objects"], mine["predicted_objects"], mine["pairs"]) == (2, 2, 1)
    assert mine["true_area"] == pytest.approx(200 + 150, rel=1e-4)
    assert mine["predicted_area"] == pytest.approx(200 + 50, rel=1e-4)


def test_features_of_classes_that_are_not_asked_for_are_left_out(tmp_path: Path) -> None:
    shapes = [box(0, 0, 20, 20), box(50, 0, 70, 20), box(100, 0, 120, 20)]
    prediction = write(tmp_path / "p.gpkg", shapes, **{"class": [4, 4, 7], "name": ["built", "built", "water"]})
    mine = evaluate(prediction, write(tmp_path / "t.gpkg", shapes[:2]), classes=["built"])
    assert mine.summary()["scores"]["precision"] == 1
    assert mine.notes[0] == "1 objects of other classes, or of none, are left out"
    words = write(tmp_path / "words.gpkg", shapes, kind=["built", "water", None])
    classed = write(tmp_path / "classed.gpkg", shapes, **{"class": ["built", "water", None]})
    result = summary_of(prediction, classed)
    assert evaluate(prediction, words, class_column="kind").summary()["scores"] == result  # the run's is its own
    assert {name: item["pairs"] for name, item in result["classes"].items()} == {"built": 1, "water": 0}
    assert result["true_objects"] == 2


def test_layers_that_cannot_be_measured_are_errors(tmp_path: Path) -> None:
    good = write(tmp_path / "good.gpkg", [box(0, 0, 20, 20)])
    points = write(tmp_path / "points.gpkg", [Point(0, 0)])
    with pytest.raises(EvaluationError, match=r"the prediction .* has features of type Point; give polygons only"):
        evaluate(points, good)
    with pytest.raises(EvaluationError, match=r"features of the truth .* cannot be ignored"):
        evaluate(good, good, ignore=[1])
    bare = tmp_path / "bare.gpkg"
    gpd.GeoDataFrame(geometry=[box(0, 0, 1, 1)]).to_file(bare)
    with pytest.raises(CrsError, match="has no CRS"):
        evaluate(bare, good)
    unsure = write(tmp_path / "unsure.gpkg", [box(0, 0, 20, 20)], score=[None])
    with pytest.raises(EvaluationError, match="without a number in the column 'score'"):
        evaluate(unsure, good)


def test_nothing_on_a_side_is_no_error(tmp_path: Path) -> None:
    good = write(tmp_path / "good.gpkg", [box(0, 0, 20, 20)])
    nothing = tmp_path / "nothing.geojson"
    gpd.GeoDataFrame(geometry=[], crs=4326).to_file(nothing)
    missed, invented = summary_of(nothing, good), summary_of(good, nothing)
    assert (missed["recall"], missed["precision"], missed["polis"]) == (0, None, None)
    assert (invented["recall"], invented["precision"], invented["area_iou"]) == (None, 0, 0)
    assert summary_of(nothing, nothing)["area_iou"] is None


def test_plain_pixels_are_measured_in_pixels(tmp_path: Path) -> None:
    """As a run on a photograph leaves them: y grows upwards, from the photograph's upper left corner."""
    paths = []
    for name, shapes in (("t", [box(10, -30, 30, -10)]), ("p", [box(11, -30, 31, -10)])):
        paths.append(tmp_path / f"{name}.gpkg")
        gpd.GeoDataFrame({"score": [1.0]}, geometry=shapes, crs=PLAIN_PIXELS.to_wkt()).to_file(paths[-1])
    mine = summary_of(paths[1], paths[0])
    assert (mine["polis"], mine["length_unit"], mine["size_unit"]) == (pytest.approx(0.5), "px", "px")
    truth = np.zeros((50, 60), np.uint16)
    truth[10:30, 10:30] = 1
    nowhere = write_raster(tmp_path / "truth.tif", truth, crs=None, transform=None)
    plain = write_raster(tmp_path / "plain.tif", truth, crs=PLAIN_PIXELS.to_wkt(), transform=UPRIGHT)
    on_grid = [summary_of(paths[1], raster) for raster in (nowhere, plain)]
    assert on_grid[0] == on_grid[1]
    assert (on_grid[0]["mean_iou"], on_grid[0]["size_unit"]) == (pytest.approx(19 / 21), "px")
    assert summary_of(plain, nowhere)["mean_iou"] == 1
    with pytest.raises(CrsError, match="cannot be projected to"):
        evaluate(paths[1], write(tmp_path / "utm.gpkg", [box(0, 0, 20, 20)]))
