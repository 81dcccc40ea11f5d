"""Polygons that simplification would make too small: whatever would take from them stays as it was.

Strategy. Simplification moves a boundary in favour of one side, and what it takes from the other is known once the arc
is complete. A face from which all its arcs together would take so much that less than its minimum is left is *poor*,
and each arc that takes from a poor face keeps all of its vertices. One look is enough: a face that is not poor bears
everything that is taken, even if nothing is given in return, and from a poor one nothing is taken::

    area of a face after it  >=  pixels - (sum of what is taken)  >=  minimum    if it is not poor
    area of a face after it  >=  pixels                                          if it is

So the decision on an arc needs one face, the loser, and the same decision comes of every layout. An arc waits in both
of its shapes until that face is complete, and with it the face on the other side. No arc waits for faces that are
surely large enough: those with as many pixels as the minimum that are out of reach of all arcs, and those that are cut.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.arcs.chains import Coordinates, Integers
from geoseg.arcs.parts import Parts
from geoseg.arcs.taking import SHARES, allow
from geoseg.arcs.tracing import Arcs
from geoseg.mapping_unit import KEEP_ALL, MappingUnit
from geoseg.raster import PixelAreas

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Least:
    """What polygons must have after simplification, if their pixels have it.

    Attributes
    ----------
    unit : MappingUnit
        By class.
    areas : PixelAreas, optional
        What a pixel counts where the polygon begins, and ``unit`` is in the same; 1 unless given.
    """

    unit: MappingUnit = KEEP_ALL
    areas: PixelAreas | None = None

    def falls_below(self, label: Integers, area: NDArray[Any], key: Integers, raster_width: int) -> Flags:
        """Whether faces of some areas, px, with their first pixels at some places, have too little."""
        row, col = np.divmod(key, raster_width)
        size = area if self.areas is None else area * self.areas.at(row.astype(float), col.astype(float))
        least = self.unit.of(label)
        return (size < least) & (least > 1)

    def is_met(self, label: Integers, pixels: Integers) -> Flags:
        """Whether as many pixels are enough wherever they lie."""
        least = self.unit.of(label)
        return (pixels * (1.0 if self.areas is None else self.areas.smallest) >= least) | (least <= 1)


def charge(parts: Parts, arcs: Arcs, chosen: Flags) -> Parts:
    """Book what arcs take to the parts beside them."""
    lost = parts.lost.copy()
    for side, sign in ((arcs.left, 1), (arcs.right, -1)):
        takes = np.flatnonzero(chosen & (sign * arcs.taken > 0) & (side >= 0))
        np.add.at(lost, side[takes], np.abs(arcs.taken[takes]))
    return replace(parts, lost=lost)


def decide(arcs: Arcs, parts: Parts, is_open: Flags, least: Least, raster_width: int) -> Arcs:
    """Give the arcs that wait for a face that is complete, or surely large enough, the shape they may have.

    Parameters
    ----------
    arcs, parts : Arcs, Parts
        All arcs that are complete are charged.
    is_open : bool, shape (part,)
        Parts of features that may go on outside.
    least : Least
    raster_width : int
        Px.
    """
    if not arcs.is_waiting.any():
        return arcs
    face = parts.face
    pixels, lost, sheltered = (
        np.bincount(face, weights=values, minlength=len(parts))
        for values in (parts.pixels, parts.lost, parts.sheltered)
    )
    key = np.full(len(parts), np.iinfo(np.int64).max)
    np.minimum.at(key, face, parts.key)
    is_safe = (parts.is_giant | parts.is_void | least.is_met(parts.label, sheltered.astype(np.int64)))[face]
    is_poor = ~is_open & ~is_safe & least.falls_below(parts.label, pixels - lost / SHARES, key, raster_width)[face]
    is_safe |= ~is_open & ~is_poor
    loser = np.where(arcs.taken > 0, arcs.left, arcs.right)
    simplified = arcs.is_waiting & (_of(loser, is_safe) | (loser < 0) | (arcs.taken == 0))
    restored = arcs.is_waiting & _of(loser, is_poor) & ~simplified
    chains = allow(arcs.chains, simplified, restored)
    return replace(arcs, chains=chains, is_waiting=arcs.is_waiting & ~simplified & ~restored)


def _of(part: Coordinates, flags: Flags) -> Flags:
    """Look a flag up; False for what is no part."""
    return np.append(flags, False)[np.where(part >= 0, part, len(flags))]
