"""Faces that are settled together: which of them are free, and who lies beside whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from geoseg.arcs.chains import Integers
from geoseg.arcs.rings import Rings
from geoseg.footprints.network import NOBODY, Flags, Floats, Network

Geometries = NDArray[np.object_]


@dataclass(frozen=True)
class TracedFaces:
    """Faces that are settled together.

    Attributes
    ----------
    faces : Rings
        Their outlines as they were traced, px; exteriors run counter-clockwise in the CRS.
    network : Network
        Their arcs.
    polygons : object, shape (face,)
        The same in the CRS, and of faces that are decided what they are now.
    is_free : bool, shape (face,)
        Which are to be settled.
    is_still : bool, shape (face,)
        Which are decided. Those that are neither come later: only what they share with free ones may change.
    place : callable
        From pixels, float64 (vertex, 2), to the CRS.
    reach : float
        Px: a face stays within so many rows and columns of what was traced.
    """

    faces: Rings
    network: Network
    polygons: Geometries
    is_free: Flags
    is_still: Flags
    place: Callable[[Floats], Floats]
    reach: float

    @property
    def is_later(self) -> Flags:
        """Faces that are settled after the free ones."""
        return ~(self.is_free | self.is_still)

    @cached_property
    def pixel_area(self) -> float:
        """Squared CRS units."""
        far = 1024.0
        origin, right, down = self.place(np.array([[0.0, 0.0], [far, 0.0], [0.0, far]]))
        (a, d), (b, e) = right - origin, down - origin
        return float(abs(a * e - b * d)) / far**2

    @cached_property
    def bounds(self) -> Floats:
        """Least and greatest column and row of each face as it was traced, shape (face, 4)."""
        return bounds(self.faces)

    @cached_property
    def meetings(self) -> tuple[Integers, Integers]:
        """Nodes and the faces around them, in pairs."""
        nodes, faces = self.network.nodes, self.network.faces
        pairs = np.stack([np.repeat(nodes, 2, axis=1).ravel(), np.tile(faces, (1, 2)).ravel()], axis=1)
        pairs = np.unique(pairs[(pairs >= 0).all(axis=1)], axis=0)
        return pairs[:, 0].astype(np.int64), pairs[:, 1].astype(np.int64)

    def are_neighbours(self, one: Integers, other: Integers) -> Flags:
        """Pairs of faces that share an arc or a node."""
        found: Flags = np.isin(self._code(one, other), self._neighbours)
        return found

    @cached_property
    def neighbours(self) -> tuple[Integers, Integers]:
        """Pairs of faces that share an arc or a node, the earlier one first."""
        one, other = np.divmod(self._neighbours, max(len(self.network), 1))
        return one[one != other], other[one != other]

    @cached_property
    def _neighbours(self) -> Integers:
        node, face = self.meetings
        sides = self.network.faces[(self.network.faces != NOBODY).all(axis=1)].astype(np.int64)
        pairs = [self._code(sides[:, 0], sides[:, 1])]
        for step in range(1, 4):  # four faces at most around a node, which follow one another
            same = node[step:] == node[:-step]
            pairs.append(self._code(face[step:][same], face[:-step][same]))
        return np.unique(np.concatenate(pairs))

    def _code(self, one: Integers, other: Integers) -> Integers:
        """One number for a pair, in either order."""
        code: Integers = np.minimum(one, other) * len(self.network) + np.maximum(one, other)
        return code

    @cached_property
    def has_nodes(self) -> Flags:
        """Faces that meet others."""
        found = np.zeros(len(self.network), bool)
        found[self.meetings[1]] = True
        return found

    def around(self, faces: Flags) -> Flags:
        """Faces, and those that share an arc or a node with them; but not decided ones."""
        node, face = self.meetings
        is_node = np.zeros(len(self.network.node_xy), bool)
        is_node[node[faces[face]]] = True
        found = faces.copy()
        found[face[is_node[node]]] = True
        sides = self.network.faces[(self.network.faces != NOBODY).all(axis=1)]
        for one, other in ((0, 1), (1, 0)):
            found[sides[faces[sides[:, one]], other]] = True
        return found & ~self.is_still


def bounds(faces: Rings) -> Floats:
    """Least and greatest first and second coordinate of polygons, shape (polygon, 4)."""
    first = faces.rings[faces.polygons[:-1]]
    if not first.size:
        return np.empty((0, 4))
    least, greatest = (extreme.reduceat(faces.xy, first).astype(np.float64) for extreme in (np.minimum, np.maximum))
    return np.concatenate([least, greatest], axis=1)
