"""How far two polygons are apart: PoLiS, Hausdorff's distance and rotation, for many pairs at once.

It knows shapes in a plane; which of them are a pair, and what a unit is, is the caller's business.
"""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

RIGHT = 90.0
"""Degrees."""

Shapes = NDArray[np.object_]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

DENSITY = 0.05
"""Edges are cut into parts of this share of their length before Hausdorff's distance is taken between vertices."""


def polis_distances(first: Shapes, second: Shapes) -> Floats:
    """PoLiS distance of pairs of polygons.

    ``sum(d(a, B)) / (2 q) + sum(d(b, A)) / (2 r)``, where a are the q vertices of A, b the r vertices of B, and d is
    the distance of a vertex to the nearest point of the other's outline, on an edge or a vertex (Avbelj, Müller and
    Bamler 2015, "A metric for polygon comparison and building extraction evaluation"). The last vertex of a ring,
    which repeats its first, is not counted; holes and all parts belong to the outline.

    Parameters
    ----------
    first, second : NDArray
        Polygons and MultiPolygons that are not empty, shape (pair,).

    Returns
    -------
    NDArray
        float64, shape (pair,), in units of the coordinates.
    """
    return (_mean_distance(first, second) + _mean_distance(second, first)) / 2


def hausdorff_distances(first: Shapes, second: Shapes) -> Floats:
    """Hausdorff's distance between the outlines of pairs of polygons.

    The largest distance of a point of one outline to the nearest point of the other; points are the vertices and 19
    more on each edge, so it is at most half a twentieth of an edge too small.

    Parameters
    ----------
    first, second : NDArray
        As in `polis_distances`.
    """
    outlines = shapely.boundary(first), shapely.boundary(second)
    result: Floats = shapely.hausdorff_distance(*outlines, densify=DENSITY)
    return result


def rotations(first: Shapes, second: Shapes) -> Floats:
    """Angles between pairs of polygons, degrees.

    Those between the sides of their smallest enclosing rectangles: modulo a right angle, from 0 to 45.

    Parameters
    ----------
    first, second : NDArray
        As in `polis_distances`.
    """
    gap = np.abs(_side_angles(first) - _side_angles(second)) % RIGHT
    result: Floats = np.minimum(gap, RIGHT - gap)
    return result


def _side_angles(shapes: Shapes) -> Floats:
    """Angle of a side of the smallest enclosing rectangle of each polygon, degrees."""
    points, owner = shapely.get_coordinates(shapely.oriented_envelope(shapes), return_index=True)
    first = np.searchsorted(owner, np.arange(len(shapes)))
    dx, dy = (points[first + 1] - points[first]).T
    result: Floats = np.degrees(np.arctan2(dy, dx))
    return result


def count_vertices(shapes: Shapes) -> Integers:
    """Number of vertices of each polygon, the last of a ring not counted."""
    _, owners = _vertices(shapes)
    return np.bincount(owners, minlength=len(shapes)).astype(np.int64)


def _mean_distance(shapes: Shapes, others: Shapes) -> Floats:
    """Mean distance of each one's vertices to the other's outline."""
    points, owners = _vertices(shapes)
    distances = shapely.distance(shapely.points(points), shapely.boundary(others)[owners])
    counts = np.bincount(owners, minlength=len(shapes))
    return np.bincount(owners, distances, len(shapes)) / counts


def _vertices(shapes: Shapes) -> tuple[Floats, Integers]:
    """Coordinates of all vertices, shape (vertex, 2), and which shape each is of."""
    parts, shape = shapely.get_parts(shapes, return_index=True)
    rings, part = shapely.get_rings(parts, return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    last = np.ones(len(points), np.bool_)
    last[:-1] = ring[1:] != ring[:-1]
    return points[~last], shape[part[ring[~last]]].astype(np.int64)
