"""Simplification of arcs between fixed ends, such that faces still share their borders and no two arcs cross.

What an arc becomes depends on the arc and on the original vertices within twice the tolerance, and on nothing else: not
on its neighbours' simplified form, the order of arcs, the block it is in, or where the map lies. This module knows raw
arcs, which run along pixel edges in their canonical direction; nothing of the faces on their sides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from geoseg.arcs.chains import Chains
from geoseg.arcs.douglas_peucker import keep_farthest
from geoseg.arcs.guard import VertexIndex
from geoseg.arcs.metric import ROUNDING, Metric
from geoseg.arcs.visvalingam import remove_smallest
from geoseg.errors import WorkflowError

Method = Literal["douglas-peucker", "visvalingam-whyatt"]
Smoothing = Literal["chaikin"]


@dataclass(frozen=True)
class Simplification:
    """What a person asks for.

    Attributes
    ----------
    tolerance : float
        CRS units, not negative. No removed vertex is farther from the simplified arc; 0 removes nothing.
    method : str
        ``"douglas-peucker"`` keeps the vertices that are farthest out. ``"visvalingam-whyatt"`` also lets a vertex go
        only while its effective area is at most the square of the tolerance, and keeps shapes rounder.
    smoothing : str, optional
        ``"chaikin"`` rounds the corners that are left, as `smoothing` says, by at most the tolerance.
    """

    tolerance: float
    method: Method = "douglas-peucker"
    smoothing: Smoothing | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < math.inf:
            raise WorkflowError(f"tolerance is {self.tolerance}; give 0 or a positive length in units of the CRS")
        if self.method not in get_args(Method):
            raise WorkflowError(f"the method of simplification is '{self.method}'; use {' or '.join(get_args(Method))}")

    @property
    def reach(self) -> float:
        """How far from an arc the vertices lie that decide what becomes of it, CRS units."""
        return self.tolerance * (2 if self.smoothing is None else 3)


def simplify(
    chains: Chains,
    chosen: NDArray[np.bool_],
    keep: NDArray[np.uint8],
    index: VertexIndex,
    metric: Metric,
    how: Simplification,
) -> Chains:
    """Remove vertices from arcs: the same arcs in the same order, with those that `kept_vertices` finds."""
    kept = kept_vertices(chains, chosen, keep, index, metric, how)
    return chains if kept.all() else chains.keep(kept)


def kept_vertices(
    chains: Chains,
    chosen: NDArray[np.bool_],
    keep: NDArray[np.uint8],
    index: VertexIndex,
    metric: Metric,
    how: Simplification,
) -> NDArray[np.bool_]:
    """Find the vertices that stay; first and last vertices, and all of arcs that are not chosen, do.

    Parameters
    ----------
    chains : Chains
        Raw arcs: every edge horizontal or vertical, each in its canonical direction.
    chosen : bool, shape (arc,)
        Which to simplify.
    keep : uint8, shape (arc,)
        How many vertices an arc keeps between its ends in any case: 1 if it shares both end nodes with another arc, for
        both could become one line; 2, a triangle with its start, if it is closed or ends where it starts; else 0.
    index : VertexIndex
        The map's original vertices: those of the chosen arcs, and all within twice the tolerance of them.
    metric : Metric
        The raster's.
    how : Simplification

    Returns
    -------
    bool, shape (vertex,)

    Raises
    ------
    ValueError
        If chosen arcs lie outside the extent of the index.
    """
    numbers = np.flatnonzero(chosen)
    if how.tolerance == 0 or not numbers.size:
        return np.ones(len(chains.x), np.bool_)
    subject = np.repeat(chosen, np.diff(chains.offsets))
    if not index.spans(chains.x, chains.y, subject):
        raise ValueError("arcs lie outside the extent of the vertex index; index their own vertices too")
    kept = ~subject
    guard = index.guard(metric, how.tolerance)
    if how.method == "douglas-peucker":
        keep_farthest(guard, chains.offsets, chains.x, chains.y, numbers, keep, kept)
    else:
        kept[:] = True
        area = 2 * how.tolerance**2 * (1 + ROUNDING) / metric.gram.area
        remove_smallest(guard, chains.offsets, chains.x, chains.y, numbers, keep, area, kept)
    return kept
