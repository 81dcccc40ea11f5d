"""What simplification takes from the faces beside an arc, and arcs that wait until it may.

An arc that waits has all of its vertices, and beside them which ones go and how corners are rounded if it may be
simplified. It knows the two shapes of each arc; not how large the faces are from which they take.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.arcs.chains import NO_CORNERS, NONE_SPARE, Chains, Coordinates, Floats, Integers
from geoseg.arcs.smoothing import draw_curves

SHARES = 2**20
"""Parts of a pixel in which areas are counted, so that their sums have no order."""

Flags = NDArray[np.bool_]


def taken_area(raw: Chains, simple: Chains, chosen: Flags, is_closed: Flags) -> Integers:
    """Measure how much the left side of each arc loses to its right side.

    Parameters
    ----------
    raw : Chains
        Arcs before simplification.
    simple : Chains
        The same arcs after it, and with the corners of their curves.
    chosen : bool, shape (arc,)
        Those that count; others take nothing.
    is_closed : bool, shape (arc,)
        As of `round_corners`.

    Returns
    -------
    int64, shape (arc,)
        In 1 / `SHARES` px, rounded away from 0; negative where the left side gains.
    """
    lines = draw_curves(simple, is_closed, chosen) if len(simple.corners) else (simple.offsets, simple.x, simple.y)
    twice = np.where(chosen, _twice_areas(*lines) - _twice_areas(raw.offsets, raw.x, raw.y), 0.0)
    taken: Integers = (np.sign(twice) * np.ceil(np.abs(twice) * (SHARES // 2))).astype(np.int64)
    return taken


@njit(cache=True, nogil=True)
def _twice_areas(offsets: Integers, x: Coordinates | Floats, y: Coordinates | Floats) -> Floats:
    """Twice the signed area between each chain and its chord, px; positive where it bulges to its left on a screen."""
    areas = np.zeros(offsets.size - 1)
    for chain in range(areas.size):
        first = offsets[chain]
        for vertex in range(first + 1, offsets[chain + 1] - 1):
            ux, uy = float(x[vertex] - x[first]), float(y[vertex] - y[first])
            vx, vy = float(x[vertex + 1] - x[first]), float(y[vertex + 1] - y[first])
            areas[chain] += ux * vy - uy * vx
    return areas


def waiting(raw: Chains, simple: Chains, kept: Flags) -> Chains:
    """Put two shapes of all arcs into one: the vertices of the first, and what `allow` needs to make the second.

    Parameters
    ----------
    raw : Chains
        Arcs before simplification; some may wait already.
    simple : Chains
        The same arcs after it.
    kept : bool, shape (vertex,)
        Which vertices of the first are those of the second.
    """
    corners = NO_CORNERS
    if len(simple.corners):
        corners = np.zeros((len(raw.x), 3), np.uint16)
        corners[kept] = simple.corners
    return replace(raw, corners=corners, spare=~kept | raw.spare if len(raw.spare) else ~kept)


def allow(chains: Chains, simplified: Flags, restored: Flags) -> Chains:
    """Give arcs that wait one of their two shapes; the rest, and arcs that do not wait, stay as they are."""
    if not len(chains.spare):
        return chains
    vertices = np.diff(chains.offsets)
    corners, is_restored = chains.corners, np.repeat(restored, vertices)
    if len(corners):
        corners = np.where(is_restored[:, None], np.uint16(0), corners)
    spare = chains.spare & ~is_restored
    gone = spare & np.repeat(simplified, vertices)
    chains = replace(chains, corners=corners, spare=spare).keep(~gone)
    return chains if chains.spare.any() else replace(chains, spare=NONE_SPARE)
