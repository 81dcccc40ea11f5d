"""How fast do objects of tiles become objects of the raster, beside SAHI's merging of the same detections.

A made-up town of rectangles is seen by tiles that overlap; each tile's detections are what it would see of each house.
geoseg paints, counts, unites and numbers them, which gives a raster of instances; SAHI's ``GreedyNMMPostprocess`` (its
default: intersection over the smaller one, 0.5) merges them as boxes with polygons. One thread. What both made of the
houses is compared with the truth: how many are one object, with an intersection over union above 0.9.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import table
from geoseg.grid import TileGrid, Tiling, Window
from geoseg.instances import LOCAL, InstanceTable, Meeting, TileObjects, meet, paint, paint_core, unite
from geoseg.models import Detections
from geoseg.models.detections import UNPROMPTED

TILING = Tiling(1024, 32, 64)
VALUES = np.array([1], np.uint8)


def town(side: int, seed: int = 0) -> list[Window]:
    """Rectangles of 10 to 60 px, one in each cell of 80 px, so that none touch."""
    rng = np.random.default_rng(seed)
    cells = [(y, x) for y in range(0, side - 80, 80) for x in range(0, side - 80, 80)]
    sizes = rng.integers(10, 61, (len(cells), 2))
    shifts = rng.integers(0, 79 - sizes)
    pairs = zip(cells, sizes.tolist(), shifts.tolist(), strict=True)
    return [Window(y + dy, x + dx, height, width) for (y, x), (height, width), (dy, dx) in pairs]


def seen(grid: TileGrid, houses: list[Window]) -> dict[tuple[int, int], list[Window]]:
    """What each tile sees of each house, px of the raster."""
    tiles = {(tile.row, tile.col): tile for block in grid.blocks() for tile in grid.tiles_of(block)}
    found: dict[tuple[int, int], list[Window]] = {place: [] for place in tiles}
    for place, tile in tiles.items():
        parts = (house.intersect(tile.read) for house in houses)
        found[place] = [part for part in parts if part.area]
    return found


def detections(parts: list[Window], tile: Window) -> Detections:
    """Parts of houses as detections of a tile."""
    windows = tuple(part.relative_to(tile) for part in parts)
    count = len(parts)
    scores = np.linspace(0.6, 0.9, count, dtype=np.float32)
    masks = tuple(np.ones(window.shape, np.bool_) for window in windows)
    return Detections(windows, masks, np.zeros(count, np.int64), scores, np.full(count, UNPROMPTED))


def run_geoseg(grid: TileGrid, found: dict[tuple[int, int], Detections]) -> tuple[int, NDArray[np.uint32]]:
    """Instances of the raster, and how many there are."""
    tiles: dict[tuple[int, int], TileObjects] = {}
    for (row, col), item in found.items():
        tile = grid.tile(row, col)
        tiles[row, col] = paint(item, tile, np.ones(tile.reach.shape, np.bool_), VALUES)

    def look(row: int, col: int) -> TileObjects | None:
        return tiles.get((row, col))

    objects = unite(_table(grid, tiles), Meeting.of([meet(grid, block, look) for block in grid.blocks()]))
    instances = np.zeros(grid.shape, np.uint32)
    for block in grid.blocks():
        painted = paint_core(grid, block, look)
        there = painted >= 0
        instances[block.core.slices()][there] = objects.ids[np.searchsorted(objects.keys, painted[there])]
    return len(objects.first), instances


def _table(grid: TileGrid, tiles: dict[tuple[int, int], TileObjects]) -> InstanceTable:
    places = sorted(tiles)
    keys = [(row * grid.cols.tiles + col) * LOCAL + np.arange(1, len(tiles[row, col]) + 1) for row, col in places]
    columns = ([getattr(tiles[place], name) for place in places] for name in ("classes", "scores", "prompts"))
    return InstanceTable(np.concatenate(keys), *(np.concatenate(column) for column in columns))


def run_sahi(grid: TileGrid, found: dict[tuple[int, int], list[Window]]) -> list[tuple[float, float, float, float]]:
    """Boxes of what the peer merged."""
    from sahi.postprocess.combine import GreedyNMMPostprocess
    from sahi.prediction import ObjectPrediction

    shape = list(grid.shape)
    predictions = [
        ObjectPrediction(
            bbox=[part.x, part.y, part.right, part.bottom],
            category_id=0,
            category_name="house",
            segmentation=[[part.x, part.y, part.right, part.y, part.right, part.bottom, part.x, part.bottom]],
            score=0.8,
            full_shape=shape,
        )
        for parts in found.values()
        for part in parts
    ]
    merged = GreedyNMMPostprocess(match_threshold=0.5, match_metric="IOS")(predictions)
    return [tuple(item.bbox.to_xyxy()) for item in merged]


def whole(houses: Iterable[Window], boxes: Iterable[tuple[float, float, float, float]]) -> int:
    """Houses that are one object."""
    known = {tuple(round(number) for number in box) for box in boxes}
    return sum((house.x, house.y, house.right, house.bottom) in known for house in houses)


def boxes_of(instances: NDArray[np.uint32]) -> list[tuple[float, float, float, float]]:
    """The box of each instance."""
    from scipy import ndimage

    places = ndimage.find_objects(instances.astype(np.int32))
    return [(place[1].start, place[0].start, place[1].stop, place[0].stop) for place in places if place]


def main(sides: tuple[int, ...] = (4096, 8192)) -> None:
    """Print the table."""
    rows = []
    for side in sides:
        houses, grid = town(side), TileGrid((side, side), TILING, (2, 2))
        parts = seen(grid, houses)
        ours = {place: detections(items, grid.tile(*place).read) for place, items in parts.items()}
        started = time.perf_counter()
        count, instances = run_geoseg(grid, ours)
        mine = time.perf_counter() - started
        rows.append(_row(side, "geoseg", parts, mine, count, whole(houses, boxes_of(instances)), len(houses)))
        started = time.perf_counter()
        boxes = run_sahi(grid, parts)
        theirs = time.perf_counter() - started
        rows.append(_row(side, "SAHI", parts, theirs, len(boxes), whole(houses, boxes), len(houses)))
    table(
        "Objects of tiles to objects of the raster, one thread",
        ["side, px", "by", "detections", "s", "objects", "whole houses", "of"],
        rows,
    )


def _row(
    side: int, name: str, parts: dict[tuple[int, int], list[Window]], seconds: float, count: int, good: int, of: int
) -> list[str]:
    found = sum(map(len, parts.values()))
    return [f"{side:,}", name, f"{found:,}", f"{seconds:.2f}", f"{count:,}", f"{good:,}", f"{of:,}"]
