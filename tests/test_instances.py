"""Objects over tiles: what a detector sees in pieces is whole again, and the same for every layout of blocks."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.errors import ModelError
from geoseg.grid import Tile, TileGrid, Tiling, Window
from geoseg.instances import LOCAL, InstanceTable, Meeting, MergedInstances, TileObjects, meet, paint, paint_core, unite
from geoseg.mapping_unit import MappingUnit
from geoseg.models import ClassSpec, Detections, ModelSpec, Prompt, Prompts, wrap
from geoseg.models.spec import Band
from geoseg.segmentation import detect_block

TILING = Tiling(size=24, halo=2, ramp=4)
SPEC = ModelSpec("blobs", "instance-segmentation", (Band("ids"),), (ClassSpec(7, "blob"), ClassSpec(9, "other")))
VALUES = np.array([7, 9], np.uint8)


class Truth:
    """A raster whose pixels are the numbers of objects."""

    def __init__(self, ids: NDArray[np.int64]) -> None:
        self.ids, self.shape = ids, ids.shape

    def read(self, window: Window) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        return self.ids[None][(slice(None), *window.slices())], np.ones(window.shape, np.bool_)


class Detector:
    """Finds every object that it sees; with a seed it wears the masks away, differently in each tile."""

    spec, device = SPEC, torch.device("cpu")

    def __init__(self, seed: int | None = None) -> None:
        self.seed = seed

    def predict(
        self, pixels: NDArray[np.generic], _mask: NDArray[np.bool_], _prompts: list[Prompts] | None = None
    ) -> list[Detections]:
        return [self._found(layer[0]) for layer in pixels]

    def _found(self, ids: NDArray[np.generic]) -> Detections:
        numbers = [number for number in np.unique(ids) if number]
        masks = [ids == number for number in numbers]
        if self.seed is not None:
            rng = np.random.default_rng([self.seed, int(ids.astype(np.int64).sum()), int(ids[0].sum())])
            masks = [mask & (rng.random(mask.shape) < 0.8) for mask in masks if rng.random() < 0.9]
            numbers = numbers[: len(masks)]
        return Detections.of(masks, [int(n) % 2 for n in numbers], [0.5 + (int(n) % 50) / 100 for n in numbers])


def instances_of(
    truth: NDArray[np.int64], block_tiles: tuple[int, int], detector: Detector, tiling: Tiling = TILING
) -> tuple[NDArray[np.uint32], MergedInstances]:
    """The whole way, in memory: detect, meet, unite, number."""
    grid = TileGrid(truth.shape, tiling, block_tiles)
    tiles: dict[tuple[int, int], TileObjects] = {}
    for block in reversed(list(grid.blocks())):
        tiles |= detect_block(Truth(truth), detector, grid, block)

    def look(row: int, col: int) -> TileObjects | None:
        return tiles.get((row, col))

    objects = unite(table_of(tiles, grid), Meeting.of([meet(grid, block, look) for block in grid.blocks()]))
    instances = np.zeros(truth.shape, np.uint32)
    numbers = dict(zip(objects.keys.tolist(), objects.ids.tolist(), strict=True)) | {-1: 0}
    for block in grid.blocks():
        painted = paint_core(grid, block, look)
        instances[block.core.slices()] = np.vectorize(numbers.get, otypes=[np.uint32])(painted)
    return instances, objects


def table_of(tiles: dict[tuple[int, int], TileObjects], grid: TileGrid) -> InstanceTable:
    rows = [
        ((row * grid.cols.tiles + col) * LOCAL + number + 1, objects.classes[number], objects.scores[number], -1)
        for (row, col), objects in sorted(tiles.items())
        for number in range(len(objects))
    ]
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    types = (np.int64, np.uint8, np.float32, np.int64)
    return InstanceTable(*(np.array(column, dtype) for column, dtype in zip(columns, types, strict=True)))


def in_raster_order(ids: NDArray[np.int64]) -> NDArray[np.uint32]:
    """The same objects, numbered by their first pixel."""
    _, first, place = np.unique(ids, return_index=True, return_inverse=True)
    order = np.argsort(first)
    order = order[np.unique(ids)[order] != 0]
    numbers = np.zeros(len(first), np.uint32)
    numbers[order] = np.arange(1, len(order) + 1)
    return numbers[place].reshape(ids.shape)


def canvas() -> NDArray[np.int64]:
    return np.zeros((70, 78), np.int64)


def two_tiles() -> NDArray[np.int64]:
    ids = canvas()
    ids[5:9, 10:22] = 3
    return ids


def four_tiles_corner() -> NDArray[np.int64]:
    ids = canvas()
    ids[13:21, 12:20] = 2
    return ids


def larger_than_a_tile() -> NDArray[np.int64]:
    ids = canvas()
    ids[3:40, 5:50] = 4
    return ids


def larger_than_a_block() -> NDArray[np.int64]:
    ids = canvas()
    ids[1:69, 2:77] = 5
    return ids


def two_touching() -> NDArray[np.int64]:
    ids = canvas()
    ids[10:30, 5:16] = 6
    ids[10:30, 16:40] = 8
    return ids


def ring() -> NDArray[np.int64]:
    ids = canvas()
    ids[5:60, 5:60] = 9
    ids[10:55, 10:55] = 0
    ids[30:33, 30:34] = 10
    return ids


CASES = [two_tiles, four_tiles_corner, larger_than_a_tile, larger_than_a_block, two_touching, ring]
LAYOUTS = [(1, 1), (2, 2), (1, 3), (5, 5)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
@pytest.mark.parametrize("block_tiles", LAYOUTS)
def test_an_object_cut_by_tiles_is_whole_again(case: object, block_tiles: tuple[int, int]) -> None:
    truth = case()  # type: ignore[operator]
    found, objects = instances_of(truth, block_tiles, Detector())
    np.testing.assert_array_equal(found, in_raster_order(truth))
    assert len(objects.first) == len(np.unique(truth)) - 1
    for number in range(len(objects.first)):
        places = np.flatnonzero(found == number + 1)
        assert (objects.first[number], objects.pixels[number]) == (places[0], len(places))


@st.composite
def truths(draw: st.DrawFn) -> NDArray[np.int64]:
    """Maps of rectangles, one over another, each connected part an object of its own."""
    from scipy import ndimage

    height, width = draw(st.integers(8, 60)), draw(st.integers(8, 60))
    ids = np.zeros((height, width), np.int64)
    for number in range(draw(st.integers(1, 9))):
        y, x = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        ids[y : y + draw(st.integers(1, 40)), x : x + draw(st.integers(1, 40))] = number + 1
    parts = np.zeros_like(ids)
    for number in np.unique(ids[ids > 0]):
        labelled, _ = ndimage.label(ids == number)
        parts[labelled > 0] = (labelled[labelled > 0] + parts.max()).astype(np.int64)
    return parts


@given(truths(), st.sampled_from(LAYOUTS), st.integers(1, 8))
def test_whatever_is_connected_is_found_whole(
    truth: NDArray[np.int64], block_tiles: tuple[int, int], ramp: int
) -> None:
    found, _ = instances_of(truth, block_tiles, Detector(), Tiling(20, 1, ramp))
    np.testing.assert_array_equal(found, in_raster_order(truth))


@given(truths(), st.integers(0, 1000), st.integers(1, 8))
def test_a_detector_that_errs_gives_the_same_for_every_layout(truth: NDArray[np.int64], seed: int, ramp: int) -> None:
    tiling = Tiling(20, 1, ramp)
    wanted, objects = instances_of(truth, (1, 1), Detector(seed), tiling)
    for block_tiles in LAYOUTS[1:]:
        found, others = instances_of(truth, block_tiles, Detector(seed), tiling)
        np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(others.scores, objects.scores)
        np.testing.assert_array_equal(others.first, objects.first)


@given(truths(), st.integers(0, 1000), st.integers(1, 8))
def test_it_is_what_pixel_by_pixel_rules_give(truth: NDArray[np.int64], seed: int, ramp: int) -> None:
    tiling = Tiling(20, 1, ramp)
    found, _ = instances_of(truth, (2, 2), Detector(seed), tiling)
    np.testing.assert_array_equal(found, by_brute_force(truth, Detector(seed), tiling))


def by_brute_force(truth: NDArray[np.int64], detector: Detector, tiling: Tiling) -> NDArray[np.uint32]:
    """The same rules on whole-raster maps of each tile, with sets of pixels and a plain union-find."""
    grid = TileGrid(truth.shape, tiling, (100, 100))
    seen = detect_block(Truth(truth), detector, grid, grid.block(0, 0))
    maps: dict[Tile, dict[int, set[tuple[int, int]]]] = {}
    facts = {}
    for place, objects in seen.items():
        tile = grid.tile(*place)
        maps[tile] = {
            number: {(y + tile.reach.y, x + tile.reach.x) for y, x in np.argwhere(objects.ids == number)}
            for number in range(1, len(objects) + 1)
        }
        facts |= {(tile, n + 1): (objects.classes[n], objects.scores[n]) for n in range(len(objects))}
    root = roots(maps, facts)
    owner: dict[tuple[int, int], tuple[Tile, int]] = {}
    lost: dict[tuple[Tile, int], int] = {}
    for y, x in np.ndindex(truth.shape):
        over = [(tile, n) for tile in maps for n, pixels in maps[tile].items() if (y, x) in pixels]
        over.sort(key=lambda key: (-(key[0].row + key[0].col), -key[0].row))  # owner, left, upper, corner
        owner.update(((y, x), root(key)) for key in over[:1])
        for winner, loser in combinations(over, 2):
            lost[root(loser)] = lost.get(root(loser), 0) + (root(winner) != root(loser))
    kept = {key for key in set(owner.values()) if list(owner.values()).count(key) >= lost.get(key, 0)}
    numbers: dict[tuple[Tile, int], int] = {}
    result = np.zeros(truth.shape, np.uint32)
    for y, x in np.ndindex(truth.shape):
        if owner.get((y, x)) in kept:
            result[y, x] = numbers.setdefault(owner[y, x], len(numbers) + 1)
    return result


def roots(
    maps: dict[Tile, dict[int, set[tuple[int, int]]]], facts: dict[tuple[Tile, int], tuple[int, float]]
) -> Callable[[tuple[Tile, int]], tuple[Tile, int]]:
    """A plain union-find over objects whose intersection over union within an overlap is more than a half."""
    parent = {key: key for key in facts}

    def root(key: tuple[Tile, int]) -> tuple[Tile, int]:
        return key if parent[key] == key else root(parent[key])

    for one, other in combinations(maps, 2):
        overlap = one.reach.intersect(other.reach)
        inside = {(y, x) for y in range(overlap.y, overlap.bottom) for x in range(overlap.x, overlap.right)}
        for (a, first), (b, second) in product(maps[one].items(), maps[other].items()):
            both, either = len(first & second), len((first | second) & inside)
            if both > 0.5 * either and facts[one, a][0] == facts[other, b][0]:
                parent[root((one, a))] = root((other, b))
    return root


def test_an_object_in_the_overlap_that_only_one_tile_has_seen_is_kept() -> None:
    class Half(Detector):
        """Sees nothing where its window begins after the first tile."""

        def _found(self, ids: NDArray[np.generic]) -> Detections:
            return super()._found(ids) if ids[:, :4].any() else Detections.none()

    truth = canvas()
    truth[:, 0] = 1  # what only the first column of tiles sees
    truth[5:8, 17:19] = 2  # in the overhang of the first tile
    found, _ = instances_of(truth, (1, 1), Half())
    assert found[6, 17] > 0
    assert (found == found[6, 17]).sum() == 6


def test_a_repetition_that_does_not_match_is_left_out() -> None:
    """The left tile sees a bit more of the object than the right one does, and not enough to be the same."""
    grid = TileGrid((20, 38), TILING, (1, 1))
    left, right = grid.tile(0, 0), grid.tile(0, 1)
    seen, own = np.zeros(left.reach.shape, np.int32), np.zeros(right.reach.shape, np.int32)
    seen[4:8, -4:] = 1
    own[4:12, :10] = 1
    tiles = {
        (0, 0): TileObjects(seen, VALUES[:1], np.float32([0.9]), np.array([-1])),
        (0, 1): TileObjects(own, VALUES[:1], np.float32([0.8]), np.array([-1])),
    }
    meeting = Meeting.of([meet(grid, block, lambda row, col: tiles.get((row, col))) for block in grid.blocks()])
    objects = unite(table_of(tiles, grid), meeting)
    assert objects.ids.tolist() == [0, 1]
    assert objects.scores.tolist() == [pytest.approx(0.8)]


def test_what_answers_the_same_prompt_is_one_object_even_far_apart() -> None:
    table = InstanceTable(
        np.array([1, LOCAL + 1, 2 * LOCAL + 1]),
        np.array([7, 7, 7], np.uint8),
        np.array([0.5, 0.9, 0.7], np.float32),
        np.array([4, 5, 4]),
    )
    empty = np.empty(0, np.int64)
    meeting = Meeting(
        table.keys, np.array([3, 3, 3]), np.array([50, 10, 90]), *[np.zeros(3, np.int64)] * 2, *[empty] * 6
    )
    objects = unite(table, meeting)
    assert objects.ids.tolist() == [2, 1, 2]
    assert objects.scores.tolist() == [pytest.approx(0.9), pytest.approx(0.7)]
    assert objects.pixels.tolist() == [3, 6]


def test_small_objects_go_unless_their_class_is_kept() -> None:
    table = InstanceTable(np.array([1, 2, 3]), np.array([7, 9, 7], np.uint8), np.ones(3, np.float32), np.full(3, -1))
    empty = np.empty(0, np.int64)
    meeting = Meeting(table.keys, np.array([3, 3, 30]), np.array([1, 2, 3]), *[np.zeros(3, np.int64)] * 2, *[empty] * 6)
    assert unite(table, meeting, unit=MappingUnit(10)).ids.tolist() == [0, 0, 1]
    assert unite(table, meeting, unit=MappingUnit(10, ((9, 1),))).ids.tolist() == [0, 1, 2]


def test_objects_count_by_what_their_middle_counts() -> None:
    truth = canvas()
    truth[2:60, 3:5] = 1
    truth[40:42, 10:70] = 2
    grid = TileGrid(truth.shape, TILING, (1, 1))
    tiles = {
        place: found
        for block in grid.blocks()
        for place, found in detect_block(Truth(truth), Detector(), grid, block).items()
    }
    meeting = Meeting.of([meet(grid, block, lambda row, col: tiles.get((row, col))) for block in grid.blocks()])
    sizes = [58 * 2 * (30.5 + 10 * 3.5), 2 * 60 * (40.5 + 10 * 39.5)]
    for least in (*sizes, sizes[0] + 1, sizes[1] + 1):
        objects = unite(
            table_of(tiles, grid), meeting, unit=MappingUnit(int(least)), weigh=lambda row, col: row + 10 * col
        )
        assert sorted(objects.pixels) == sorted(
            n for n, size in zip((116, 120), sizes, strict=True) if size >= int(least)
        )


def test_no_objects_at_all_unite_to_none() -> None:
    found, objects = instances_of(canvas(), (1, 1), Detector())
    assert not found.any()
    assert len(objects.first) == 0


def square(y: int, x: int, size: int, shape: tuple[int, int] = (24, 24)) -> NDArray[np.bool_]:
    mask = np.zeros(shape, np.bool_)
    mask[y : y + size, x : x + size] = True
    return mask


@st.composite
def detected(draw: st.DrawFn) -> tuple[NDArray[np.bool_], int, float]:
    """A ragged square anywhere in a tile, its class and its score; equal scores are likely."""
    y, x, size = draw(st.integers(0, 18)), draw(st.integers(0, 18)), draw(st.integers(1, 14))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    mask = np.zeros((24, 24), np.bool_)
    mask[y : y + size, x : x + size] = True
    return mask & (rng.random(mask.shape) < 0.8), draw(st.integers(0, 1)), draw(st.integers(0, 10)) / 10


def test_the_best_object_takes_its_pixels_first_and_repetitions_go() -> None:
    tile = TileGrid((24, 24), TILING, (1, 1)).tile(0, 0)
    masks = [square(4, 4, 8), square(5, 4, 8), square(11, 4, 8)]
    found = Detections.of(masks, [0, 0, 1], [0.7, 0.9, 0.8])
    wanted = np.ones(tile.reach.shape, np.bool_)
    wanted[3:6] = False
    painted = paint(found, tile, wanted, VALUES)
    assert painted.classes.tolist() == [7, 9]
    assert painted.scores.tolist() == [pytest.approx(0.9), pytest.approx(0.8)]
    inside = tile.reach.relative_to(tile.read)
    assert (painted.ids == 1).sum() == (masks[1][inside.slices()] & wanted).sum()
    assert not (painted.ids[~wanted]).any()


@given(st.lists(detected(), max_size=9), st.sampled_from([n / 10 for n in range(11)]))
def test_leaving_out_low_scores_is_painting_the_others_alone(
    found: list[tuple[NDArray[np.bool_], int, float]], min_score: float
) -> None:
    """``paint(found).above(s) == paint(found of at least s)``: nothing takes pixels from what is better."""
    tile = TileGrid((40, 40), TILING, (1, 1)).tile(0, 0)
    wanted = np.ones(tile.reach.shape, np.bool_)
    wanted[:3, :7] = False

    def painted(items: list[tuple[NDArray[np.bool_], int, float]]) -> TileObjects:
        masks, classes, scores = zip(*items, strict=True) if items else ((), (), ())
        return paint(Detections.of(masks, classes, scores), tile, wanted, VALUES)

    ours, expected = (
        painted(found).above(min_score),
        painted([item for item in found if np.float32(item[2]) >= min_score]),
    )
    for name in ("ids", "classes", "scores", "prompts"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(expected, name))
        assert getattr(ours, name).dtype == getattr(expected, name).dtype


def test_detections_know_their_boxes_and_drop_empty_masks() -> None:
    found = Detections.of([square(2, 3, 4), np.zeros((24, 24), np.bool_)], [0, 1], [0.5, 0.6])
    assert found.boxes.tolist() == [[3, 2, 7, 6]]
    assert found.masks[0].all()
    assert Prompts((Prompt(0),)).objects[0].points.shape == (0, 2)


SQUARES = np.stack([square(2, 3, 4), square(9, 9, 5)])


@pytest.mark.parametrize(
    "masks", [SQUARES.astype(np.uint8), SQUARES * np.uint8(255), SQUARES.astype(np.int64), SQUARES[:, None]]
)
def test_masks_of_whole_numbers_and_of_torchvisions_shape_are_masks(masks: NDArray[Any]) -> None:
    found, expected = (Detections.of(item, [0, 1], [0.5, 1]) for item in (masks, SQUARES))
    assert (found.windows, found.shape) == (expected.windows, (24, 24))
    for mask, other in zip(found.masks, expected.masks, strict=True):
        np.testing.assert_array_equal(mask, other)
        assert mask.dtype == np.bool_


@pytest.mark.parametrize(
    ("masks", "classes", "scores", "told"),
    [
        (SQUARES * 0.7, [0, 1], [0.5, 0.5], "values from 0 to 0.7 .float64. where True is the object; compare it"),
        (SQUARES * 7, [0, 1], [0.5, 0.5], "values from 0 to 7 .int64. where True is the object; compare it"),
        ([SQUARES[0], SQUARES[1, ::2, ::2]], [0, 1], [0.5, 0.5], r"shapes \[.12, 12., .24, 24.\]; give all of them"),
        (SQUARES[0], [0], [0.5], r"a mask of an object has shape \(24,\); give each object one of shape"),
        (SQUARES[:1], [0, 1], [0.5, 0.5], "1 masks have classes of shape .2,., .*give each object one of each"),
        (SQUARES, [0, 1], [0.5], "2 masks have .* scores of shape .1,."),
        (SQUARES, [0.7, 1], [0.5, 0.5], "classes such as 0.7; give positions"),
        (SQUARES, [0, 1], [0.5, 90], "scores such as 90; give each one from 0 to 1"),
    ],
)
def test_what_does_not_make_objects_is_refused(masks: Any, classes: Any, scores: Any, told: str) -> None:
    with pytest.raises(ModelError, match=told):
        Detections.of(masks, classes, scores)


def test_masks_of_another_size_than_the_tile_and_objects_of_stuff_are_refused() -> None:
    legend = ClassSpec(0, "land"), ClassSpec(1, "house", isthing=True)
    spec = ModelSpec("m", "panoptic-segmentation", (Band("1"),), legend, activation="none", multiple=1)
    pixels, mask = np.ones((1, 1, 24, 24), np.uint8), np.ones((1, 24, 24), bool)
    scores = torch.full((1, 2, 24, 24), 0.5)
    for answer, told in (
        (
            (scores, [Detections.of(SQUARES[:, ::2, ::2], [1, 1], [0.9, 0.9])]),
            "masks of 12 x 12 px for its input of 24",
        ),
        ((scores, [Detections.of(SQUARES, [1, 0], [0.9, 0.9])]), "found objects of class 'land', which is stuff"),
        (scores, "returned a Tensor where scores and detections are expected"),
    ):
        with pytest.raises(ModelError, match=told):
            wrap(lambda _scaled, answer=answer: answer, spec).predict(pixels, mask)
