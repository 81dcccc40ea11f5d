"""The frozen plan of an outline: the raster in blocks, and the tree in which their pieces are joined.

A vertex is copied once a level of the tree, memory holds one node's open arcs, and nodes of a level do not depend on
one another, so they run in parallel.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from geoseg.grid import Window
from geoseg.mapping_unit import KEEP_ALL, MappingUnit
from geoseg.outlines.folder import OutlineFolder
from geoseg.outlines.objects import RunObjects
from geoseg.raster import PixelAreas
from geoseg.tree import ARITY, BlockTree, Place, level_of
from geoseg.vector import Region
from geoseg.vectorize import Shaping


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
        What each pixel counts where ``unit`` is an area; 1 elsewhere.
    unit : MappingUnit
        Smaller faces become part of their neighbours.
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
    right_angles : bool
        Walls are at right angles wherever they can be, and those of objects that touch lie on common lines.
    shortest_edge : float
        Metres: shorter walls are left out.
    tags : mapping of str to str
        What every feature is told to be in GeoJSON, in place of columns.
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
    unit: MappingUnit = KEEP_ALL
    areas: PixelAreas | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    classes: Collection[int] | None = None
    nodata: int | None = 255
    region: Region | None = None
    tolerance: float | None = None
    right_angles: bool = False
    shortest_edge: float = 0.0
    tags: Mapping[str, str] = field(default_factory=dict)
    places: frozenset[tuple[int, int]] | None = None

    @property
    def raster_shape(self) -> tuple[int, int]:
        """Height and width, px."""
        return self.rows[-1], self.cols[-1]

    def window(self, place: Place) -> Window:
        """The pixels of a block or node."""
        level, row, col = level_of(place)
        step = ARITY**level
        top, bottom = (self.rows[min(i * step, len(self.rows) - 1)] for i in (row, row + 1))
        left, right = (self.cols[min(i * step, len(self.cols) - 1)] for i in (col, col + 1))
        return Window(top, left, bottom - top, right - left)

    @cached_property
    def tree(self) -> BlockTree:
        """Its blocks, and the nodes that join them."""
        return BlockTree((len(self.rows) - 1, len(self.cols) - 1), self.places)

    @property
    def block_count(self) -> int:
        """Number of blocks that are traced."""
        return sum(1 for _ in self.tree.blocks())

    @property
    def objects(self) -> RunObjects | None:
        """The source, when it tells objects apart."""
        return self.source if isinstance(self.source, RunObjects) else None

    @property
    def is_sifted(self) -> bool:
        """Whether small faces go."""
        return not self.unit.keeps_all
