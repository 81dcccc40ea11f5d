"""Rings of pixel corners as integer arrays: exact, canonical, and without a Python object per vertex.

A canonical polygon is the same array of bits however it was traced or united: no vertex lies between two collinear
neighbours, each ring starts at its smallest (y, x), exteriors run counter-clockwise as seen on a screen (rows
downwards) and holes clockwise, and holes are sorted by their start. It knows nothing of labels or blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.grid import Window

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Rings:
    """Polygons as ragged arrays.

    Attributes
    ----------
    xy : int64, shape (vertex, 2)
        Column and row of pixel corners; the last vertex of a ring repeats its first.
    rings : int64, shape (ring + 1,)
        Where each ring begins in ``xy``, and the end.
    polygons : int64, shape (polygon + 1,)
        Where each polygon begins in ``rings``, and the end; the first ring of a polygon is its exterior.
    """

    xy: Integers
    rings: Integers
    polygons: Integers

    def __len__(self) -> int:
        """Count the polygons."""
        return len(self.polygons) - 1

    @classmethod
    def empty(cls) -> Rings:
        """No polygons."""
        return cls(np.empty((0, 2), np.int64), np.zeros(1, np.int64), np.zeros(1, np.int64))

    @classmethod
    def concatenate(cls, parts: Sequence[Rings]) -> Rings:
        """Put polygons one after another."""
        parts = [cls.empty(), *parts]
        return cls(
            np.concatenate([part.xy for part in parts]),
            offsets(np.concatenate([np.diff(part.rings) for part in parts])),
            offsets(np.concatenate([np.diff(part.polygons) for part in parts])),
        )

    def to_polygons(self, xy: NDArray[np.float64] | None = None) -> NDArray[np.object_]:
        """Make shapely polygons, in pixel coordinates or of other coordinates for the same vertices."""
        if len(self) == 0:
            return np.empty(0, object)
        polygons: NDArray[np.object_] = shapely.from_ragged_array(
            shapely.GeometryType.POLYGON, self.xy.astype(np.float64) if xy is None else xy, (self.rings, self.polygons)
        )
        return polygons

    def shift(self, x: int, y: int) -> Rings:
        """Move every vertex by whole pixels."""
        return Rings(self.xy + np.array([x, y]), self.rings, self.polygons)

    def take(self, index: Integers) -> Rings:
        """Return some of the polygons."""
        ring, polygons = _gather(self.polygons, index)
        vertex, rings = _gather(self.rings, ring)
        return Rings(self.xy[vertex], rings, polygons)

    def take_rings(self, index: Integers) -> Rings:
        """Return some of the rings, each as a polygon of its own."""
        vertex, rings = _gather(self.rings, index)
        return Rings(self.xy[vertex], rings, np.arange(len(index) + 1))


def offsets(lengths: Integers) -> Integers:
    """Where runs of these lengths begin when they follow one another, and the end."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _gather(starts: Integers, index: Integers) -> tuple[Integers, Integers]:
    """Positions of the members of some runs, and the offsets of these runs once they follow one another."""
    lengths = np.diff(starts)[index]
    begins = offsets(lengths)
    return np.arange(begins[-1]) + np.repeat(starts[index] - begins[:-1], lengths), begins


def canonical(rings: Rings) -> Rings:
    """Bring polygons into the one form that depends on nothing but the pixels they cover.

    A polygon whose interior is connected has exactly one decomposition of its boundary into rings that do not touch
    themselves, so equal sets of pixels have equal rings; collinear vertices, starts, directions and the order of
    holes are what is left to fix.
    """
    if len(rings) == 0:
        return rings
    xy, lengths = _without_straight_vertices(rings)
    starts = offsets(lengths)[:-1]
    ring_of = np.repeat(np.arange(len(lengths)), lengths)
    place_of = (xy[:, 1] << 32) + xy[:, 0]
    smallest = np.minimum.reduceat(place_of, starts)
    first = np.flatnonzero(place_of == smallest[ring_of]) - starts

    is_hole = np.ones(len(lengths), bool)
    is_hole[rings.polygons[:-1]] = False
    step = np.where((twice_areas(rings) > 0) == is_hole, 1, -1)

    polygon_of = np.repeat(np.arange(len(rings.polygons) - 1), np.diff(rings.polygons))
    order = np.lexsort((smallest, is_hole, polygon_of))
    rings_begin = offsets(lengths[order] + 1)
    ring = np.repeat(order, lengths[order] + 1)
    turn = np.arange(rings_begin[-1]) - np.repeat(rings_begin[:-1], lengths[order] + 1)
    vertex = starts[ring] + (first[ring] + step[ring] * turn) % lengths[ring]
    return Rings(xy[vertex], rings_begin, rings.polygons)


def twice_areas(rings: Rings) -> Integers:
    """Twice the signed area of each ring, px: negative when it is counter-clockwise on a screen."""
    x, y = rings.xy.T
    cross = np.zeros(len(rings.xy), np.int64)
    cross[:-1] = x[:-1] * y[1:] - x[1:] * y[:-1]
    cross[rings.rings[1:] - 1] = 0
    areas: Integers = np.add.reduceat(cross, rings.rings[:-1]) if len(rings.rings) > 1 else cross
    return areas


def _without_straight_vertices(rings: Rings) -> tuple[Integers, Integers]:
    """Corners of the rings, not closed, and how many each ring has."""
    is_last = np.zeros(len(rings.xy), bool)
    is_last[rings.rings[1:] - 1] = True
    xy = rings.xy[~is_last]
    lengths = np.diff(rings.rings) - 1
    starts = offsets(lengths)[:-1]
    following, preceding = np.arange(1, len(xy) + 1), np.arange(-1, len(xy) - 1)
    following[starts + lengths - 1] = starts
    preceding[starts] = starts + lengths - 1
    is_corner = ~((xy == xy[preceding]) & (xy == xy[following])).any(axis=1)
    ring_of = np.repeat(np.arange(len(lengths)), lengths)
    return xy[is_corner], np.bincount(ring_of[is_corner], minlength=len(lengths))


def reverse(rings: Rings) -> Rings:
    """Run through every ring the other way, from the same start."""
    ring = np.repeat(np.arange(len(rings.rings) - 1), np.diff(rings.rings))
    mirrored = rings.rings[ring] + rings.rings[ring + 1] - 1 - np.arange(len(rings.xy))
    return Rings(rings.xy[mirrored], rings.rings, rings.polygons)


def split_on_border(rings: Rings, window: Window) -> Rings:
    """Put a vertex on every pixel corner of the edges that lie on the border of a window.

    Neighbouring pieces then have equal edges along their common border, which a coverage union needs.
    """
    step = np.diff(rings.xy, axis=0, append=rings.xy[-1:])
    is_last = np.zeros(len(rings.xy), bool)
    is_last[rings.rings[1:] - 1] = True
    on_border = (rings.xy == (window.x, window.y)) | (rings.xy == (window.right, window.bottom))
    is_split = (on_border & (step == 0)).any(axis=1) & ~is_last
    count = np.where(is_split, np.abs(step).max(axis=1), 1)
    begins = offsets(count)
    turn = np.arange(begins[-1]) - np.repeat(begins[:-1], count)
    xy = np.repeat(rings.xy, count, axis=0) + np.repeat(np.sign(step), count, axis=0) * turn[:, None]
    return Rings(xy, begins[rings.rings], rings.polygons)
