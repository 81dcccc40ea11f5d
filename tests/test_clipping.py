"""Features cut to a region, against GEOS with the whole region at once."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import CRS

from geoseg.errors import VectorError
from geoseg.vector import Region, clip_features, clipping

UTM = CRS("EPSG:32618")


def coverage(rng: np.random.Generator, cells: int, degrees: bool, loose: float, turn: float) -> NDArray[np.object_]:
    """Quadrangles that share all their edges, somewhere in UTM or in degrees; squares where they are not loose."""
    left, bottom, scale = (-76.1234, 37.4567, 1e-4 / 3) if degrees else (400_123.4, 4_100_567.8, 10.0)
    y, x = np.mgrid[: cells + 1, : cells + 1] + rng.uniform(-loose, loose, (2, cells + 1, cells + 1))
    x, y = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    corners = np.stack([left + scale * x, bottom + scale * y], axis=-1)
    rings = [corners[:-1, :-1], corners[:-1, 1:], corners[1:, 1:], corners[1:, :-1], corners[:-1, :-1]]
    return shapely.polygons(np.stack(rings, axis=2).reshape(-1, 5, 2))


def outline(rng: np.random.Generator, polygons: NDArray[np.object_], corners: int, reach: float) -> shapely.Geometry:
    """A star around the middle, with edges much longer than the polygons, and a hole."""
    left, bottom, right, top = shapely.total_bounds(polygons)
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    radius = rng.uniform(0.2, reach, corners) * (right - left)
    x, y = (left + right) / 2 + radius * np.cos(angles), (bottom + top) / 2 + radius * np.sin(angles)
    hole = shapely.Point(x.mean(), y.mean()).buffer((right - left) / 9)
    star = shapely.make_valid(shapely.Polygon(np.column_stack([x, y]))) - hole
    parts = shapely.get_parts(shapely.get_parts(star))
    return shapely.multipolygons(parts[shapely.get_type_id(parts) == 3])


def table_of(polygons: NDArray[np.object_]) -> pa.Table:
    wkb = pa.array(shapely.to_wkb(polygons), pa.binary())
    return pa.table(
        {"class": np.arange(len(polygons)), "geometry": wkb, "name": [str(i) for i in range(len(polygons))]}
    )


def shapes(table: pa.Table) -> NDArray[np.object_]:
    return shapely.from_wkb(table["geometry"].to_numpy())


@st.composite
def maps(draw: st.DrawFn) -> tuple[NDArray[np.object_], Region]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    loose, turn = draw(st.sampled_from([(0.0, 0.0), (0.3, 0.0), (0.3, 0.7), (0.3, 1.5)]))
    polygons = coverage(rng, draw(st.integers(1, 12)), draw(st.booleans()), loose, turn)
    shape = outline(rng, polygons, draw(st.integers(3, 60)), draw(st.sampled_from([0.6, 2.0, 30.0])))
    return polygons, Region(shape, UTM)


@pytest.fixture(autouse=True, scope="module")
def _small_limits() -> object:
    """Outlines of these tests are small; without this none would be cut apart."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clipping, "VERTICES", 4)
        patch.setattr(clipping, "POLYGONS", 1)
        yield


@given(maps())
def test_each_feature_is_cut_as_geos_cuts_it_with_the_whole_region(case: tuple[NDArray[np.object_], Region]) -> None:
    polygons, region = case
    clipped, is_part = clip_features(table_of(polygons), region)
    assert len(clipped) == len(is_part)
    expected = shapely.intersection(polygons, region.geometry)
    source = clipped["class"].to_numpy()
    assert (np.diff(source) >= 0).all()
    assert clipped["name"].to_pylist() == [str(number) for number in source]
    assert (shapely.get_type_id(shapes(clipped)) == 3).all()
    for number in range(len(polygons)):
        here = shapes(clipped)[source == number]
        parts = shapely.get_parts(shapely.get_parts(expected[number]))
        parts = parts[(shapely.get_type_id(parts) == 3) & (shapely.area(parts) > 1e-6 * polygons[number].area)]
        larger = here[shapely.area(here) > 1e-6 * polygons[number].area]
        assert {shapely.to_wkb(shapely.normalize(part)) for part in larger} == {
            shapely.to_wkb(shapely.normalize(part)) for part in parts
        }


