"""Simplified arcs, against naive versions in exact fractions, and against shapely for what a map must stay."""

from __future__ import annotations

import math
import time
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from geoseg.arcs.chains import Chains
from geoseg.arcs.guard import CELL, VertexIndex, vertices_near
from geoseg.arcs.hulls import is_clear
from geoseg.arcs.metric import Gram, Metric, squared_distance
from geoseg.arcs.simplification import Method, Simplification, simplify
from geoseg.errors import WorkflowError

Labels = NDArray[np.uint8]
Point = tuple[int, int]
Polyline = list[Point]

UNIT = Metric(1, 0, 0, -1)
FREE, TWIN, CLOSED = 0, 1, 2
METHODS: list[Method] = ["douglas-peucker", "visvalingam-whyatt"]
TOLERANCES = st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0, 5.0])


def spiral(size: int) -> Labels:
    """One arm of one pixel, that winds inwards."""
    labels = np.zeros((size, size), np.uint8)
    y, x, dy, dx = 0, 0, 0, 1
    labels[0, 0] = 1
    for _ in range(2 * size):
        while 0 <= y + dy < size and 0 <= x + dx < size:
            ahead = (y + 2 * dy, x + 2 * dx)
            if 0 <= ahead[0] < size and 0 <= ahead[1] < size and labels[ahead]:
                break
            y, x = y + dy, x + dx
            labels[y, x] = 1
        dy, dx = dx, -dy
    return labels


