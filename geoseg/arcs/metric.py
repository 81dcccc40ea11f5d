"""Lengths and areas on the pixel lattice, in units of the CRS.

Pixels may be oblong or rotated, so a step of one column is not as long as a step of one row. It knows steps between
pixel corners only, never where the raster lies: what is measured here is the same bits everywhere in a map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from affine import Affine
from numba import njit

from geoseg.arcs.chains import Coordinates

ROUNDING = 1e-9
"""By what share squared distances and areas may differ and count as equal.

On a lattice they are often equal to each other or to a tolerance, and rounding must not decide: pixels of 0.1 give the
same result as pixels of 1.
"""


class Gram(NamedTuple):
    """The inner product of steps in pixels, as compiled loops take it.

    ``<u, v> = xx ux vx + xy (ux vy + uy vx) + yy uy vy`` in squared CRS units; ``area`` is that of one pixel.
    """

    xx: float
    xy: float
    yy: float
    area: float


@dataclass(frozen=True)
class Metric:
    """How a step of ``dx`` columns and ``dy`` rows becomes a step in the CRS: ``(a dx + b dy, d dx + e dy)``.

    Attributes
    ----------
    a, b, d, e : float
        The linear part of the raster's transform, CRS units a pixel.
    """

    a: float
    b: float
    d: float
    e: float

    @classmethod
    def of(cls, transform: Affine) -> Metric:
        """Take the linear part of a transform."""
        return cls(transform.a, transform.b, transform.d, transform.e)

    @property
    def gram(self) -> Gram:
        """The inner product of steps, ``M^T M`` for ``M = ((a, b), (d, e))``, and the area of a pixel, ``|det M|``."""
        return Gram(
            float(self.a * self.a + self.d * self.d),
            float(self.a * self.b + self.d * self.e),
            float(self.b * self.b + self.e * self.e),
            float(abs(self.a * self.e - self.b * self.d)),
        )

    def reach(self, distance: float) -> tuple[int, int]:
        """How many rows and columns lie within a distance of a point, rounded up to whole pixels.

        The disc of this radius is an ellipse in pixels; its half height and half width are the lengths of the rows of
        the inverse matrix.

        Parameters
        ----------
        distance : float
            CRS units.

        Returns
        -------
        rows, columns : int
        """
        area = self.gram.area
        return (
            math.ceil(distance * math.hypot(self.a, self.d) / area),
            math.ceil(distance * math.hypot(self.b, self.e) / area),
        )


@njit(cache=True, nogil=True)
def inner(gram: Gram, ax: float, ay: float, bx: float, by: float) -> float:
    """Inner product of two steps, squared CRS units."""
    return gram.xx * ax * bx + gram.xy * (ax * by + ay * bx) + gram.yy * ay * by


@njit(cache=True, nogil=True)
def squared_distance(gram: Gram, px: float, py: float, ux: float, uy: float) -> float:
    """Squared distance of the point ``p`` from the segment between the origin and ``u``, squared CRS units."""
    along, length = inner(gram, px, py, ux, uy), inner(gram, ux, uy, ux, uy)
    if along <= 0:
        return inner(gram, px, py, px, py)
    if along >= length:
        return inner(gram, px - ux, py - uy, px - ux, py - uy)
    parallelogram = gram.area * (px * uy - py * ux)
    return parallelogram * parallelogram / length


@njit(cache=True, nogil=True)
def farthest(gram: Gram, x: Coordinates, y: Coordinates, first: int, last: int) -> tuple[float, int]:
    """Find the vertex of a piece that is farthest from its chord; of equal ones the first.

    Parameters
    ----------
    gram : Gram
    x, y : int32, shape (vertex,)
        Vertices of a chain.
    first, last : int
        Ends of the piece, with at least one vertex between them.

    Returns
    -------
    distance : float
        Squared, from the segment between the ends, CRS units.
    vertex : int
    """
    ux, uy = float(x[last] - x[first]), float(y[last] - y[first])
    most, place = -1.0, first + 1
    for vertex in range(first + 1, last):
        distance = squared_distance(gram, float(x[vertex] - x[first]), float(y[vertex] - y[first]), ux, uy)
        if distance > most * (1 + ROUNDING):
            most, place = distance, vertex
    return most, place
