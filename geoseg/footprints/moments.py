"""Moments of polylines: how far their points lie from a line, without going through the points again.

Every point of an edge counts, not only its ends, so it does not matter how finely an outline is divided. Sums run along
a polyline, and those of a stretch are a difference of two: its scatter takes the same time whatever its length.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Stretch(NamedTuple):
    """Points of a part of a polyline.

    Attributes
    ----------
    length : float
    x, y : float
        Their mean.
    xx, xy, yy : float
        The integral along the stretch of the products of their distances from the mean.
    """

    length: float
    x: float
    y: float
    xx: float
    xy: float
    yy: float


@njit(cache=True, nogil=True)
def integrate(x: Floats, y: Floats) -> Floats:
    """Sums from the first vertex to each: of length, x, y, x squared, x y, y squared, along the edges.

    Parameters
    ----------
    x, y : float64, shape (vertex,)
        Near the origin, or small differences of large sums are lost.

    Returns
    -------
    float64, shape (vertex, 6)
    """
    sums = np.zeros((x.size, 6))
    for vertex in range(1, x.size):
        ax, ay, bx, by = x[vertex - 1], y[vertex - 1], x[vertex], y[vertex]
        length = math.hypot(bx - ax, by - ay)
        sums[vertex, 0] = sums[vertex - 1, 0] + length
        sums[vertex, 1] = sums[vertex - 1, 1] + length * (ax + bx) / 2
        sums[vertex, 2] = sums[vertex - 1, 2] + length * (ay + by) / 2
        sums[vertex, 3] = sums[vertex - 1, 3] + length * (ax * ax + ax * bx + bx * bx) / 3
        sums[vertex, 4] = sums[vertex - 1, 4] + length * (2 * ax * ay + 2 * bx * by + ax * by + bx * ay) / 6
        sums[vertex, 5] = sums[vertex - 1, 5] + length * (ay * ay + ay * by + by * by) / 3
    return sums


@njit(cache=True, nogil=True)
def stretch(sums: Floats, first: int, last: int) -> Stretch:
    """The points from one vertex to another, of different places."""
    length = sums[last, 0] - sums[first, 0]
    x, y = (sums[last, 1] - sums[first, 1]) / length, (sums[last, 2] - sums[first, 2]) / length
    return Stretch(
        length,
        x,
        y,
        max(sums[last, 3] - sums[first, 3] - x * x * length, 0.0),
        sums[last, 4] - sums[first, 4] - x * y * length,
        max(sums[last, 5] - sums[first, 5] - y * y * length, 0.0),
    )


@njit(cache=True, nogil=True)
def least(xx: float, xy: float, yy: float) -> float:
    """The scatter across the best line: the smaller eigenvalue."""
    return max((xx + yy) / 2 - math.hypot((xx - yy) / 2, xy), 0.0)


@njit(cache=True, nogil=True)
def direction(xx: float, xy: float, yy: float) -> float:
    """The angle of the best line, from -pi / 2 to pi / 2."""
    return 0.5 * math.atan2(2 * xy, xx - yy)
