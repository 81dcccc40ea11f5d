"""Smoothed arcs: against shapely for what a map must stay, and against Chaikin's own corner cutting."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.arcs.chains import Chains
from geoseg.arcs.guard import VertexIndex
from geoseg.arcs.metric import Metric
from geoseg.arcs.simplification import Method, Simplification, simplify
from geoseg.arcs.smoothing import AREA_SHARE, FLATNESS, draw_curves, round_corners
from geoseg.arcs.smoothing import UNIT as CORNER_UNIT
from tests.test_simplification import (
    METHODS,
    TOLERANCES,
    UNIT,
    Labels,
    Polyline,
    arcs_of,
    exactly_near,
    maps,
    segments_of,
    to_arcs,
    to_chains,
)

Lines = list[NDArray[np.float64]]
METRICS = st.sampled_from([UNIT, Metric(0.5, 0, 0, -2), Metric(2, 1, -1, 2)])
LARGE = st.one_of(TOLERANCES, st.just(1000.0))


def rounded(
    chains: Chains,
    keep: list[int],
    tolerance: float,
    metric: Metric = UNIT,
    method: Method = "douglas-peucker",
    index: VertexIndex | None = None,
    chosen: NDArray[np.bool_] | None = None,
) -> tuple[Chains, Lines]:
    """Simplify and smooth all arcs of a map; the simplified ones, and the curves."""
    is_closed = np.array(
        [arc[0] == arc[-1] and len(arc) > 1 and is_alone(arc, chains) for arc in to_arcs(chains)], bool
    )
    index = index or VertexIndex.of(chains.x, chains.y)
    chosen = np.ones(len(chains), bool) if chosen is None else chosen
    how = Simplification(tolerance, method, "chaikin")
    simple = simplify(chains, chosen, np.array(keep, np.uint8), index, metric, how)
    simple = round_corners(chains, simple, chosen, is_closed, index, metric, tolerance)
    offsets, x, y = draw_curves(simple, is_closed, np.ones(len(chains), bool))
    xy = np.stack([x, y], axis=1)
    return simple, [xy[a:b] for a, b in pairwise(offsets.tolist())]


def is_alone(arc: Polyline, chains: Chains) -> bool:
    """Whether no other arc comes to the start of a closed one."""
    return ((chains.x == arc[0][0]) & (chains.y == arc[0][1])).sum() == 2


def twice_area(line: NDArray[np.float64]) -> float:
    """Twice the signed area between a line and its chord."""
    x, y = (line - line[0]).T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum())


@pytest.mark.parametrize("method", METHODS)
@given(labels=maps(), tolerance=LARGE, metric=METRICS)
def test_no_two_curves_cross_touch_or_collapse(
    labels: Labels, tolerance: float, metric: Metric, method: Method
) -> None:
    """The union of all edges would have more parts if some crossed, and fewer if some fell together."""
    arcs, keep = arcs_of(labels)
    _, curves = rounded(to_chains(arcs), keep, tolerance, metric, method)
    edges = segments_of([[(x, y) for x, y in curve.tolist()] for curve in curves])
    assert len(shapely.get_parts(shapely.unary_union(edges))) == len(edges)


@given(labels=maps(), tolerance=LARGE, metric=METRICS)
def test_faces_stay_as_many_and_a_valid_coverage(labels: Labels, tolerance: float, metric: Metric) -> None:
    arcs, keep = arcs_of(labels)
    _, curves = rounded(to_chains(arcs), keep, tolerance, metric)
    before = shapely.get_parts(shapely.polygonize(segments_of(arcs)))
    after = shapely.get_parts(shapely.polygonize([shapely.LineString(curve) for curve in curves]))
    assert len(after) == len(before)
    assert shapely.is_valid(after).all() and shapely.coverage_is_valid(after)
    assert shapely.area(after).sum() == pytest.approx(labels.size)


@given(labels=maps(), tolerance=TOLERANCES, metric=METRICS)
def test_a_curve_is_within_the_tolerance_of_its_arc_and_ends_in_its_nodes(
    labels: Labels, tolerance: float, metric: Metric
) -> None:
    arcs, keep = arcs_of(labels)
    simple, curves = rounded(to_chains(arcs), keep, tolerance, metric)
    linear = np.array([[metric.a, metric.d], [metric.b, metric.e]])
    for arc, curve in zip(to_arcs(simple), curves, strict=True):
        one, other = shapely.LineString(np.array(arc) @ linear), shapely.LineString(curve @ linear)
        assert shapely.hausdorff_distance(one, other, densify=0.2) <= tolerance * (1 + 1e-9)
        if arc[0] != arc[-1]:
            assert curve[[0, -1]].tolist() == [list(arc[0]), list(arc[-1])]
        else:
            assert (curve[0] == curve[-1]).all()


@given(labels=maps(), tolerance=LARGE, metric=METRICS)
def test_no_more_than_a_share_of_what_an_arc_cuts_off_changes_sides(
    labels: Labels, tolerance: float, metric: Metric
) -> None:
    """Of an island that is a share of its area. Curves begin at whole parts of an edge, which is not balanced."""
    arcs, keep = arcs_of(labels)
    simple, curves = rounded(to_chains(arcs), keep, tolerance, metric)
    for arc, curve in zip(to_arcs(simple), curves, strict=True):
        before, edges = twice_area(np.array(arc, float)), np.hypot(*np.diff(arc, axis=0).T)
        rounding = (edges * np.roll(edges, 1)).sum() / CORNER_UNIT
        assert abs(twice_area(curve) - before) <= AREA_SHARE * abs(before) + rounding


@pytest.mark.parametrize("tolerance", [0.5, 2.0, 5.0])
def test_all_corners_of_an_island_are_rounded(tolerance: float) -> None:
    island = np.zeros((30, 30), np.uint8)
    island[5:25, 5:25] = 1
    arcs, keep = arcs_of(island)
    _, curves = rounded(to_chains(arcs), keep, tolerance)
    assert max(len(curve) for curve in curves) == 4 * 5 + 1


def test_a_curve_is_where_chaikins_corner_cutting_ends() -> None:
    """An arc that turns left as often as right, of equal edges, among nothing else: nothing holds its curve back."""
    line = np.array([(0, 0), (40, 0), (40, 40), (80, 40), (80, 80), (120, 80)])
    chains = to_chains([[(int(x), int(y)) for x, y in line]])
    simple = round_corners(
        chains, chains, np.ones(1, bool), np.zeros(1, bool), VertexIndex.of(chains.x, chains.y), UNIT, 30.0
    )
    assert simple.corners[2:-2].tolist() == [[512, 512, 4]] * 2
    _, x, y = draw_curves(simple, np.zeros(1, bool), np.ones(1, bool))
    cut = line.astype(float)
    for _ in range(8):
        cut = np.concatenate([(3 * cut[:-1] + cut[1:], cut[:-1] + 3 * cut[1:])]).transpose(1, 0, 2).reshape(-1, 2) / 4
    expected = shapely.LineString(cut)
    inner = shapely.points(np.stack([x, y], axis=1)[4:-4])
    assert len(inner) > 6
    assert shapely.distance(inner, expected).max() < 0.02


@given(labels=maps(), tolerance=TOLERANCES, shift=st.sampled_from([(-7, 3), (99_991, 1_000_003), (2**30, -(2**30))]))
def test_a_curve_is_the_same_bits_wherever_the_arc_lies(
    labels: Labels, tolerance: float, shift: tuple[int, int]
) -> None:
    arcs, keep = arcs_of(labels)
    dx, dy = shift
    _, here = rounded(to_chains(arcs), keep, tolerance)
    _, there = rounded(to_chains([[(x + dx, y + dy) for x, y in arc] for arc in arcs]), keep, tolerance)
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(other - np.array([dx, dy]), one)


@given(labels=maps(), tolerance=TOLERANCES, metric=METRICS, seed=st.integers(0, 99))
def test_vertices_within_reach_are_all_that_curves_need(
    labels: Labels, tolerance: float, metric: Metric, seed: int
) -> None:
    arcs, keep = arcs_of(labels)
    chains = to_chains(arcs)
    chosen = np.random.default_rng(seed).random(len(arcs)) < 0.3
    reach = metric.reach(Simplification(tolerance, smoothing="chaikin").reach)
    near = exactly_near(chains.x, chains.y, arcs, chosen, (None,) * 4, reach)
    _, expected = rounded(chains, keep, tolerance, metric, chosen=chosen)
    part = VertexIndex.of(chains.x[near], chains.y[near])
    _, found = rounded(chains, keep, tolerance, metric, index=part, chosen=chosen)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_gentle_corners_that_hardly_turn_stay() -> None:
    chains = to_chains([[(0, 0), (100, 1), (200, 0)]])
    index = VertexIndex.of(chains.x, chains.y)
    arguments = chains, chains, np.ones(1, bool), np.zeros(1, bool), index, UNIT
    assert not round_corners(*arguments, 1 / FLATNESS).corners.any()
    assert round_corners(*arguments, 0.5).corners[1].all()
