"""Faces of arrays and of blocks that are joined: against GDAL over the whole raster, and against one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import rasterio.features
import scipy.ndimage
import shapely
import shapely.geometry
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.arcs.parts import number_parts, sheltered_pixels
from geoseg.arcs.scanning import scan
from geoseg.arcs.sieving import lengths_of
from geoseg.grid import Window
from geoseg.mapping_unit import MappingUnit
from geoseg.vectorize import (
    Faces,
    Holes,
    Least,
    Metric,
    Piece,
    Shaping,
    Simplification,
    features,
    join,
    polygonize,
    reach_of,
    trace,
    tracing,
)
from tests.strategies import cuts, label_maps, nested

Labels = NDArray[np.uint8]
NODATA = 255


@pytest.fixture(autouse=True)
def near_cutting_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines so near that small maps have many of them."""
    monkeypatch.setattr(tracing, "CELL", 5)


def corners(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """A closed ring of right angles without its collinear vertices, not closed."""
    ring = ring[:-1]
    straight = (ring == np.roll(ring, 1, 0)) & (ring == np.roll(ring, -1, 0))
    return ring[~straight.any(axis=1)]


def comparable(label: int, polygon: shapely.Polygon) -> tuple[int, bytes]:
    rings = [corners(np.array(ring.coords)) for ring in (polygon.exterior, *polygon.interiors)]
    return int(label), shapely.normalize(shapely.Polygon(rings[0], rings[1:])).wkb


def gdal_polygons(labels: NDArray[Any], mask: NDArray[np.bool_]) -> set[tuple[int, bytes]]:
    """One pass of GDAL for each class over the whole raster."""
    return {
        comparable(int(label), shapely.geometry.shape(polygon))
        for label in np.unique(labels[mask])
        for polygon, _ in rasterio.features.shapes(
            (labels == label).astype(np.uint8), mask=(labels == label) & mask, connectivity=4
        )
    }


def polygons_of(faces: Faces) -> set[tuple[int, bytes]]:
    return {comparable(label, polygon) for label, polygon in zip(faces.label, faces.geometry, strict=True)}


def assert_same(one: Faces, other: Faces) -> None:
    for name in ("label", "pixels", "confidence_sum", "key", "group"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in ("xy", "rings", "polygons"):
        np.testing.assert_array_equal(getattr(one.rings, name), getattr(other.rings, name))


def confidence_of(labels: Labels) -> Labels:
    return np.random.default_rng(labels.size).integers(0, 256, labels.shape).astype(np.uint8)


def blocked(
    labels: Labels, rows: Sequence[int], cols: Sequence[int], shaping: Shaping, group: int = 2, skips: bool = False
) -> Faces:
    """Trace in blocks, or in those with labels in or beside them, and join neighbours until one piece is left."""
    confidence, found = confidence_of(labels), []
    level: dict[tuple[int, int], Piece] = {}
    for row, (top, bottom) in enumerate(pairwise(rows)):
        for col, (left, right) in enumerate(pairwise(cols)):
            core = Window(top, left, bottom - top, right - left)
            part = reach_of(core).slices()
            near = labels[part[0].start : bottom + 1, part[1].start : right + 1]
            if skips and (row or col) and (near == NODATA).all():
                continue
            faces, piece = trace(labels[part], confidence[part], core, labels.shape, shaping)
            found.append(faces)
            level[row, col] = Piece.from_arrays(piece.to_arrays())
    while len(rows) > 2 or len(cols) > 2:
        groups: dict[tuple[int, int], list[Piece]] = {}
        for (row, col), piece in level.items():
            groups.setdefault((row // group, col // group), []).append(piece)
        rows, cols, level = grouped(rows, group), grouped(cols, group), {}
        for place, members in groups.items():
            (top, bottom), (left, right) = (pair[i : i + 2] for pair, i in zip((rows, cols), place, strict=True))
            faces, level[place] = join(members, Window(top, left, bottom - top, right - left), shaping)
            found.append(faces)
    (rest,) = level.values()
    assert (len(rest.arcs), len(rest.nodes), len(rest.parts), len(rest.guard_x)) == (0, 0, 0, 0)
    return Faces.concatenate(found)


def grouped(starts: Sequence[int], group: int) -> Sequence[int]:
    return (*starts[:-1:group], starts[-1])


shapings = st.builds(
    Shaping,
    metric=st.sampled_from([Metric.of(Affine.identity()), Metric(10, 3, 2, -8), Metric(1, 0, 0, 3)]),
    simplification=st.builds(
        Simplification,
        st.sampled_from([0.0, 0.8, 1.0, 1.5, 2.5, 12.0]),
        st.sampled_from(["douglas-peucker", "visvalingam-whyatt"]),
        st.sampled_from([None, "chaikin"]),
    ),
    max_vertices=st.sampled_from([None, None, 60, 12]),
    connectivity=st.sampled_from([4, 4, 8]),
    holes=st.sampled_from([None, None, Holes(3.0), Holes(40.0)]),
    least=st.sampled_from([None, Least(MappingUnit(6)), Least(MappingUnit(25, ((1, 1), (2, 60))))]),
)


@given(label_maps())
def test_faces_are_the_polygons_that_gdal_finds_class_by_class(labels: Labels) -> None:
    assert polygons_of(polygonize(labels)) == gdal_polygons(labels, labels != NODATA)


@given(label_maps(), st.sampled_from([np.int8, np.uint16, np.int32, np.int64, np.uint32]))
def test_integers_of_any_type_are_labels(labels: Labels, dtype: type) -> None:
    wide = labels.astype(np.int64) % 7 - 3
    mask = labels != NODATA
    if np.dtype(dtype).kind == "u":
        wide += 3 + 60_000
    if dtype == np.int64:
        wide *= 2**60
    wide = wide.astype(dtype)
    assert polygons_of(polygonize(wide, mask=mask, nodata=None)) == gdal_polygons(wide, mask)


def test_bytes_that_use_every_value_have_no_nodata_and_lose_none() -> None:
    labels = np.random.default_rng(0).permutation(256).astype(np.uint8).reshape(16, 16)
    faces = polygonize(labels, nodata=None)
    assert sorted(faces.label) == list(range(256))


@given(label_maps())
def test_only_the_wanted_classes_become_faces(labels: Labels) -> None:
    faces = polygonize(labels, classes=[1, 3])
    assert polygons_of(faces) == gdal_polygons(labels, np.isin(labels, [1, 3]))


@given(label_maps(), shapings)
def test_polygons_are_valid_and_tile_the_plane_without_gaps_and_overlaps(labels: Labels, shaping: Shaping) -> None:
    faces = polygonize(labels, shaping=shaping)
    assert shapely.is_valid(faces.geometry).all()
    assert len(faces) == 0 or shapely.coverage_is_valid(faces.geometry)
    united = shapely.union_all(faces.geometry)
    assert shapely.area(faces.geometry).sum() == pytest.approx(united.area, rel=1e-9)


@given(label_maps(), shapings)
def test_a_raster_without_nodata_keeps_its_area_whatever_is_removed(labels: Labels, shaping: Shaping) -> None:
    labels = np.where(labels == NODATA, 0, labels).astype(np.uint8)
    faces = polygonize(labels, shaping=shaping)
    assert faces.pixels.sum() == labels.size
    assert shapely.area(faces.geometry).sum() == pytest.approx(labels.size, rel=1e-12)


@settings(max_examples=200)
@given(label_maps(), shapings, st.sampled_from([2, 9, 40]))
def test_no_polygon_falls_below_the_minimum_by_simplification(labels: Labels, shaping: Shaping, least: int) -> None:
    unit = MappingUnit(least, ((2, 2 * least),))
    faces = polygonize(labels, shaping=replace(shaping, max_vertices=None, least=Least(unit)))
    expected = np.minimum(unit.of(faces.label), faces.pixels)
    assert (shapely.area(faces.geometry) >= expected * (1 - 1e-9)).all()


def test_an_island_waits_for_ground_that_may_be_too_small_and_not_for_ground_that_is_large() -> None:
    """A notch in each side of a square is filled, so the ground loses."""
    y, x = np.abs(np.mgrid[-32:32, -32:32])
    square, frame = (np.maximum(x, y) <= 3) & (np.abs(x - y) != 3), np.maximum(x, y) > 9
    shaping = Shaping(simplification=Simplification(1.5), least=Least(MappingUnit(40)))
    labels = np.zeros((128, 64), np.uint8)
    labels[:64][square] = 1
    core = Window(0, 0, 64, 64)
    faces, _ = trace(labels[:64], None, core, labels.shape, shaping)
    assert faces.label.tolist() == [1]
    assert shapely.area(faces.geometry)[0] > faces.pixels[0]
    labels[:64][frame] = 2
    labels[40:68, 31] = 0  # so the ground goes on below
    faces, piece = trace(labels[:64], None, core, labels.shape, shaping)
    assert len(faces) == 0
    assert piece.arcs.is_waiting.any()


def test_large_faces_that_are_known_early_change_nothing() -> None:
    fields = np.random.default_rng(5).random((3, 130, 150))
    fields = scipy.ndimage.gaussian_filter(fields, (0, 8, 8)) + 0.004 * fields
    labels = fields.argmax(0).astype(np.uint8)
    shaping = Shaping(simplification=Simplification(1.5, smoothing="chaikin"), least=Least(MappingUnit(30)))
    whole = polygonize(labels, confidence=confidence_of(labels), shaping=shaping)
    one, _ = trace(labels[:90], None, Window(0, 0, 90, 150), labels.shape, shaping)
    assert len(one) > 0
    assert_same(blocked(labels, (0, 20, 90, 130), (0, 75, 150), shaping), whole)


@given(label_maps(), st.integers(1, 3))
def test_pixels_out_of_reach_are_at_least_as_far_from_other_labels_and_from_the_outside(
    labels: Labels, margin: int
) -> None:
    labels = labels.repeat(4, 0).repeat(4, 1)
    runs, _ = scan(labels, NODATA, *(np.zeros(size, np.uint8) for size in labels.shape))
    part, face = number_parts(runs, labels, NODATA, np.zeros(len(labels), np.uint8))
    found = sheltered_pixels(runs.start, runs.rows, runs.width, part, len(face), margin)
    padded = np.pad(labels.astype(int), 1, constant_values=NODATA)
    distance = np.zeros(padded.shape)
    for label in np.unique(labels[labels != NODATA]):
        inside = padded == label
        distance[inside] = scipy.ndimage.distance_transform_cdt(inside)[inside]
    of_pixel = np.repeat(part, lengths_of(runs)).reshape(labels.shape)
    far = np.bincount(of_pixel[(distance[1:-1, 1:-1] > margin) & (of_pixel >= 0)], minlength=len(face))
    assert (found <= far).all()


@given(label_maps())
def test_sums_and_keys_are_those_of_the_pixels(labels: Labels) -> None:
    confidence = confidence_of(labels)
    faces = polygonize(labels, confidence=confidence)
    for face in range(len(faces)):
        inside = rasterio.features.rasterize([faces.geometry[face]], labels.shape).astype(bool)
        assert np.unique(labels[inside]).tolist() == [faces.label[face]]
        assert (inside.sum(), confidence[inside].sum()) == (faces.pixels[face], faces.confidence_sum[face])
        assert np.flatnonzero(inside)[0] == faces.key[face]


@given(label_maps(), shapings)
def test_rings_are_canonical(labels: Labels, shaping: Shaping) -> None:
    faces = polygonize(labels, shaping=shaping)
    rings = faces.rings
    for polygon in range(len(rings)):
        starts = []
        for ring in range(rings.polygons[polygon], rings.polygons[polygon + 1]):
            xy = rings.xy[rings.rings[ring] : rings.rings[ring + 1]]
            assert (xy[0] == xy[-1]).all()
            assert min((y, x) for x, y in xy.tolist()) == (xy[0, 1], xy[0, 0])
            is_exterior = ring == rings.polygons[polygon]
            # Rows go down, so a ring that GEOS calls clockwise runs counter-clockwise on a screen.
            assert shapely.is_ccw(shapely.linearrings(xy)) == (not is_exterior)
            starts.append((float(xy[0, 1]), float(xy[0, 0])))
        assert starts[1:] == sorted(starts[1:])
    assert (np.diff(faces.group) >= 0).all()
    assert len(np.unique(faces.key)) == len(faces)


@settings(max_examples=100)
@given(st.data(), label_maps(), shapings, st.integers(2, 4))
def test_blocks_of_any_layout_give_the_faces_of_one_array_vertex_for_vertex(
    data: st.DataObject, labels: Labels, shaping: Shaping, group: int
) -> None:
    rows, cols = data.draw(cuts(labels.shape[0])), data.draw(cuts(labels.shape[1]))
    whole = polygonize(labels, confidence=confidence_of(labels), shaping=shaping)
    assert_same(blocked(labels, rows, cols, shaping, group), whole)


@given(label_maps(), st.data(), shapings, st.sampled_from([2, 3]))
def test_blocks_of_nodata_alone_change_nothing_when_they_are_left_out(
    labels: Labels, data: st.DataObject, shaping: Shaping, group: int
) -> None:
    labels = np.where(data.draw(st.booleans()) & (labels == 0), NODATA, labels).astype(np.uint8)
    rows, cols = data.draw(cuts(labels.shape[0])), data.draw(cuts(labels.shape[1]))
    whole = polygonize(labels, confidence=confidence_of(labels), shaping=shaping)
    assert_same(blocked(labels, rows, cols, shaping, group, skips=True), whole)


def test_a_hole_with_a_polygon_far_from_its_edge_stays() -> None:
    labels = np.full((20, 20), 3, np.uint8)
    labels[4:16, 4:16], labels[6:14, 6:14], labels[9:11, 9:11] = 1, NODATA, 1
    for skips in (False, True):
        for step in (1, 3, 5, 20):
            starts = (*range(0, 20, step), 20)
            faces = blocked(labels, starts, starts, Shaping(holes=Holes(1_000.0)), skips=skips)
            assert shapely.area(faces.geometry).tolist() == [20 * 20 - 12 * 12, 12 * 12 - 8 * 8, 4]
    labels[9:11, 9:11] = NODATA
    faces = polygonize(labels, shaping=Shaping(holes=Holes(1_000.0)))
    assert shapely.area(faces.geometry).tolist() == [20 * 20 - 12 * 12, 12 * 12]


@pytest.mark.parametrize("tolerance", [0.0, 2.0])
@pytest.mark.parametrize("block", [(1, 90), (70, 1), (7, 5), (16, 16), (64, 64)])
def test_larger_maps_are_the_same_in_blocks(block: tuple[int, int], tolerance: float) -> None:
    rng = np.random.default_rng(0)
    coarse = rng.random((20, 24, 5)).repeat(4, 0).repeat(4, 1)[:70, :90]
    labels = (coarse + 0.3 * rng.random((70, 90, 5))).argmax(2).astype(np.uint8)
    shaping = Shaping(simplification=Simplification(tolerance), max_vertices=400)
    rows, cols = (*range(0, 70, block[0]), 70), (*range(0, 90, block[1]), 90)
    whole = polygonize(labels, confidence=confidence_of(labels), shaping=shaping)
    assert_same(blocked(labels, rows, cols, shaping, 4), whole)


@settings(max_examples=200)
@given(label_maps() | label_maps(kinds=[nested]), st.sampled_from([1.5, 4.0, 1000.0]))
def test_holes_without_a_face_below_an_area_are_filled_and_no_others(labels: Labels, least: float) -> None:
    """A hole is an area of nodata that no raster's edge and only one face is beside, seen pixel by pixel."""
    labels = np.where(labels == 2, NODATA, labels).astype(np.uint8)
    before, after = polygonize(labels), polygonize(labels, shaping=Shaping(holes=Holes(least)))
    for label, old, new in zip(before.label, before.geometry, after.geometry, strict=True):
        holes = [shapely.Polygon(ring) for ring in old.interiors]
        ground = rasterio.features.rasterize([old], labels.shape, fill=0).astype(bool)
        kept = []
        for hole in holes:
            inside = rasterio.features.rasterize([hole], labels.shape).astype(bool)
            assert not (inside & ground).any() and label != NODATA
            if hole.area >= least or (labels[inside] != NODATA).any():
                kept.append(hole.exterior)
        assert shapely.normalize(new) == shapely.normalize(shapely.Polygon(old.exterior, kept))


@given(label_maps())
def test_faces_that_touch_at_a_corner_are_one_feature_when_asked_for(labels: Labels) -> None:
    faces = polygonize(labels, shaping=Shaping(connectivity=8))
    found = features(faces, Affine.identity(), "EPSG:32618", {})
    expected = []
    for value in np.unique(labels[labels != NODATA]):
        numbered, count = scipy.ndimage.label(labels == value, structure=np.ones((3, 3)))
        for number in range(1, count + 1):
            places = np.flatnonzero(numbered == number)
            expected.append((places[0], int(value), len(places)))
    rows = [found.column(name).to_pylist() for name in ("key", "class", "pixels")]
    assert list(zip(*rows, strict=True)) == sorted(expected)
    geometry = shapely.from_wkb(found.column("geometry").to_numpy(zero_copy_only=False))
    assert shapely.is_valid(geometry).all()
    assert shapely.area(geometry).tolist() == rows[2]


def test_a_side_without_any_boundary_joins_its_blocks() -> None:
    faces = blocked(np.zeros((9, 12), np.uint8), [0, 3, 6, 9], [0, 4, 8, 12], Shaping())
    assert faces.pixels.tolist() == [108]
    assert faces.rings.xy.tolist() == [[0, 0], [0, 9], [12, 9], [12, 0], [0, 0]]


def test_a_face_with_too_many_vertices_is_cut_along_lines_of_the_raster_and_only_that() -> None:
    labels = np.zeros((12, 12), np.uint8)
    labels[::2, 1:11:2] = 1  # forty-two corners on the border of the one face of zeros, and many more inside
    whole = polygonize(labels, shaping=Shaping(max_vertices=1_000))
    cut = polygonize(labels, shaping=Shaping(max_vertices=100))
    assert (whole.label == 0).sum() == 1
    zeros = cut.take(np.flatnonzero(cut.label == 0))
    assert len(zeros) == 9
    for polygon in zeros.geometry:
        left, top, right, bottom = polygon.bounds
        assert left // 5 == (right - 1) // 5
        assert top // 5 == (bottom - 1) // 5
    assert polygons_of(cut.take(np.flatnonzero(cut.label == 1))) == polygons_of(
        whole.take(np.flatnonzero(whole.label == 1))
    )
    assert shapely.coverage_is_valid(cut.geometry)


def test_without_a_limit_no_line_leaves_a_trace() -> None:
    labels = np.zeros((12, 12), np.uint8)
    assert len(polygonize(labels).rings.xy) == 5


def test_no_pixels_and_no_labels_are_no_faces() -> None:
    assert len(polygonize(np.empty((0, 5), np.uint8))) == 0
    assert len(polygonize(np.full((4, 5), NODATA, np.uint8))) == 0