@given(maps())
def test_what_lies_inside_stays_bit_for_bit(case: tuple[NDArray[np.object_], Region]) -> None:
    polygons, region = case
    table = table_of(polygons)
    clipped, is_part = clip_features(table, region)
    inside = shapely.covers(region.geometry, polygons)
    assert clipped.filter(pa.array(~is_part)) == table.filter(pa.array(inside))
    assert not np.isin(clipped["class"].to_numpy()[is_part], np.flatnonzero(inside)).any()


@given(maps())
def test_a_coverage_stays_one_and_fills_the_region(case: tuple[NDArray[np.object_], Region]) -> None:
    polygons, region = case
    parts = shapes(clip_features(table_of(polygons), region)[0])
    assert shapely.is_valid(parts).all()
    assert shapely.is_ccw(shapely.get_exterior_ring(parts)).all()
    assert shapely.coverage_is_valid(parts)
    whole = shapely.union_all(polygons)
    assert shapely.area(parts).sum() == pytest.approx(whole.intersection(region.geometry).area, abs=1e-9 * whole.area)


@given(maps(), st.integers(0, 144))
def test_features_are_cut_in_the_same_way_whatever_comes_with_them(
    case: tuple[NDArray[np.object_], Region], cut: int
) -> None:
    polygons, region = case
    table = table_of(polygons)
    whole, is_part = clip_features(table, region)
    halves = [clip_features(half, region) for half in (table.slice(0, cut), table.slice(min(cut, len(table))))]
    assert pa.concat_tables([half for half, _ in halves]) == whole
    assert np.concatenate([flags for _, flags in halves]).tolist() == is_part.tolist()


def test_a_feature_in_several_parts_becomes_several_features() -> None:
    comb = shapely.union_all([shapely.box(0, 0, 9, 1), *(shapely.box(x, 0, x + 1, 5) for x in (0, 4, 8))])
    clipped, is_part = clip_features(table_of(np.array([comb])), Region(shapely.box(-1, 2, 10, 9), UTM))
    assert clipped["class"].to_pylist() == [0, 0, 0]
    assert is_part.all()
    assert sorted(part.bounds for part in shapes(clipped)) == [(0, 2, 1, 5), (4, 2, 5, 5), (8, 2, 9, 5)]


def test_what_only_touches_the_region_vanishes() -> None:
    neighbours = np.array([shapely.box(10, 0, 20, 10), shapely.box(10, 10, 20, 20), shapely.box(50, 50, 60, 60)])
    clipped, is_part = clip_features(table_of(neighbours), Region(shapely.box(0, 0, 10, 10), UTM))
    assert (len(clipped), len(is_part)) == (0, 0)
    assert clipped.schema == table_of(neighbours).schema


def test_slivers_of_rounding_vanish_and_thin_ground_stays() -> None:
    region = Region(shapely.box(400_000, 4_100_000, 400_100, 4_100_100), UTM)
    rounding = shapely.box(400_100 - 1e-9, 4_100_000, 400_110, 4_100_010)
    thin = shapely.box(400_100 - 1e-3, 4_100_010, 400_110, 4_100_020)
    clipped, _ = clip_features(table_of(np.array([rounding, thin])), region)
    assert clipped["class"].to_pylist() == [1]


def test_an_invalid_feature_is_repaired_where_it_is_cut() -> None:
    bow_tie = shapely.Polygon([(0, 0), (4, 4), (4, 0), (0, 4)])
    clipped, _ = clip_features(table_of(np.array([bow_tie])), Region(shapely.box(-1, -1, 3, 9), UTM))
    assert shapely.is_valid(shapes(clipped)).all()
    assert shapely.area(shapes(clipped)).sum() == pytest.approx(4 + 1)


def test_a_feature_without_geometry_is_refused() -> None:
    table = pa.table({"class": [1], "geometry": pa.nulls(1, pa.binary())})
    with pytest.raises(VectorError, match="no geometry"):
        clip_features(table, Region(shapely.box(0, 0, 1, 1), UTM))
