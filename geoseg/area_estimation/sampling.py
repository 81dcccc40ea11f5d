"""A stratified random sample of points of a map: its classes are the strata.

Strategy. Each pixel draws a key, log(u) / area, with u from a generator of its window; the largest keys of a class are
a sample of it without replacement, each pixel as likely as its ground is large (Efraimidis and Spirakis 2006). So the
raster is read once, memory is that of a window and the sample, and how many points a class has is decided at the end.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geoseg.area_estimation.counting import KINDS, Codes, Progress, class_windows
from geoseg.errors import EvaluationError
from geoseg.raster import Raster
from geoseg.report.framing import Frame

STREAM = 148
"""Before the seed, so that the numbers are not those by which somebody else has made the map from the same seed."""

Integers = NDArray[np.int64]


def draw(
    raster: Raster, name: str, *, size: int, minimum: int, seed: int, progress: Progress | None = None
) -> tuple[Integers, Integers]:
    """Draw pixels.

    Parameters
    ----------
    raster : Raster
        Classes, one band.
    name : str
        Of the map, for messages.
    size, minimum : int
        Points of all classes, and of each class at least, as far as it has pixels.
    seed : int
        Of the random numbers.
    progress : callable, optional
        Called after each window.

    Returns
    -------
    tuple
        Rows and columns, int64 (point,), px, in random order.

    Raises
    ------
    EvaluationError
        No pixel of the map has a class.
    """
    most, frame, codes = max(size, minimum), Frame(raster.geobox), Codes()
    keys, places, areas = [np.empty(0)] * KINDS, [np.empty(0, np.int64)] * KINDS, np.zeros(KINDS)
    for window, labels, weights in class_windows(raster, name, frame, codes, progress):
        chance = np.random.default_rng((STREAM, seed, window.y, window.x)).random(labels.size)
        with np.errstate(divide="ignore"):
            drawn = np.log(chance) / weights
        rows, columns = np.divmod(np.arange(labels.size), window.width)
        flat = (rows + window.y) * raster.shape[1] + columns + window.x
        areas += np.bincount(labels, weights, KINDS)
        for value in np.unique(labels[weights > 0]):
            own = np.flatnonzero((labels == value) & (weights > 0))
            key, place = np.concatenate([keys[value], drawn[own]]), np.concatenate([places[value], flat[own]])
            kept = np.lexsort((place, -key))[:most] if len(key) <= most else _largest(key, place, most)
            keys[value], places[value] = key[kept], place[kept]
    order = np.argsort(codes.values)
    if not len(order):
        raise EvaluationError(f"no pixel of {name} has a class, so there is nothing to sample; give another map")
    wanted = allocate(areas[order], size, minimum)
    chosen = np.concatenate([places[index][:count] for index, count in zip(order, wanted, strict=True)])
    chosen = np.random.default_rng((STREAM, seed)).permutation(chosen)
    found_rows, found_columns = np.divmod(chosen, raster.shape[1])
    return found_rows, found_columns


def _largest(keys: NDArray[np.float64], places: Integers, most: int) -> Integers:
    """The largest keys, in falling order; the first place of equal ones."""
    candidates = np.argpartition(-keys, most)[: most + 1]
    order: Integers = candidates[np.lexsort((places[candidates], -keys[candidates]))][:most]
    return order


def allocate(areas: NDArray[np.float64], size: int, minimum: int) -> Integers:
    """Points of each class, int64 (class,): in proportion to areas, and of each class that occurs the minimum."""
    counts = np.zeros(len(areas), np.int64)
    left = np.flatnonzero(areas)
    while len(left):
        rest = max(0, size - int(counts.sum()))
        shares = rest * areas[left] / areas[left].sum()
        rare = shares < minimum
        if not rare.any():
            counts[left] = shares.astype(np.int64)
            missing = rest - int(counts[left].sum())  # by rounding down: to those with the largest remainders
            counts[left[np.argsort(counts[left] - shares, kind="stable")[:missing]]] += 1
            break
        counts[left[rare]] = minimum
        left = left[~rare]
    return counts
