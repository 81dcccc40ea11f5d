"""Which pixels a polygon holds, and which it touches.

The answer for a pixel depends on the pixel alone, never on the window it is asked in, so no layout of tiles can be
seen in a map: edges are taken to coordinates of the whole raster once, and what is computed for a row of pixels knows
no column of the window. It knows polygons, windows and a transform.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray

from geoseg.grid import Window

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]


def edges_of(geometry: shapely.Geometry, transform: Affine) -> Floats:
    """Take the edges of polygons to pixels.

    Parameters
    ----------
    geometry : Polygon or MultiPolygon
        In CRS coordinates.
    transform : Affine
        Of the whole raster.

    Returns
    -------
    float64, shape (edge, 4)
        y, x, y, x of both ends, px of the raster; the upper end first.
    """
    xy, ring = shapely.get_coordinates(shapely.get_rings(shapely.get_parts(geometry)), return_index=True)
    inverse = ~transform
    x = xy[:, 0] * inverse.a + xy[:, 1] * inverse.b + inverse.c
    y = xy[:, 0] * inverse.d + xy[:, 1] * inverse.e + inverse.f
    points = np.column_stack([y, x])
    same = ring[1:] == ring[:-1]
    one, other = points[:-1][same], points[1:][same]
    downward = one[:, :1] <= other[:, :1]
    return np.hstack([np.where(downward, one, other), np.where(downward, other, one)])


def centres_inside(edges: Floats, window: Window) -> NDArray[np.bool_]:
    """Say of each pixel whether its centre lies inside.

    Each edge is crossed with the centre line of each row of pixels once; a pixel is inside when an odd number of
    crossings lies left of its centre. Edges own their upper end, so a vertex on a centre line is counted once.

    Parameters
    ----------
    edges : float64, shape (edge, 4)
        From `edges_of`.
    window : Window
        The pixels.

    Returns
    -------
    bool, shape (y, x)
        True = inside.
    """
    # Rows y with top <= y + 1/2 < bottom of the edge.
    edge, row = _rows(np.ceil(edges[:, 0] - 0.5), np.ceil(edges[:, 2] - 0.5), window)
    y0, x0, y1, x1 = edges[edge].T
    crossing = x0 + (row + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
    # The first pixel whose centre is right of the crossing.
    column = np.clip(np.ceil(crossing - 0.5) - window.x, 0, window.width).astype(np.int64)
    toggles = np.zeros((window.height, window.width + 1), np.uint8)
    np.add.at(toggles, (row - window.y, column), 1)
    inside: NDArray[np.bool_] = np.bitwise_xor.accumulate(toggles[:, :-1] & 1, axis=1).astype(bool)
    return inside


def spans_inside(shapes: NDArray[np.object_], window: Window) -> tuple[Integers, Integers, Integers, Integers]:
    """Give the pixels whose centres lie inside of each of many polygons, which may overlap, as spans along rows.

    The rule is that of `centres_inside`, so a pixel belongs to the same polygons whatever the window.

    Parameters
    ----------
    shapes : NDArray
        Polygons and MultiPolygons, shape (polygon,), in pixels of the whole raster.
    window : Window
        The pixels.

    Returns
    -------
    owner, row, start, stop : int64, shape (span,)
        Position in ``shapes``, row, first column and the column after the last, from the window's corner; in the order
        of the first three.
    """
    parts, shape = shapely.get_parts(shapes, return_index=True)
    rings, part = shapely.get_rings(parts, return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    same = ring[1:] == ring[:-1]
    x0, y0, x1, y1 = np.hstack([xy[:-1][same], xy[1:][same]]).T
    up = y0 > y1
    (y0, y1), (x0, x1) = (np.where(up, (b, a), (a, b)) for a, b in ((y0, y1), (x0, x1)))
    edge, row = _rows(np.ceil(y0 - 0.5), np.ceil(y1 - 0.5), window)
    crossing = x0[edge] + (row + 0.5 - y0[edge]) * ((x1 - x0)[edge] / (y1 - y0)[edge])
    column = np.clip(np.ceil(crossing - 0.5) - window.x, 0, window.width).astype(np.int64)
    owner = shape[part[ring[:-1][same]]].astype(np.int64)[edge]
    order = np.lexsort((column, row, owner))
    owner, row, column = owner[order][::2], row[order][::2] - window.y, column[order]
    start, stop = column[::2], column[1::2]
    real = start < stop
    return owner[real], row[real], start[real], stop[real]


def crossed(edges: Floats, window: Window) -> NDArray[np.bool_]:
    """Say of each pixel whether an edge passes through its open square; one along its border does not.

    Within a row of pixels an edge covers the columns ``floor(min x) .. ceil(max x) - 1`` of the two places where it
    enters and leaves the row: none for an edge along a line between columns. Rows are found in the same way.

    Parameters
    ----------
    edges : float64, shape (edge, 4)
        From `edges_of`.
    window : Window
        The pixels.

    Returns
    -------
    bool, shape (y, x)
        True = an edge passes through.
    """
    edge, row = _rows(np.floor(edges[:, 0]), np.ceil(edges[:, 2]), window)
    y0, x0, y1, x1 = edges[edge].T
    enters = np.where(y0 < row, _x_at(row, y0, x0, y1, x1), x0)
    leaves = np.where(y1 > row + 1, _x_at(row + 1, y0, x0, y1, x1), x1)
    first = np.clip(np.floor(np.minimum(enters, leaves)) - window.x, 0, window.width).astype(np.int64)
    end = np.clip(np.ceil(np.maximum(enters, leaves)) - window.x, 0, window.width).astype(np.int64)
    changes = np.zeros((window.height, window.width + 1), np.int32)
    np.add.at(changes, (row - window.y, first), 1)
    np.add.at(changes, (row - window.y, end), -1)
    through: NDArray[np.bool_] = np.cumsum(changes[:, :-1], axis=1) > 0
    return through


def _rows(first: Floats, end: Floats, window: Window) -> tuple[Integers, Integers]:
    """Each pair of an edge and a row of the window from the edge's first to before its end."""
    start = np.clip(first, window.y, window.bottom).astype(np.int64)
    counts = np.clip(end, window.y, window.bottom).astype(np.int64) - start
    edge = np.repeat(np.arange(len(start)), counts)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + start[edge]
    return edge, row


def _x_at(y: Integers, y0: Floats, x0: Floats, y1: Floats, x1: Floats) -> Floats:
    """Where edges cross lines between rows; exact for ends on a fine grid, because the product comes first."""
    height = np.where(y1 > y0, y1 - y0, 1.0)
    return x0 + (y - y0) * (x1 - x0) / height
