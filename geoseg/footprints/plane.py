"""A plane in which right angles are right, and the way to it from pixels and back.

Walls are lines in this plane; what is traced, and what is written in the end, are pixels.
"""

from __future__ import annotations

from typing import NamedTuple

from numba import njit

from geoseg.arcs.metric import Metric
from geoseg.footprints.moments import Floats


class Plane(NamedTuple):
    """Pixels to a plane of right angles and back: ``(a x + b y, d x + e y)``, CRS units."""

    a: float
    b: float
    d: float
    e: float

    @classmethod
    def of(cls, metric: Metric, stretch: float = 1.0) -> Plane:
        """Of a raster, whose CRS has to be stretched by a factor in its first coordinate for right angles."""
        return cls(*map(float, (metric.a * stretch, metric.b * stretch, metric.d, metric.e)))

    def to(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """From pixels."""
        return self.a * x + self.b * y, self.d * x + self.e * y


@njit(cache=True, nogil=True)
def to_pixels(plane: Plane, x: float, y: float) -> tuple[float, float]:
    """From the plane back to pixels."""
    determinant = plane.a * plane.e - plane.b * plane.d
    return (plane.e * x - plane.b * y) / determinant, (plane.a * y - plane.d * x) / determinant