@st.composite
def maps(draw: st.DrawFn, kinds: str = "noise noise islands coast stripes checkerboard spiral") -> Labels:
    """Random maps of up to 26 x 26 pixels; in noise and on coasts many chords are refused."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = rng.integers(1, 27, 2) if draw(st.booleans()) else (24, 24)
    y, x = np.indices(shape)
    match draw(st.sampled_from(kinds.split())):
        case "noise":
            labels = rng.integers(0, rng.integers(2, 4), shape)
        case "islands":
            labels = rng.random(shape) < 0.2
        case "coast":
            labels = np.argmax([gaussian_filter(rng.standard_normal(shape), 1) for _ in range(3)], 0)
        case "stripes":
            labels = (y * rng.integers(0, 3) + x * rng.integers(0, 3)) // rng.integers(1, 5) % 3
        case "checkerboard":
            labels = (y // rng.integers(1, 3) + x // rng.integers(1, 3)) % 2
        case _:
            labels = spiral(max(shape))
    return labels.astype(np.uint8)


def arcs_of(labels: Labels) -> tuple[list[Polyline], list[int]]:
    """Walk along the cracks of a map from node to node: arcs without straight vertices, and what each must keep."""
    steps = cracks_of(labels)
    corners = {(x, y) for x in (0, labels.shape[1]) for y in (0, labels.shape[0])}
    nodes = {corner for corner, others in steps.items() if len(others) != 2 or corner in corners}
    arcs = [walk(steps, nodes, node, other) for node in sorted(nodes) for other in sorted(steps[node])]
    while steps := {corner: others for corner, others in steps.items() if others}:
        start = min(steps, key=lambda corner: corner[::-1])
        arcs.append(walk(steps, {start}, start, (start[0] + 1, start[1])))
    ends = [frozenset((arc[0], arc[-1])) for arc in arcs if arc]
    keep = [CLOSED if len(end) == 1 else TWIN if ends.count(end) > 1 else FREE for end in ends]
    return [arc for arc in arcs if arc], keep


def cracks_of(labels: Labels) -> dict[Point, set[Point]]:
    """Where one can go from each pixel corner along borders between labels; outside is one more label."""
    padded = np.pad(labels.astype(int), 1, constant_values=-1)
    steps: dict[Point, set[Point]] = {}
    for y, x in np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1]).tolist():
        steps.setdefault((x, y), set()).add((x + 1, y))
        steps.setdefault((x + 1, y), set()).add((x, y))
    for y, x in np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1]).tolist():
        steps.setdefault((x, y), set()).add((x, y + 1))
        steps.setdefault((x, y + 1), set()).add((x, y))
    return steps


def walk(steps: dict[Point, set[Point]], nodes: set[Point], start: Point, following: Point) -> Polyline:
    """Use up the cracks from a node to the next one; nothing if the first was used before."""
    if following not in steps[start]:
        return []
    path = [start, following]
    while True:
        here, there = path[-2:]
        steps[here].discard(there)
        steps[there].discard(here)
        if there in nodes:
            break
        path.append(min(steps[there]))
    turns = [b for a, b, c in zip(path, path[1:], path[2:], strict=False) if (a[0] == b[0]) != (b[0] == c[0])]
    return [path[0], *turns, path[-1]]


def to_chains(arcs: list[Polyline]) -> Chains:
    points = np.array([point for arc in arcs for point in arc], np.int32).reshape(-1, 2)
    offsets = np.cumsum([0, *(len(arc) for arc in arcs)], dtype=np.int64)
    return Chains(offsets, np.ascontiguousarray(points[:, 0]), np.ascontiguousarray(points[:, 1]))


def to_arcs(chains: Chains) -> list[Polyline]:
    points = list(zip(chains.x.tolist(), chains.y.tolist(), strict=True))
    return [points[a:b] for a, b in pairwise(chains.offsets.tolist())]


def simplified(
    arcs: list[Polyline], keep: list[int], tolerance: float, method: Method, metric: Metric = UNIT
) -> list[Polyline]:
    """Simplify all arcs of a whole map."""
    chains = to_chains(arcs)
    chosen, index = np.ones(len(arcs), bool), VertexIndex.of(chains.x, chains.y)
    how = Simplification(tolerance, method)
    return to_arcs(simplify(chains, chosen, np.array(keep, np.uint8), index, metric, how))


def segments_of(arcs: list[Polyline]) -> list[shapely.LineString]:
    return [shapely.LineString(ends) for arc in arcs for ends in pairwise(arc)]


# Exact and naive: the rules once more, in fractions, over lists of all vertices.


def squared_distance_of(point: Point, a: Point, b: Point) -> Fraction:
    ux, uy, px, py = b[0] - a[0], b[1] - a[1], point[0] - a[0], point[1] - a[1]
    length = ux * ux + uy * uy
    along = Fraction(0) if length == 0 else min(Fraction(1), max(Fraction(0), Fraction(px * ux + py * uy, length)))
    return (px - along * ux) ** 2 + (py - along * uy) ** 2


def row_hull(piece: Polyline) -> dict[int, tuple[Fraction, Fraction]]:
    """From where to where piece and chord reach on each row that they meet."""
    hull: dict[int, list[Fraction]] = {}
    for (ax, ay), (bx, by) in [*pairwise(piece), (piece[-1], piece[0])]:
        for y in range(min(ay, by), max(ay, by) + 1):
            meets = [Fraction(ax), Fraction(bx)] if ay == by else [ax + Fraction((y - ay) * (bx - ax), by - ay)]
            hull.setdefault(y, []).extend(meets)
    return {y: (min(meets), max(meets)) for y, meets in hull.items()}


def is_naively_clear(piece: Polyline, vertices: set[Point]) -> bool:
    def is_empty(piece: Polyline, vertices: set[Point]) -> bool:
        hull = row_hull(piece)
        return not any(y in hull and hull[y][0] <= x <= hull[y][1] for x, y in vertices - set(piece))

    swapped = [(y, x) for x, y in piece], {(y, x) for x, y in vertices}
    return is_empty(piece, vertices) or is_empty(*swapped)


def naive_douglas_peucker(arc: Polyline, keep: int, tolerance: float, vertices: set[Point]) -> Polyline:
    def far(begin: int, end: int) -> int:
        return max(range(begin + 1, end), key=lambda k: (squared_distance_of(arc[k], arc[begin], arc[end]), -k))

    def split(begin: int, end: int) -> Polyline:
        if end - begin < 2:
            return [arc[end]]
        middle = far(begin, end)
        is_near = squared_distance_of(arc[middle], arc[begin], arc[end]) <= Fraction(tolerance) ** 2
        if is_near and is_naively_clear(arc[begin : end + 1], vertices):
            return [arc[end]]
        return split(begin, middle) + split(middle, end)

    cuts, last = [], len(arc) - 1
    if keep and last > 1:
        cuts.append(far(0, last))
    if keep == CLOSED:
        (x, y), (ux, uy) = arc[0], arc[cuts[0]]
        others = [k for k in range(1, last) if k != cuts[0]]
        cuts.append(max(others, key=lambda k: (abs((arc[k][0] - x) * (uy - y) - (arc[k][1] - y) * (ux - x)), -k)))
    return arc[:1] + [point for begin, end in pairwise([0, *sorted(cuts), last]) for point in split(begin, end)]


def naive_visvalingam(arc: Polyline, keep: int, tolerance: float, vertices: set[Point]) -> Polyline:
    def triangle(a: int, b: int, c: int) -> Fraction:
        (ax, ay), (bx, by), (cx, cy) = arc[a], arc[b], arc[c]
        return abs(Fraction((bx - ax) * (cy - ay) - (cx - ax) * (by - ay), 2))

    there = list(range(len(arc)))
    areas = {k: triangle(k - 1, k, k + 1) for k in there[1:-1]}
    waiting = set(areas)
    while waiting and len(there) - 2 > keep:
        vertex = min(waiting, key=lambda k: (areas[k], k))
        if areas[vertex] > Fraction(tolerance) ** 2:
            break
        waiting.remove(vertex)
        place = there.index(vertex)
        left, right = there[place - 1], there[place + 1]
        piece = arc[left : right + 1]
        near = all(squared_distance_of(point, arc[left], arc[right]) <= Fraction(tolerance) ** 2 for point in piece)
        if near and is_naively_clear(piece, vertices):
            there.remove(vertex)
            for neighbour in {left, right} - {0, len(arc) - 1}:
                place = there.index(neighbour)
                areas[neighbour] = max(areas[vertex], triangle(there[place - 1], neighbour, there[place + 1]))
                waiting.add(neighbour)
    return [arc[k] for k in there]


@given(maps(), TOLERANCES)
def test_douglas_peucker_is_the_naive_one_with_the_naive_guard(labels: Labels, tolerance: float) -> None:
    arcs, keep = arcs_of(labels)
    vertices = {point for arc in arcs for point in arc}
    expected = [naive_douglas_peucker(arc, least, tolerance, vertices) for arc, least in zip(arcs, keep, strict=True)]
    assert simplified(arcs, keep, tolerance, "douglas-peucker") == expected


@given(maps(), TOLERANCES)
def test_visvalingam_whyatt_is_the_naive_one_with_the_naive_guard(labels: Labels, tolerance: float) -> None:
    arcs, keep = arcs_of(labels)
    vertices = {point for arc in arcs for point in arc}
    expected = [naive_visvalingam(arc, least, tolerance, vertices) for arc, least in zip(arcs, keep, strict=True)]
    assert simplified(arcs, keep, tolerance, "visvalingam-whyatt") == expected


@pytest.mark.slow
@given(maps("noise coast spiral"), st.integers(0, 2**32 - 1))
def test_the_guard_finds_any_vertex_in_both_hulls(labels: Labels, seed: int) -> None:
    rng = np.random.default_rng(seed)
    arcs, _ = arcs_of(labels)
    others = rng.integers(-2, max(labels.shape) + 3, (rng.integers(0, 40), 2))
    vertices = {point for arc in arcs for point in arc} if rng.random() < 0.5 else set()
    vertices |= {(x, y) for x, y in others.tolist()}
    for arc in arcs:
        begin = int(rng.integers(0, len(arc) - 1))
        end = min(len(arc) - 1, begin + int(rng.integers(1, 30)))
        if arc[begin] != arc[end]:
            points, line = np.array(sorted(vertices | set(arc)), np.int32), to_chains([arc])
            guard = VertexIndex.of(points[:, 0], points[:, 1]).guard(UNIT, 1.0)
            expected = is_naively_clear(arc[begin : end + 1], vertices | set(arc))
            assert is_clear(guard, line.x, line.y, begin, end) == expected


@pytest.mark.parametrize("method", METHODS)
@given(labels=maps(), tolerance=st.one_of(TOLERANCES, st.just(1000.0)))
def test_no_two_arcs_cross_touch_or_collapse(labels: Labels, tolerance: float, method: Method) -> None:
    """The union of all edges would have more parts if some crossed, and fewer if some fell together."""
    arcs, keep = arcs_of(labels)
    edges = segments_of(simplified(arcs, keep, tolerance, method))
    assert len(shapely.get_parts(shapely.unary_union(edges))) == len(edges)


@pytest.mark.parametrize("method", METHODS)
@given(labels=maps(), tolerance=TOLERANCES)
def test_faces_stay_as_many_and_a_valid_coverage(labels: Labels, tolerance: float, method: Method) -> None:
    arcs, keep = arcs_of(labels)
    before = shapely.get_parts(shapely.polygonize(segments_of(arcs)))
    after = shapely.get_parts(shapely.polygonize(segments_of(simplified(arcs, keep, tolerance, method))))
    assert len(after) == len(before)
    assert shapely.is_valid(after).all() and shapely.coverage_is_valid(after)
    assert shapely.area(after).sum() == pytest.approx(labels.size)


@pytest.mark.parametrize("method", METHODS)
@given(
    labels=maps(),
    tolerance=TOLERANCES,
    linear=st.sampled_from([(1, 0, 0, -1), (0.5, 0, 0, -2), (2, 1, -1, 2), (1, 1, 0, 1)]),
)
def test_every_removed_vertex_lies_within_the_tolerance_and_both_ends_stay(
    labels: Labels, tolerance: float, linear: tuple[float, float, float, float], method: Method
) -> None:
    arcs, keep = arcs_of(labels)
    a, b, d, e = linear
    for arc, line in zip(arcs, simplified(arcs, keep, tolerance, method, Metric(*linear)), strict=True):
        placed = np.array(arc) @ np.array([[a, d], [b, e]])
        straight = shapely.LineString(np.array(line) @ np.array([[a, d], [b, e]]))
        assert shapely.distance(shapely.points(placed), straight).max() <= tolerance * (1 + 1e-8)
        assert (line[0], line[-1]) == (arc[0], arc[-1])
        assert set(line) <= set(arc)


@pytest.mark.parametrize("method", METHODS)
def test_closed_arcs_keep_a_triangle_and_twins_a_vertex_whatever_the_tolerance(method: Method) -> None:
    island = np.zeros((9, 9), np.uint8)
    island[2:7, 3:6] = 1
    lens = np.zeros((9, 9), np.uint8)
    lens[:, 5:], lens[2:7, 4:7] = 1, 2
    for labels, least, length in ((island, CLOSED, 4), (lens, TWIN, 3)):
        arcs, keep = arcs_of(labels)
        lengths = [len(line) for line in simplified(arcs, keep, 100.0, method)]
        assert [size for size, floor in zip(lengths, keep, strict=True) if floor == least and size > 2] != []
        assert all(size == length for size, floor in zip(lengths, keep, strict=True) if floor == least)


@pytest.mark.parametrize("method", METHODS)
@given(labels=maps(), tolerance=TOLERANCES, data=st.data())
def test_the_result_depends_on_neither_place_nor_order(
    labels: Labels, tolerance: float, method: Method, data: st.DataObject
) -> None:
    arcs, keep = arcs_of(labels)
    expected = simplified(arcs, keep, tolerance, method)
    dx, dy = data.draw(st.sampled_from([(0, 0), (-7, 3), (99_991, 1_000_003), (2**30, -(2**30))]))
    order = data.draw(st.permutations(range(len(arcs))))
    moved = to_chains([[(x + dx, y + dy) for x, y in arcs[k]] for k in order])
    shuffle = np.random.default_rng(0).permutation(np.tile(np.arange(moved.x.size), 2))
    index = VertexIndex.of(moved.x[shuffle], moved.y[shuffle])
    how = Simplification(tolerance, method)
    lines = to_arcs(simplify(moved, np.ones(len(arcs), bool), np.array(keep, np.uint8)[list(order)], index, UNIT, how))
    assert [[(x - dx, y - dy) for x, y in line] for line in lines] == [expected[k] for k in order]


@pytest.mark.parametrize("method", METHODS)
@given(labels=maps(), tolerance=TOLERANCES)
def test_a_map_turned_by_a_quarter_is_simplified_alike(labels: Labels, tolerance: float, method: Method) -> None:
    arcs, keep = arcs_of(labels)
    turned = [[(-y, x) for x, y in arc] for arc in arcs]
    expected = simplified(arcs, keep, tolerance, method, Metric(2, 0, 0, -3))
    lines = simplified(turned, keep, tolerance, method, Metric(0, 2, 3, 0))
    assert lines == [[(-y, x) for x, y in line] for line in expected]


@pytest.mark.parametrize("method", METHODS)
@given(labels=maps(), tolerance=st.sampled_from([1.0, 2.0, 4.5, 9.0]))
def test_oblong_pixels_are_square_ones_on_scaled_axes(labels: Labels, tolerance: float, method: Method) -> None:
    arcs, keep = arcs_of(labels)
    scaled = simplified([[(2 * x, 3 * y) for x, y in arc] for arc in arcs], keep, tolerance, method)
    lines = simplified(arcs, keep, tolerance, method, Metric(2, 0, 0, -3))
    assert [[(2 * x, 3 * y) for x, y in line] for line in lines] == scaled


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("metric", "unit"), [(Metric(3, -4, 4, 3), 5), (Metric(0.1, 0, 0, -0.1), 0.1), (Metric(9e-5, 0, 0, -9e-5), 9e-5)]
)
@given(labels=maps(), tolerance=TOLERANCES)
def test_the_size_and_rotation_of_square_pixels_decide_nothing(
    labels: Labels, tolerance: float, metric: Metric, unit: float, method: Method
) -> None:
    arcs, keep = arcs_of(labels)
    assert simplified(arcs, keep, tolerance * unit, method, metric) == simplified(arcs, keep, tolerance, method)


@pytest.mark.parametrize("method", METHODS)
@given(
    labels=maps(), tolerance=TOLERANCES, metric=st.sampled_from([UNIT, Metric(2, 0, 0, -0.5)]), seed=st.integers(0, 99)
)
def test_vertices_near_an_arc_are_all_that_its_simplification_needs(
    labels: Labels, tolerance: float, metric: Metric, seed: int, method: Method
) -> None:
    arcs, keep = arcs_of(labels)
    chains, how = to_chains(arcs), Simplification(tolerance, method)
    chosen = np.random.default_rng(seed).random(len(arcs)) < 0.3
    whole = VertexIndex.of(chains.x, chains.y)
    reach = metric.reach(2 * tolerance)
    near = exactly_near(chains.x, chains.y, arcs, chosen, (None,) * 4, reach)
    part = VertexIndex.of(chains.x[near], chains.y[near])
    least = np.array(keep, np.uint8)
    expected = to_arcs(simplify(chains, chosen, least, whole, metric, how))
    assert to_arcs(simplify(chains, chosen, least, part, metric, how)) == expected
    assert all(line == arc for line, arc, is_chosen in zip(expected, arcs, chosen, strict=True) if not is_chosen)


@pytest.mark.parametrize("unit", [1, 0.1, 0.3, 0.7, 9e-5, 1 / 3600])
@pytest.mark.parametrize("tolerance", [1, 2, 3, 5])
def test_a_vertex_of_exactly_the_effective_area_goes_whatever_the_size_of_pixels(tolerance: int, unit: float) -> None:
    metric, width = Metric(unit, 0, 0, -unit), 2 * tolerance**2
    larger, smaller = ([(0, 0), (width + more, 0), (width + more, 1)] for more in (1, 0))
    lines = [simplified([arc], [FREE], tolerance * unit, "visvalingam-whyatt", metric)[0] for arc in (larger, smaller)]
    assert lines == [larger, [smaller[0], smaller[-1]]]


@pytest.mark.parametrize("method", METHODS)
def test_tolerance_zero_and_no_choice_remove_nothing(method: Method) -> None:
    arcs, keep = arcs_of(spiral(12))
    chains = to_chains(arcs)
    index, least = VertexIndex.of(chains.x, chains.y), np.array(keep, np.uint8)
    assert simplify(chains, np.ones(len(arcs), bool), least, index, UNIT, Simplification(0.0, method)) is chains
    assert simplify(chains, np.zeros(len(arcs), bool), least, index, UNIT, Simplification(2.0, method)) is chains


def test_an_index_that_lacks_the_arcs_own_vertices_is_refused() -> None:
    chains = to_chains([[(0, 0), (4, 0), (4, 1), (8, 1)]])
    for index in (VertexIndex.of(chains.x[:0], chains.y[:0]), VertexIndex.of(chains.x[:3], chains.y[:3])):
        with pytest.raises(ValueError, match="extent of the vertex index"):
            simplify(chains, np.ones(1, bool), np.zeros(1, np.uint8), index, UNIT, Simplification(2.0))


@pytest.mark.parametrize("tolerance", [-1.0, math.nan, math.inf])
def test_a_tolerance_that_is_no_length_is_refused(tolerance: float) -> None:
    with pytest.raises(WorkflowError, match="tolerance"):
        Simplification(tolerance)


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    with pytest.raises(WorkflowError, match=r"'lang'.*douglas-peucker or visvalingam-whyatt"):
        Simplification(1.0, "lang")  # type: ignore[arg-type]


TRANSFORMS = st.builds(
    lambda width, height, angle: Affine.rotation(angle) @ Affine.scale(width, -height),
    st.floats(0.01, 50),
    st.floats(0.01, 50),
    st.floats(0, 360),
)


@given(TRANSFORMS, st.tuples(*[st.integers(-40, 40)] * 4))
def test_distances_are_those_between_transformed_points(transform: Affine, steps: tuple[int, int, int, int]) -> None:
    px, py, ux, uy = steps
    point, end = (transform @ (float(dx), float(dy)) for dx, dy in ((px, py), (ux, uy)))
    expected = shapely.distance(shapely.Point(point), shapely.LineString([transform @ (0.0, 0.0), end]))
    gram = Metric.of(transform).gram
    assert isinstance(gram, Gram)
    found = math.sqrt(max(0.0, squared_distance(gram, float(px), float(py), float(ux), float(uy))))
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-5)


@given(TRANSFORMS, st.floats(0.1, 200))
def test_the_reach_is_the_box_of_the_disc_in_whole_pixels(transform: Affine, distance: float) -> None:
    angles = np.linspace(0, 2 * math.pi, 2001)
    linear = np.array([[transform.a, transform.b], [transform.d, transform.e]])
    columns, rows = np.linalg.solve(linear, distance * np.array([np.cos(angles), np.sin(angles)]))
    for found, steps in zip(Metric.of(transform).reach(distance), (rows, columns), strict=True):
        assert np.abs(steps).max() <= found * (1 + 1e-9)
        assert found < np.abs(steps).max() * (1 + 1e-5) + 1


def exactly_near(
    x: NDArray[np.int32],
    y: NDArray[np.int32],
    arcs: list[Polyline],
    chosen: NDArray[np.bool_],
    sides: tuple[int | None, int | None, int | None, int | None],
    reach: tuple[int, int],
) -> NDArray[np.bool_]:
    """Compare each vertex with each edge and side."""
    rows, columns = reach
    top, right, bottom, left = sides
    near = np.zeros(x.size, bool)
    for line in (top, bottom):
        near |= abs(y - line) <= rows if line is not None else False
    for line in (left, right):
        near |= abs(x - line) <= columns if line is not None else False
    for arc in (arc for arc, is_chosen in zip(arcs, chosen, strict=True) if is_chosen):
        for (ax, ay), (bx, by) in pairwise(arc):
            in_rows = (min(ay, by) - rows <= y) & (y <= max(ay, by) + rows)
            near |= in_rows & (min(ax, bx) - columns <= x) & (x <= max(ax, bx) + columns)
    return near


@given(
    seed=st.integers(0, 2**32 - 1),
    reach=st.tuples(st.integers(0, 20), st.integers(0, 20)),
    sides=st.tuples(*[st.none() | st.integers(-3, 130)] * 4),
    shift=st.sampled_from([0, -50, 1_000_003]),
)
def test_vertices_near_are_all_within_reach_and_few_others(
    seed: int, reach: tuple[int, int], sides: tuple[int | None, int | None, int | None, int | None], shift: int
) -> None:
    rng = np.random.default_rng(seed)
    x, y = (rng.integers(0, 130, (2, 2_000)) + shift).astype(np.int32)
    corners = (rng.integers(-20, 150, (4, 4)) + shift).tolist()
    arcs = [[(left, top), (right, top), (right, bottom)] for left, top, right, bottom in corners]
    open_sides = tuple(None if side is None else side + shift for side in sides)
    chosen = np.array([True, False, True, False])
    found = vertices_near(x, y, to_chains(arcs), chosen, open_sides, reach)
    asked = exactly_near(x, y, arcs, chosen, open_sides, reach)
    wider = tuple(steps + 2 * max(CELL, steps) for steps in reach)
    allowed = exactly_near(x, y, arcs, chosen, (None,) * 4, wider) | asked
    assert (found >= asked).all() and (found <= allowed).all()


def test_vertices_near_scale_to_large_extents_and_any_reach() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 200_000, (2, 5_000)).astype(np.int32)
    chains = to_chains([[(0, 0), (0, 200_000), (200_000, 200_000)]])
    chosen = np.ones(1, bool)
    vertices_near(x, y, chains, chosen, (None,) * 4, (4, 4))
    begin = time.process_time()
    near = vertices_near(x, y, chains, chosen, (None,) * 4, (4, 4))
    assert time.process_time() - begin < 0.2
    assert near.mean() < 0.01
    assert vertices_near(x, y, chains, chosen, (None,) * 4, (10**15, 10**15)).all()
    assert vertices_near(x, y, chains, ~chosen, (None, None, None, 0), (4, 10**15)).all()


def test_without_vertices_or_chains_nothing_is_near() -> None:
    none, nothing = np.empty(0, np.int32), to_chains([])
    assert vertices_near(none, none, to_chains([[(0, 0), (3, 0)]]), np.ones(1, bool), (0, 0, 0, 0), (2, 2)).size == 0
    one = np.ones(1, np.int32)
    assert not vertices_near(one, one, nothing, np.empty(0, bool), (None,) * 4, (2, 2)).any()
