"""Merges instances of overlapping tiles and relabels them: which are the same, which are ghosts, and their ids.

Two objects of overlapping tiles are the same when their intersection over union, within the overlap of their tiles,
passes a threshold above one half, so that an object meets at most one of another tile; or when they answer the same
prompt. Everything here is sums, minima and maxima of integers, and the order of keys, so the result depends on nothing
but the objects. It knows arrays of the whole raster: some tens of bytes an object, nothing a pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.instances.meeting import LOCAL, Meeting
from geoseg.mapping_unit import KEEP_ALL, MappingUnit
from geoseg.models.detections import UNPROMPTED, Integers, ScoreArray

Floats = NDArray[np.float64]

Columns = tuple[NDArray[np.uint8], ScoreArray, Integers]
"""Classes, scores and prompts of the objects of a tile."""

SAME = 0.5
"""Intersection over union, within the overlap of two tiles, above which two objects are one."""


@dataclass(frozen=True, eq=False)
class InstanceTable:
    """Objects of tiles, in ascending order of their keys.

    Attributes
    ----------
    keys : int64 array
        Shape (object,): ``tile * LOCAL + number``.
    classes : uint8 array
        Shape (object,): labels.
    scores : float32 array
        Shape (object,), 0 to 1.
    prompts : int64 array
        Shape (object,), -1 = none.
    """

    keys: Integers
    classes: NDArray[np.uint8]
    scores: ScoreArray
    prompts: Integers

    @classmethod
    def of(cls, tiles_across: int, tiles: Iterable[tuple[tuple[int, int], Columns]]) -> InstanceTable:
        """The table of tiles, each by its row and column; they are counted in raster order.

        Parameters
        ----------
        tiles_across : int
            Tiles of a row.
        tiles : iterable
            Row and column of each tile, and classes, scores and prompts of its objects.
        """
        parts = []
        for (row, col), columns in tiles:
            keys = (row * tiles_across + col) * LOCAL + np.arange(1, len(columns[0]) + 1)
            parts.append((keys, *columns))
        parts.sort(key=lambda part: part[0][:1].tolist())
        types = (np.int64, np.uint8, np.float32, np.int64)
        return cls(
            *(
                np.concatenate([np.empty(0, dtype), *(part[column] for part in parts)]).astype(dtype)
                for column, dtype in enumerate(types)
            )
        )


@dataclass(frozen=True, eq=False)
class MergedInstances:
    """Objects of the raster, numbered from 1 on by their first pixel in raster order.

    Attributes
    ----------
    keys : int64 array
        Shape (part,): objects of tiles, ascending.
    ids : uint32 array
        Shape (part,): the object that each one is part of; 0 = it was left out.
    classes : uint8 array
        Shape (object,): the label of number 1, 2, ...
    scores : float32 array
        Shape (object,): the best score of the parts.
    first, pixels : int64 arrays
        Shape (object,): raster index of the first pixel, and number of pixels.
    """

    keys: Integers
    ids: NDArray[np.uint32]
    classes: NDArray[np.uint8]
    scores: ScoreArray
    first: Integers
    pixels: Integers

    def numbered(self, painted: Integers) -> NDArray[np.uint32]:
        """The number of each pixel's object, uint32 (y, x), 0 = none, of keys as `paint_core` gives them."""
        numbers = np.zeros(painted.shape, np.uint32)
        found = painted >= 0
        numbers[found] = self.ids[np.searchsorted(self.keys, painted[found])]
        return numbers


def unite(
    table: InstanceTable,
    meeting: Meeting,
    *,
    unit: MappingUnit = KEEP_ALL,
    weigh: Callable[[Floats, Floats], Floats] | None = None,
) -> MergedInstances:
    """Unite objects of tiles.

    Parameters
    ----------
    table : InstanceTable
        All objects of all tiles.
    meeting : Meeting
        What all cores say about them.
    unit : MappingUnit
        Smaller objects are left out.
    weigh : callable, optional
        What a pixel counts, by its row and column; 1 unless given. All pixels of an object count as that in its middle.

    Returns
    -------
    MergedInstances
        An object of which others have taken more than it kept is left out too: a repetition.
    """
    pairs = _summed(meeting.winners, meeting.losers, meeting.shared)
    group = _groups(table, pairs, meeting)
    count = int(group.max(initial=-1)) + 1
    pixels, first, *places = _extent(table, meeting, group, count)
    lost = _lost(table, pairs, group, count)
    classes, scores = _best(table, group, count)
    sizes = pixels if weigh is None else pixels * weigh(*(place / np.maximum(pixels, 1) for place in places))
    large = sizes >= unit.of(classes)
    kept = np.flatnonzero(large & (pixels > 0) & (lost <= pixels))
    kept = kept[np.argsort(first[kept], kind="stable")]
    number = np.zeros(count, np.uint32)
    number[kept] = np.arange(1, len(kept) + 1)
    return MergedInstances(table.keys, number[group], classes[kept], scores[kept], first[kept], pixels[kept])


