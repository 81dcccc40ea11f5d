"""Outlines for the small zooms of a map: labels are thinned, as for overviews of a raster, and traced anew.

What is small there goes to its neighbours and is not left out, so polygons have no gaps at any zoom. Labels are read as
they were traced, without small faces; memory depends on blocks of cells and not on the raster, and neither do results
depend on the blocks of the run.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from math import sqrt
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import shapely
from affine import Affine
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.mapping_unit import KEEP_ALL
from geoseg.outlines.plan import OutlinePlan
from geoseg.outlines.sifting import read_final
from geoseg.raster import most_frequent
from geoseg.tree import Place, level_of
from geoseg.vector import Region, clip_features
from geoseg.vectorize import Faces, Metric, Piece, Shaping, Simplification, features, join, reach_of, renamed, trace

BLOCK = 512
"""Cells along the sides of blocks that are traced at once."""

SIDE = 2_048
"""Pixels along the sides of what is read at once, at most; a power of two."""

PARTS = 5
"""Rows and columns of pixels whose size is asked for."""

STRAY = 0.75
"""Cells by which outlines may stray from the cells' corners: stairs go."""


def overviews_of(plan: OutlinePlan) -> OutlineOverviews | None:
    """Overviews of outlines; None of objects, of straight walls and of a single class, which share no boundaries."""
    classes = plan.names if plan.classes is None else plan.classes
    is_alone = plan.objects is not None or plan.tolerance is not None or len(classes) == 1
    return None if is_alone else OutlineOverviews(plan)


@dataclass(frozen=True)
class OutlineOverviews:
    """Generalised copies of the polygons of a plan.

    Attributes
    ----------
    plan : OutlinePlan
        Whose polygons are all on disk.
    """

    plan: OutlinePlan

    @property
    def pixels(self) -> list[shapely.Polygon]:
        """Pixels all over the raster, in its CRS."""
        rows, cols = ([int(size * part / PARTS) for part in range(PARTS)] for size in self.plan.raster_shape)
        return [self._box(row, col, 1, 1) for row in rows for col in cols]

    def tables(self, factor: int) -> Iterator[pa.Table]:
        """Trace cells of so many pixels along each side, a power of two.

        Each cell has the most frequent label of 2 x 2 cells of half the size, up from pixels.

        Yields
        ------
        Table
            Polygons with ``class`` and ``name``; what is measured of polygons would be another's.
        """
        plan = self._thinned(factor)
        height, width = self.plan.raster_shape
        extent = Region(self._box(0, 0, height, width), plan.crs)  # the last cells reach beyond it
        for faces in _traced(plan, plan.tree.root, []):
            table = features(faces, plan.transform, plan.crs, {})
            for region in (extent, plan.region):
                table = table if region is None else clip_features(table, region)[0]
            if len(table):
                yield renamed(table, plan.names)

    def _box(self, row: int, col: int, height: int, width: int) -> shapely.Polygon:
        """A part of the raster in its CRS."""
        corners = ((col, row), (col + width, row), (col + width, row + height), (col, row + height))
        return shapely.Polygon([self.plan.transform @ corner for corner in corners])

    def _thinned(self, factor: int) -> OutlinePlan:
        """The plan of a raster of cells."""
        rows, cols = (_starts(-(-size // factor)) for size in self.plan.raster_shape)
        transform = self.plan.transform @ Affine.scale(factor)
        stray = STRAY * sqrt(abs(transform.determinant))
        shaping = Shaping(
            metric=Metric.of(transform),
            simplification=Simplification(stray),
            max_vertices=self.plan.shaping.max_vertices,
            connectivity=self.plan.shaping.connectivity,
        )
        return replace(
            self.plan,
            source=_Cells(self.plan, factor),
            rows=rows,
            cols=cols,
            transform=transform,
            shaping=shaping,
            unit=KEEP_ALL,
            areas=None,
            places=self._places(rows, cols, factor),
        )

    def _places(self, rows: tuple[int, ...], cols: tuple[int, ...], factor: int) -> frozenset[tuple[int, int]] | None:
        """Blocks of cells with labels; None where all blocks of the plan may have some."""
        if self.plan.places is None:
            return None
        found: set[tuple[int, int]] = set()
        for place in self.plan.places:
            pixels = self.plan.window(place)
            ends = ((pixels.y, pixels.bottom, rows), (pixels.x, pixels.right, cols))
            down, across = (
                range(bisect_right(starts, first // factor) - 1, bisect_left(starts, -(-end // factor)))
                for first, end, starts in ends
            )
            found.update(product(down, across))
        return frozenset(found)


@dataclass(frozen=True)
class _Cells:
    """Labels of a plan, thinned.

    Attributes
    ----------
    plan : OutlinePlan
        With labels of pixels.
    factor : int
        Pixels along each side of a cell.
    """

    plan: OutlinePlan
    factor: int
    has_confidence: ClassVar[bool] = False

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The labels' own."""
        return self.plan.source.dtype

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
        """Labels of cells, integers (y, x)."""
        found = np.empty(window.shape, self.dtype)
        step = max(1, SIDE // self.factor)
        for y in range(window.y, window.bottom, step):
            for x in range(window.x, window.right, step):
                part = Window(y, x, step, step).intersect(window)
                found[part.relative_to(window).slices()] = self._read_part(part)
        return found, None

    def _read_part(self, part: Window) -> NDArray[Any]:
        """Labels of a few cells, or of one that is larger than what is read at once."""
        across = 2 if self.factor > SIDE else self.factor  # cells of half the size, or pixels, along a side of a cell
        finer = Window(part.y * across, part.x * across, part.height * across, part.width * across)
        height, width = (-(-size * across // self.factor) for size in self.plan.raster_shape)
        finer = finer.intersect(Window(0, 0, height, width))
        if self.factor > SIDE:
            labels = _Cells(self.plan, self.factor // 2).read(finer)[0]
        else:
            labels = read_final(self.plan, finer)[0]
        for _ in range(across.bit_length() - 1):
            labels = most_frequent(labels)
        return labels


def _traced(plan: OutlinePlan, place: Place, rests: list[Piece]) -> Iterator[Faces]:
    """Faces of a block or node and all below it; what goes on outside is added to a list."""
    window = plan.window(place)
    if level_of(place)[0]:
        parts: list[Piece] = []
        for child in plan.tree.children(place):
            yield from _traced(plan, child, parts)
        faces, rest = join(parts, window, plan.shaping)
    else:
        labels, _ = plan.source.read(reach_of(window))
        faces, rest = trace(
            labels, None, window, plan.raster_shape, plan.shaping, nodata=plan.nodata, classes=plan.classes
        )
    rests.append(rest)
    yield faces


def _starts(size: int) -> tuple[int, ...]:
    """Where blocks of cells begin, and the end."""
    return (*range(0, size, BLOCK), size)
