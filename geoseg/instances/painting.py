"""One tile's detections as a map of objects: every pixel belongs to at most one.

Objects compete within the whole tile, halo included, and only what lies in the tile's reach is kept. It knows one tile.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.grid import Tile
from geoseg.models.detections import Detections, Integers, Mask, ScoreArray

COVERED = 0.5
"""Share of its mask that better objects may take from an object; with less left it is a repetition of them."""

Ids = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class TileObjects:
    """Objects of one tile.

    Attributes
    ----------
    ids : int32 array
        Shape (y, x) of the tile's reach: 0 = none, otherwise the object's number from 1 on.
    classes : uint8 array
        Shape (object,): the label of each one's class.
    scores : float32 array
        Shape (object,), 0 to 1.
    prompts : int64 array
        Shape (object,): the prompt that each one answers, -1 = none.
    """

    ids: Ids
    classes: NDArray[np.uint8]
    scores: ScoreArray
    prompts: Integers

    def __len__(self) -> int:
        return len(self.classes)

    def above(self, min_score: float) -> TileObjects:
        """Leave out objects with a lower score: what `paint` gives of the others alone.

        A better object takes pixels from a worse one and never the other way, so the pixels of those that stay are the
        same.
        """
        keep = self.scores >= min_score
        if keep.all():
            return self
        numbers = np.zeros(len(self) + 1, np.int32)
        numbers[1:][keep] = np.arange(1, np.count_nonzero(keep) + 1)
        return TileObjects(numbers[self.ids], self.classes[keep], self.scores[keep], self.prompts[keep])


def paint(found: Detections, tile: Tile, wanted: Mask, values: NDArray[np.uint8]) -> TileObjects:
    """Give each pixel of a tile's reach to the best object that claims it.

    The best score goes first; what is left of an object's mask is its own, unless better objects have taken more than
    `COVERED` of it. Equal scores go by place, from above, then from the left.

    Parameters
    ----------
    found : Detections
        Of what the tile reads.
    tile : Tile
        Where it lies.
    wanted : bool array
        Shape (y, x) of the tile's reach: pixels with data, within the region.
    values : uint8 array
        The label of each class, by its position.
    """
    ids = np.zeros(tile.read.shape, np.int32)
    order = np.lexsort((found.boxes[:, 0], found.boxes[:, 1], -found.scores))
    for number in order:
        mask, place = found.masks[number], ids[found.windows[number].slices()]
        free = mask & (place == 0)
        if np.count_nonzero(free) > (1 - COVERED) * np.count_nonzero(mask):
            place[free] = number + 1
    visible = ids[tile.reach.relative_to(tile.read).slices()]
    kept = np.flatnonzero(_seen(visible, wanted, np.zeros(len(found) + 1, np.bool_))[1:])
    renumbered = np.zeros(len(found) + 1, np.int32)
    renumbered[kept + 1] = np.arange(1, len(kept) + 1)
    painted = np.empty(visible.shape, np.int32)
    _renumber(visible, wanted, renumbered, painted)
    return TileObjects(painted, values[found.classes[kept]], found.scores[kept], found.prompts[kept])


@njit(cache=True, nogil=True)
def _seen(ids: Ids, wanted: Mask, seen: Mask) -> Mask:
    """Mark the numbers that stand on any wanted pixel."""
    for y in range(ids.shape[0]):
        for x in range(ids.shape[1]):
            if wanted[y, x]:
                seen[ids[y, x]] = True
    return seen


@njit(cache=True, nogil=True)
def _renumber(ids: Ids, wanted: Mask, numbers: Ids, painted: Ids) -> None:
    """Write new numbers where pixels are wanted, and 0 elsewhere."""
    for y in range(ids.shape[0]):
        for x in range(ids.shape[1]):
            painted[y, x] = numbers[ids[y, x]] if wanted[y, x] else 0
