"""Which blocks of a run have to be made again when its inputs, or its region, are others than they were.

Strategy. A fingerprint has the parts of the raster with their windows. A block is what the parts are that share pixels
with what its tiles read, in their order; where these are others, or the region has changed within what the block
predicts, it is predicted again. The block and its readers are finished again, which takes strips of those around them;
labels of these are traced again by their readers; and all nodes above are joined again.

It knows fingerprints and blocks, not files.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import shapely
from pyproj import CRS

from geoseg.grid import Block, TileGrid, Window
from geoseg.planning.plan import Plan
from geoseg.planning.region import RegionMask
from geoseg.raster import LOCAL
from geoseg.tree import BlockTree, Place
from geoseg.vector import Region

Parts = Sequence[Sequence[Any]]
"""Parts of one layer, as `geoseg.raster.readings.parts` describes them."""


@dataclass(frozen=True)
class Refresh:
    """What has to be made again.

    Attributes
    ----------
    tree : BlockTree
        The blocks of the run.
    changed : frozenset
        Blocks whose pixels are others, or whose part of the region is; those that do not run any more among them.
    has_other_region : bool
        Whether polygons are clipped to another region.
    """

    tree: BlockTree
    changed: frozenset[Place]
    has_other_region: bool

    @classmethod
    def of(cls, plan: Plan, before: Mapping[str, Any], now: Mapping[str, Any]) -> Refresh:
        """Compare two fingerprints of a run that differ in inputs and region alone."""
        has_other_region = before["region"] != now["region"]
        region = _touched(plan, before["region"], now["region"]) if has_other_region else set()
        blocks: dict[Place, Window] = {(block.row, block.col): read_window(plan.grid, block) for block in plan.blocks()}
        changed = region.union(*(_differing(blocks, *layers) for layers in _layers(before["parts"], now["parts"])))
        return cls(plan.tree, frozenset(changed), has_other_region)

    @cached_property
    def finished(self) -> frozenset[Place]:
        """Blocks whose ramps are blended again."""
        return self._readers(self.changed)

    @cached_property
    def predicted(self) -> frozenset[Place]:
        """Blocks that are predicted again, for their labels or for the strips that others need."""
        around = (place for block in self.finished for place in self.tree.around(block))
        return frozenset(place for place in around if self.tree.is_mapped(place))

    @cached_property
    def traced(self) -> frozenset[Place]:
        """Blocks whose polygons are traced again."""
        return frozenset(place for block in self.finished for place in self.tree.readers(block))

    @cached_property
    def joined(self) -> frozenset[Place]:
        """Nodes that are joined again."""
        return frozenset(nodes_above(self.tree, self.traced))

    def _readers(self, places: Iterable[Place]) -> frozenset[Place]:
        readers = (reader for place in places for reader in self.tree.readers(place))
        return frozenset(reader for reader in readers if self.tree.is_mapped(reader))


def read_window(grid: TileGrid, block: Block) -> Window:
    """What the tiles of a block read of the raster, px; what they see beyond its edges is reflected from there."""
    axes = (grid.rows, grid.rows.block_range(block.row)), (grid.cols, grid.cols.block_range(block.col))
    (top, bottom), (left, right) = ((axis.read(first)[0], axis.read(stop - 1)[1]) for axis, (first, stop) in axes)
    whole = Window(top, left, bottom - top, right - left)
    return whole.intersect(Window(0, 0, *grid.shape))


def _layers(before: Sequence[Parts], now: Sequence[Parts]) -> Iterator[tuple[Parts, Parts]]:
    """Layers beside one another; those of another number of layers have nothing in common."""
    if len(before) == len(now):
        yield from zip(before, now, strict=True)
    else:
        yield [part for layer in before for part in layer], []
        yield [], [part for layer in now for part in layer]


def _differing(blocks: Mapping[Place, Window], before: Parts, now: Parts) -> set[Place]:
    """Blocks that read other parts, or the same in another order."""
    old, new = _parts_of(blocks, before), _parts_of(blocks, now)
    return {place for place in blocks if old.get(place) != new.get(place)}


def _parts_of(blocks: Mapping[Place, Window], parts: Parts) -> dict[Place, list[str]]:
    """The digests of the parts that each block reads, in their order."""
    places = list(blocks)
    found: dict[Place, list[str]] = {}
    index = shapely.STRtree([_box(Window(*part[:4])) for part in parts])
    pairs = index.query([_box(window) for window in blocks.values()])
    for number, part in sorted(zip(*pairs.tolist(), strict=True)):
        *extent, digest = parts[part]
        if Window(*extent).intersect(blocks[places[number]]).area:
            found.setdefault(places[number], []).append(digest)
    return found


def _box(window: Window) -> shapely.Polygon:
    return shapely.box(window.x, window.y, window.right, window.bottom)


def _touched(plan: Plan, before: str | None, now: str | None) -> set[Place]:
    """Blocks that predict a pixel in which two regions may differ; no region is all of the raster."""
    whole = plan.raster.geobox.extent.geom
    old, new = (whole if region is None else shapely.from_wkb(region) for region in (before, now))
    apart = shapely.symmetric_difference(old, new).buffer(_pixel(plan))  # its corners are rounded
    if apart.is_empty:
        return set()
    mask = RegionMask(Region(apart, CRS.from_user_input(plan.raster.crs or LOCAL)), plan.raster.geobox)
    down, across = plan.grid.rows, plan.grid.cols
    return set(mask.touched_blocks((down.blocks, down.block_reach), (across.blocks, across.block_reach)))


def _pixel(plan: Plan) -> float:
    """Length of a pixel's diagonal, CRS units."""
    transform = plan.raster.transform
    return math.hypot(transform.a + transform.b, transform.d + transform.e)


def nodes_above(tree: BlockTree, places: Iterable[Place]) -> set[Place]:
    """All nodes above some blocks."""
    above: set[Place] = set()
    for place in places:
        node = tree.parent(place)
        while node is not None and node not in above:
            above.add(node)
            node = tree.parent(node)
    return above
