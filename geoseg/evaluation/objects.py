"""Objects of both inputs on the evaluation grid: how they overlap, what class each has, and how much was compared.

An input is a raster of numbers or a set of polygons, which may lie over each other. It knows windows and numbers;
scores are taken elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from geoseg.evaluation.burning import Burnt
from geoseg.evaluation.features import NO_CLASS
from geoseg.evaluation.grid import EvaluationGrid, without_nodata
from geoseg.evaluation.overlaps import NOTHING, VOID, Integers, Overlaps, Tally, runs_of
from geoseg.grid import Window
from geoseg.raster import Raster, read_labels

Bools = NDArray[np.bool_]

Progress = Callable[[int, int], None]
"""Called with the number of windows that are done, and that of all."""


class ObjectSource(Protocol):
    """Numbers of objects by window.

    Attributes
    ----------
    is_laid : bool
        Whether objects may lie over each other.
    """

    is_laid: ClassVar[bool]

    def read(self, window: Window) -> tuple[Integers, Bools]:
        """Numbers, int64 (y, x), 0 = none; and where they are known, bool (y, x)."""
        ...

    def pixels(self, window: Window) -> tuple[Integers, Integers]:
        """Numbers of all pixels of objects that may lie over each other, and their places in the flat window."""
        ...


@dataclass(frozen=True, eq=False)
class RasterObjects:
    """Objects of a raster that lies on the grid; a declared nodata of 0 says that there is none."""

    raster: Raster
    is_laid: ClassVar[bool] = False

    @classmethod
    def of(cls, raster: Raster) -> RasterObjects:
        """Take 0 for what it is."""
        return cls(without_nodata(raster, NOTHING))

    def read(self, window: Window) -> tuple[Integers, Bools]:
        """Numbers and where they are known; what is negative is none."""
        numbers, mask = read_labels(self.raster, window)
        return np.maximum(numbers.astype(np.int64), NOTHING), mask

    def pixels(self, window: Window) -> tuple[Integers, Integers]:
        """The same, pixel by pixel."""
        numbers = self.read(window)[0].ravel()
        places = np.flatnonzero(numbers)
        return numbers[places], places


@dataclass(frozen=True, eq=False)
class PolygonObjects:
    """Polygons; the number of each is its position plus 1."""

    burnt: Burnt
    count: int
    is_laid: ClassVar[bool] = True

    def read(self, window: Window) -> tuple[Integers, Bools]:
        """Numbers, and all of them known."""
        numbers = np.arange(1, self.count + 1)
        return self.burnt.paint(window, numbers, NOTHING), np.ones(window.shape, np.bool_)

    def pixels(self, window: Window) -> tuple[Integers, Integers]:
        """Numbers and places."""
        owners, places = self.burnt.pixels(window)
        return owners + 1, places


@dataclass(frozen=True, eq=False)
class ObjectCounts:
    """What two sides share.

    Attributes
    ----------
    overlaps : Overlaps
        Areas in px.
    both, either : int
        Pixels that belong to an object on both sides, and on one at least.
    known, compared : int
        Pixels of which the truth is known, and those among them of which the prediction says something.
    """

    overlaps: Overlaps
    both: int
    either: int
    known: int
    compared: int


def count_objects(
    truth: ObjectSource,
    prediction: ObjectSource,
    grid: EvaluationGrid,
    *,
    ignore: tuple[int, ...] = (),
    progress: Progress | None = None,
) -> ObjectCounts:
    """Count what objects share, in windows.

    Parameters
    ----------
    truth, prediction : ObjectSource
        On the grid.
    grid : EvaluationGrid
        Where they are compared.
    ignore : tuple of int
        Numbers of the truth that stand for places of which it is not known.
    progress : callable, optional
        Called after each window.
    """
    pairs, trues, found = Tally(2), Tally(1), Tally(1)
    sums = np.zeros(4, np.int64)
    windows = grid.windows()
    for done, window in enumerate(windows, 1):
        one, known = truth.read(window)
        other, judged = prediction.read(window)
        inside = grid.inside(window)
        one[~known | np.isin(one, ignore)] = VOID
        judged &= inside
        sums += _count_pixels(one, other, inside, judged)
        if prediction.is_laid:
            trues.add(*runs_of(one[judged]))
            numbers, places = _kept(*prediction.pixels(window), judged)
            pairs.add(*runs_of(one.ravel()[places], numbers))
        elif truth.is_laid:
            found.add(*runs_of(other[judged]))
            numbers, places = _kept(*truth.pixels(window), judged)
            pairs.add(*runs_of(numbers, other.ravel()[places]))
        else:
            pairs.add(*runs_of(one[judged], other[judged]))
        if progress is not None:
            progress(done, len(windows))
    overlaps = Overlaps.of_tallies(
        pairs, trues if prediction.is_laid else None, found if truth.is_laid and not prediction.is_laid else None
    )
    both, either, total, compared = sums.tolist()
    return ObjectCounts(overlaps, both, either, total, compared)


def count_labels(source: ObjectSource, labels: Raster, grid: EvaluationGrid, numbers: Integers) -> Integers:
    """Find the class of each object: the label of most of its pixels.

    Parameters
    ----------
    source : ObjectSource
        The objects.
    labels : Raster
        On the grid.
    grid : EvaluationGrid
        Where they are compared.
    numbers : NDArray
        int64, shape (object,): numbers of the objects, ascending.

    Returns
    -------
    NDArray
        int64, shape (object,): the value of each one's class, -1 = none.
    """
    tally = Tally(2)
    for window in grid.windows():
        values, mask = read_labels(labels, window)
        objects = source.read(window)[0]
        chosen = mask & grid.inside(window) & (objects > NOTHING)
        tally.add(*runs_of(objects[chosen], values[chosen]))
    (owners, classes), areas = tally.total()
    order = np.lexsort((-classes, areas, owners))  # the last of each object is its largest, and of these the lowest
    last = np.flatnonzero(np.diff(owners[order], append=-1))
    here, best = owners[order][last], classes[order][last]
    result = np.full(len(numbers), NO_CLASS, np.int64)
    among = np.isin(here, numbers)
    result[np.searchsorted(numbers, here[among])] = best[among]
    return result


def _kept(numbers: Integers, places: Integers, judged: Bools) -> tuple[Integers, Integers]:
    """What lies where both sides are compared."""
    chosen = judged.ravel()[places]
    return numbers[chosen], places[chosen]


def _count_pixels(one: Integers, other: Integers, inside: Bools, judged: Bools) -> Integers:
    """Pixels on both sides, on either, of known truth, and compared."""
    known, true, found = one != VOID, one > NOTHING, other > NOTHING
    layers = (true & found & judged, (true | found) & judged & known, inside & known, judged & known)
    return np.array([np.count_nonzero(layer) for layer in layers], np.int64)
