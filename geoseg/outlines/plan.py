"""The frozen plan of an outline: the raster in blocks, and the tree in which their pieces are joined.

A node of the tree is ``(level, row, column)``: level 0 are the blocks, and each node of the next level joins up to
`ARITY` x `ARITY` of this one. A vertex is copied once a level, memory holds one node's open arcs, and nodes of a level
do not depend on one another, so they run in parallel.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from geoseg.grid import Window
from geoseg.outlines.folder import Node, OutlineFolder
from geoseg.outlines.objects import RunObjects
from geoseg.raster import PixelAreas
from geoseg.stages import Scope, stages_of, totals
from geoseg.tree import BlockTree
from geoseg.vector import Region
from geoseg.vectorize import Shaping

ARITY = 2
"""Nodes down and across that are joined at once: few, because the last join holds the frontiers of all of them."""


class LabelSource(Protocol):
    """Where final labels are read from.

    Attributes
    ----------
    has_confidence : bool
        Whether it knows how sure pixels are.
    """

    has_confidence: ClassVar[bool]

    @property
    def dtype(self) -> np.dtype[Any]:
        """An integer type that holds all labels, and nodata."""

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
        """Labels, integers (y, x), and confidence, uint8 (y, x), 255 = certain, or None when every pixel is."""


@dataclass(frozen=True)
class OutlinePlan:
    """What polygons are made of, and how.

    Attributes
    ----------
    source : LabelSource
        The labels.
    folder : OutlineFolder
        Where pieces and polygons are kept; every worker must see it.
    rows, cols : tuple of int
        Where rows and columns of blocks begin, px, and the end of the raster.
    transform : Affine
        From column and row of a pixel corner to CRS coordinates.
    crs : CRS
        The raster's.
    shaping : Shaping
        What polygons are to look like.
    areas : PixelAreas or None
        What each pixel counts where ``min_pixels`` is an area; 1 elsewhere.
    min_pixels : int
        Faces with fewer pixels become part of their neighbours; 1 keeps all.
    keep_classes : collection of int
        Labels whose faces stay whatever their size.
    names : mapping of int to str
        Names of the classes.
    classes : collection of int, optional
        The only labels that become polygons.
    nodata : int, optional
        The label that never does.
    region : Region, optional
        In the raster's CRS; polygons are clipped to it.
    tolerance : float, optional
        CRS units: outlines become straight walls, which stray from what was traced by about so much; without it they
        do not.
    places : frozenset, optional
        Rows and columns of the blocks that may hold labels; all of them unless given.
    """

    source: LabelSource | RunObjects
    folder: OutlineFolder
    rows: tuple[int, ...]
    cols: tuple[int, ...]
    transform: Affine
    crs: CRS
    shaping: Shaping
    min_pixels: int = 1
    areas: PixelAreas | None = None
    keep_classes: Collection[int] = ()
    names: Mapping[int, str] = field(default_factory=dict)
    classes: Collection[int] | None = None
    nodata: int | None = 255
    region: Region | None = None
    tolerance: float | None = None
    places: frozenset[tuple[int, int]] | None = None

    @property
    def raster_shape(self) -> tuple[int, int]:
        """Height and width, px."""
        return self.rows[-1], self.cols[-1]

    @cached_property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Nodes down and across of each level; the last level has one."""
        sizes = [(len(self.rows) - 1, len(self.cols) - 1)]
        while sizes[-1] != (1, 1):
            down, across = sizes[-1]
            sizes.append((-(-down // ARITY), -(-across // ARITY)))
        return tuple(sizes)

    @property
    def root(self) -> Node:
        """The node of the whole raster."""
        return len(self.sizes) - 1, 0, 0

    def window(self, node: Node) -> Window:
        """The pixels of a node."""
        level, row, col = node
        step = ARITY**level
        top, bottom = (self.rows[min(i * step, len(self.rows) - 1)] for i in (row, row + 1))
        left, right = (self.cols[min(i * step, len(self.cols) - 1)] for i in (col, col + 1))
        return Window(top, left, bottom - top, right - left)

    def exists(self, node: Node) -> bool:
        """Say whether a node may hold anything: whether one of its blocks does."""
        return self._existing is None or node in self._existing

    @cached_property
    def _existing(self) -> frozenset[Node] | None:
        """Nodes above blocks that hold labels, or that own a corner beside one: the next ones right and below."""
        if self.places is None:
            return None
        down, across = self.sizes[0]
        blocks = {
            (row + y, col + x)
            for row, col in self.places
            for y in (0, 1)
            for x in (0, 1)
            if row + y < down and col + x < across
        }
        return frozenset(
            (level, row // ARITY**level, col // ARITY**level) for level in range(len(self.sizes)) for row, col in blocks
        )

    def blocks(self) -> Iterator[Node]:
        """Blocks to trace, in raster order."""
        return (node for node in self.nodes() if node[0] == 0)

    def nodes(self) -> Iterator[Node]:
        """Every node, level by level, each in raster order."""
        if self._existing is not None:
            yield from sorted(self._existing)
            return
        for level, (down, across) in enumerate(self.sizes):
            yield from ((level, row, col) for row in range(down) for col in range(across))

    @property
    def totals(self) -> dict[str, int]:
        """Number of tasks by stage."""
        return totals(stages_of(Scope(outlines=True, sieves=self.is_sifted)), self.tree)

    @property
    def tree(self) -> BlockTree:
        """Its blocks, and the nodes that join them."""
        return BlockTree((len(self.rows) - 1, len(self.cols) - 1), self.places)

    @property
    def objects(self) -> RunObjects | None:
        """The source, when it tells objects apart."""
        return self.source if isinstance(self.source, RunObjects) else None

    @property
    def is_sifted(self) -> bool:
        """Whether small faces go."""
        return self.min_pixels > 1

    def sources_of(self, block: Node) -> list[tuple[int, int]]:
        """Rows and columns of the blocks whose labels a trace reads: its own, those left and above, and the corner."""
        _, row, col = block
        return [(y, x) for y in (row, row - 1) for x in (col, col - 1) if y >= 0 and x >= 0]

    def parent(self, node: Node) -> Node | None:
        """The node that a node is joined into; None for the root."""
        level, row, col = node
        return None if node == self.root else (level + 1, row // ARITY, col // ARITY)

    def children(self, node: Node) -> list[Node]:
        """The nodes that are joined to a node, in raster order."""
        level, row, col = node
        if level == 0:
            return []
        down, across = self.sizes[level - 1]
        rows = range(row * ARITY, min((row + 1) * ARITY, down))
        cols = range(col * ARITY, min((col + 1) * ARITY, across))
        return [child for y in rows for x in cols if self.exists(child := (level - 1, y, x))]