Counts = tuple[Integers, Integers, Integers]
"""Two columns of codes, each combination once, and its count."""


def _summed(one: Integers, other: Integers, counts: Integers) -> Counts:
    """Add up the counts of equal combinations, and sort by them."""
    order = np.lexsort((other, one))
    one, other, counts = one[order], other[order], counts[order]
    is_new = np.ones(len(one), np.bool_)
    is_new[1:] = (np.diff(one) != 0) | (np.diff(other) != 0)
    begins = np.flatnonzero(is_new)
    return one[begins], other[begins], np.add.reduceat(counts, begins) if len(begins) else counts


def _groups(table: InstanceTable, pairs: Counts, meeting: Meeting) -> Integers:
    """The number of the group of each object, from 0 on, in any order."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components  # here: most runs have no objects

    one, other, shared = pairs
    claims = _summed(meeting.claimants, meeting.rivals, meeting.claimed)
    union = _claim(claims, one, other // LOCAL) + _claim(claims, other, one // LOCAL) - shared
    left, right = _rows(table, one), _rows(table, other)
    same = (shared > SAME * union) & (table.classes[left] == table.classes[right])
    begin, end = _prompted(table)
    edges = np.concatenate([left[same], begin]), np.concatenate([right[same], end])
    size = len(table.keys)
    graph = coo_array((np.ones(len(edges[0]), np.bool_), edges), (size, size))
    group: Integers = connected_components(graph, directed=False)[1].astype(np.int64)
    return group


def _claim(claims: Counts, keys: Integers, rivals: Integers) -> Integers:
    """Pixels of each object under another tile."""
    claimants, tiles, counts = claims
    names, order = np.unique(claimants), np.unique(tiles)

    def code(key: Integers, tile: Integers) -> Integers:
        return np.searchsorted(names, key) * len(order) + np.searchsorted(order, tile)

    found: Integers = counts[np.searchsorted(code(claimants, tiles), code(keys, rivals))]
    return found


def _prompted(table: InstanceTable) -> tuple[Integers, Integers]:
    """Pairs of rows that answer the same prompt: each with the next one."""
    rows = np.flatnonzero(table.prompts != UNPROMPTED)
    rows = rows[np.argsort(table.prompts[rows], kind="stable")]
    same = np.diff(table.prompts[rows]) == 0
    return rows[:-1][same], rows[1:][same]


def _extent(table: InstanceTable, meeting: Meeting, group: Integers, count: int) -> tuple[Integers, ...]:
    """Number of pixels, raster index of the first pixel, and sums of rows and of columns of each group."""
    owner = group[_rows(table, meeting.keys)]
    pixels, rows, cols = np.zeros((3, count), np.int64)
    for total, part in ((pixels, meeting.pixels), (rows, meeting.rows), (cols, meeting.cols)):
        np.add.at(total, owner, part)
    first = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(first, owner, meeting.first)
    return pixels, first, rows, cols


def _lost(table: InstanceTable, pairs: Counts, group: Integers, count: int) -> Integers:
    """Pixels that each group has claimed and another one has."""
    winner, loser = group[_rows(table, pairs[0])], group[_rows(table, pairs[1])]
    lost = np.zeros(count, np.int64)
    np.add.at(lost, loser, np.where(winner == loser, 0, pairs[2]))
    return lost


def _best(table: InstanceTable, group: Integers, count: int) -> tuple[NDArray[np.uint8], ScoreArray]:
    """Class and score of the best part of each group; of equal ones the first."""
    order = np.lexsort((table.keys, -table.scores, group))
    begins = order[np.searchsorted(group[order], np.arange(count))]
    return table.classes[begins], table.scores[begins]


def _rows(table: InstanceTable, keys: Integers) -> Integers:
    """The row of each key."""
    return np.searchsorted(table.keys, keys).astype(np.int64)
