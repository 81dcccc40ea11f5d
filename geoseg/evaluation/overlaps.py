"""What the segments of two maps share: the area of each, and of each pair, added up window by window.

Strategy. A window is cut into runs of pixels whose numbers are the same, on both sides; runs are added up by their
numbers. What is kept grows with the number of pairs that meet, never with the number of pixels. It knows numbers of
segments and areas; whether the areas are pixels or square metres is the caller's business.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

NOTHING = 0
"""Number of a pixel that belongs to no segment."""

VOID = -1
"""Number of a pixel of which the truth is not known."""

_PENDING = 2**20
"""Rows that wait to be added up, at least."""

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Areas of segments and of their pairs.

    Attributes
    ----------
    trues, found : NDArray
        int64, shapes (true,) and (predicted,): numbers of the segments, ascending.
    true_areas, found_areas : NDArray
        float64, the same shapes: area of each.
    hidden : NDArray
        float64, shape (predicted,): what of each lies where the truth is not known.
    first, second : NDArray
        int64, shape (pair,): positions in ``trues`` and ``found`` of those that share some area.
    shared : NDArray
        float64, shape (pair,): how much.
    """

    trues: Integers
    found: Integers
    true_areas: Floats
    found_areas: Floats
    hidden: Floats
    first: Integers
    second: Integers
    shared: Floats

    @property
    def iou(self) -> Floats:
        """Intersection over union of each pair, shape (pair,); the union is that of what is known."""
        known = self.found_areas - self.hidden
        return self.shared / (self.true_areas[self.first] + known[self.second] - self.shared)

    @property
    def unjudged(self) -> Bools:
        """Predicted segments of which more than half lies where the truth is not known: no fault without a partner."""
        result: Bools = 2 * self.hidden > self.found_areas
        return result

    def among(self, trues: Bools, found: Bools) -> Overlaps:
        """Those of some segments only, which are told by position."""
        kept = trues[self.first] & found[self.second]
        places = (np.cumsum(side) - 1 for side in (trues, found))
        first, second = (place[old[kept]] for place, old in zip(places, (self.first, self.second), strict=True))
        sides = self.trues[trues], self.found[found], self.true_areas[trues], self.found_areas[found]
        return Overlaps(*sides, self.hidden[found], first, second, self.shared[kept])

    def alike(self, trues: Integers, found: Integers) -> Overlaps:
        """The same segments, and those of their pairs whose two sides have one class."""
        kept = trues[self.first] == found[self.second]
        return replace(self, first=self.first[kept], second=self.second[kept], shared=self.shared[kept])

    @classmethod
    def of_tallies(cls, pairs: Tally, trues: Tally | None = None, found: Tally | None = None) -> Overlaps:
        """Add up.

        Parameters
        ----------
        pairs : Tally
            Areas by true and predicted number, 0 and -1 among them.
        trues, found : Tally, optional
            Areas by number, of a side of which the pairs do not hold every pixel once.
        """
        (one, other), areas = pairs.total()
        sides = [
            _segments(*(tally.total() if tally else ((numbers,), areas)))
            for numbers, tally in ((one, trues), (other, found))
        ]
        (true_numbers, true_areas), (found_numbers, found_areas) = sides
        dark = (one == VOID) & (other > NOTHING)
        hidden = np.zeros(len(found_numbers))
        hidden[np.searchsorted(found_numbers, other[dark])] = areas[dark]
        both = (one > NOTHING) & (other > NOTHING)
        first, second = np.searchsorted(true_numbers, one[both]), np.searchsorted(found_numbers, other[both])
        return cls(true_numbers, found_numbers, true_areas, found_areas, hidden, first, second, areas[both])


class Tally:
    """Areas by one or more numbers, added up as they come.

    Parameters
    ----------
    width : int
        Numbers of a key.
    """

    def __init__(self, width: int) -> None:
        self._pending: list[tuple[tuple[Integers, ...], Floats]] = []
        self._waiting, self._added, self._width = 0, 0, width

    def add(self, keys: tuple[NDArray[Any], ...], areas: NDArray[Any]) -> None:
        """Add areas, shape (row,), to those of the keys: one array of the same shape for each of their numbers."""
        summed = _sum_by(tuple(np.asarray(key, np.int64) for key in keys), areas.astype(np.float64))
        self._pending.append(summed)
        self._waiting += len(summed[1])
        if self._waiting > _PENDING + 2 * self._added:
            self.total()

    def total(self) -> tuple[tuple[Integers, ...], Floats]:
        """Every key once, as one array for each of its numbers, in ascending order, and its area."""
        if not self._pending:
            return tuple(np.empty(0, np.int64) for _ in range(self._width)), np.empty(0)
        columns = zip(*(keys for keys, _ in self._pending), strict=True)
        keys = tuple(np.concatenate(column) for column in columns)
        summed = _sum_by(keys, np.concatenate([areas for _, areas in self._pending]))
        self._pending, self._waiting, self._added = [summed], 0, len(summed[1])
        return summed


def runs_of(*layers: NDArray[Any]) -> tuple[tuple[Integers, ...], Integers]:
    """Cut arrays into runs of equal values.

    Parameters
    ----------
    *layers : NDArray
        Integers, all of one shape.

    Returns
    -------
    values : tuple of NDArray
        int64, shape (run,): the value of each run, in each layer.
    lengths : NDArray
        int64, shape (run,), px.
    """
    flat = [layer.ravel() for layer in layers]
    changes = np.ones(flat[0].size, np.bool_)
    if flat[0].size:
        changes[1:] = flat[0][1:] != flat[0][:-1]
    for layer in flat[1:]:
        changes[1:] |= layer[1:] != layer[:-1]
    starts = np.flatnonzero(changes)
    lengths = np.diff(starts, append=flat[0].size).astype(np.int64)
    return tuple(layer[starts].astype(np.int64) for layer in flat), lengths


def overlaps_of(truth: NDArray[Any], predicted: NDArray[Any]) -> Overlaps:
    """Overlaps of two arrays of numbers of one shape, 0 = none, -1 in the truth = not known; areas are px."""
    tally = Tally(2)
    tally.add(*runs_of(truth, predicted))
    return Overlaps.of_tallies(tally)


def _sum_by(keys: tuple[Integers, ...], areas: Floats) -> tuple[tuple[Integers, ...], Floats]:
    """Every key once, ascending, and the sum of its areas."""
    if not areas.size:
        return keys, areas
    order = np.lexsort(keys[::-1])
    keys, areas = tuple(key[order] for key in keys), areas[order]
    new = np.ones(areas.size, np.bool_)
    new[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    starts = np.flatnonzero(new)
    return tuple(key[starts] for key in keys), np.add.reduceat(areas, starts)


def _segments(keys: tuple[Integers, ...], areas: Floats) -> tuple[Integers, Floats]:
    """Numbers of segments, ascending, and the area of each."""
    real = keys[0] > NOTHING
    (numbers,), summed = _sum_by((keys[0][real],), areas[real])
    return numbers, summed
